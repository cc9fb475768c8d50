//! Why a command did not do what was asked: a sentence for the person who typed it, and the exit code.

use crate::config::ConfigErrors;

/// "undefined table" (PostgreSQL documentation, appendix A).
const UNDEFINED_TABLE: &str = "42P01";

/// A command's bad end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It failed, was refused, or the thing does not exist: exit code 1.
    Failed(String),
    /// Settings or arguments are wrong: exit code 2.
    Usage(String),
}

impl Failure {
    /// Exit code 1, with a sentence that says what happened and what to do. An empty one says nothing: the command has
    /// said it already.
    pub fn failed(sentence: impl Into<String>) -> Self {
        Self::Failed(sentence.into())
    }

    /// Exit code 2, with a sentence that says what is wrong.
    pub fn usage(sentence: impl Into<String>) -> Self {
        Self::Usage(sentence.into())
    }

    /// What the process ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
        }
    }

    /// Says it on standard error.
    pub fn tell(&self) {
        let (Self::Failed(sentence) | Self::Usage(sentence)) = self;
        if !sentence.is_empty() {
            eprintln!("{sentence}");
        }
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::Usage(errors.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(format!("{error:#}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(format!("The answer could not be written: {error}."))
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        Self::Failed(match &error {
            _ if code.as_deref() == Some(UNDEFINED_TABLE) => {
                "The database has no tables of goto-automation, or old ones. Run `goto-automation migrate` first."
                    .to_owned()
            }
            sqlx::Error::Database(refusal) => format!("The database refused: {}.", refusal.message()),
            sqlx::Error::PoolTimedOut | sqlx::Error::Io(_) => {
                "The database does not answer. Check that PostgreSQL runs and that DATABASE_URL is right.".to_owned()
            }
            other => format!("The database did not do it: {other}."),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Problem;

    #[test]
    fn exit_codes() {
        let wrong: Failure = ConfigErrors::from(Problem::new("API_PORT", "is no number")).into();
        assert_eq!(wrong.exit_code(), 2);
        let away: Failure = sqlx::Error::PoolTimedOut.into();
        assert_eq!(away.exit_code(), 1);
        assert_eq!(Failure::from(anyhow::anyhow!("inner").context("outer")), Failure::failed("outer: inner"));
    }
}
