//! Whether a failed query says something about the query or about the server.

/// True unless the database has answered and refused. A server that is starting or stopping (57P), was too slow (57014),
/// is out of connections (53), cut off (08), a standby for now (25006), tired of an idle transaction (25P03), or that broke a deadlock (40) will answer the same
/// query later (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
pub fn database_is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ["57P", "57014", "53", "40", "08", "25006", "25P03"].iter().any(|class| code.starts_with(class))
        }),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

/// Whether the server has stopped a statement in the middle, most often because it took longer than it may.
pub fn was_stopped(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("57014"))
}
