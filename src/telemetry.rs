//! Structured logs: every line of a call carries its call id, step and attempt.
