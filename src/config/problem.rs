//! What is wrong with the settings, as sentences for the person who has to repair them.

use std::fmt;

use super::VARIABLES;

/// One thing that is wrong with one variable. Never contains the value of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Name of the variable, or of the file where no variable could be read.
    pub variable: String,
    /// What is wrong, without the name and without a full stop.
    pub problem: String,
    /// `VARIABLE=...` as it could stand in `.env`; empty where nothing can be shown.
    pub example: String,
}

impl Problem {
    /// A problem with the example that [`VARIABLES`] gives.
    pub fn new(variable: &str, problem: impl Into<String>) -> Problem {
        let known = VARIABLES.iter().find(|known| known.name == variable);
        let example = known.map(|known| format!("{variable}={}", known.example)).unwrap_or_default();
        Problem { variable: variable.to_owned(), problem: problem.into(), example }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}.", self.variable, self.problem)?;
        if self.example.is_empty() { Ok(()) } else { write!(out, " Example: {}", self.example) }
    }
}

/// All that is wrong, one line each, so that one look is enough to repair everything. The process exits with 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Problem>);

impl ConfigErrors {
    /// Several answers as one.
    pub fn joined(errors: impl IntoIterator<Item = Option<ConfigErrors>>) -> ConfigErrors {
        ConfigErrors(errors.into_iter().flatten().flat_map(|errors| errors.0).collect())
    }
}

impl From<Problem> for ConfigErrors {
    fn from(problem: Problem) -> ConfigErrors {
        ConfigErrors(vec![problem])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        out.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_as_one_line() {
        let errors = ConfigErrors(vec![
            Problem::new("API_PORT", "\"many\" is not a number from 0 to 65535"),
            Problem::new(".env", "line 3 cannot be read"),
        ]);
        let expected = "API_PORT: \"many\" is not a number from 0 to 65535. Example: API_PORT=8000\n\
                        .env: line 3 cannot be read.";
        assert_eq!(errors.to_string(), expected);
    }
}
