//! Durable jobs in PostgreSQL under apalis workers.
