//! SQL: one file per table, one function per query.
