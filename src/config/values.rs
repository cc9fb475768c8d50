//! Where values come from: credentials, the environment, `.env`. The only file that looks at the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{Config, ConfigErrors, Problem, VARIABLES, Variable, prices};

/// Read from the current folder, if it is there.
const ENV_FILE: &str = ".env";
/// Set by systemd to the folder of `LoadCredential=`.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";
/// Names a file, which is read with the settings.
const PRICE_LIST: &str = "PRICE_LIST";
/// From this likeness on (Jaro-Winkler, 1 = equal) a name of our own family is taken for a misspelt one.
const ALIKE: f64 = 0.9;

/// The values of all variables before anything is made of them. No `Debug`: it holds every secret in the clear.
#[derive(Default)]
pub struct Values {
    by_name: BTreeMap<String, String>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl Values {
    /// Gathers from `$CREDENTIALS_DIRECTORY` (secrets), the environment and `.env`, in this order; the first place
    /// that has a variable wins, with an empty value too. Leaves the environment as it is, so that no child process
    /// inherits what stands in `.env`. What cannot be read is told by [`Values::read`].
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    pub fn from_environment() -> Values {
        let credentials = std::env::var_os(CREDENTIALS_DIRECTORY).map(PathBuf::from);
        Values::gather(credentials.as_deref(), std::env::vars_os(), Path::new(ENV_FILE))
    }

    /// The value of a variable, empty ones included.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.by_name.get(name).map(String::as_str)
    }

    /// Whether a variable has a value that is not empty.
    pub fn is_set(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !value.trim().is_empty())
    }

    /// Lays a value over the one that was gathered.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        debug_assert!(VARIABLES.iter().any(|known| known.name == name), "{name} is no setting");
        self.by_name.insert(name.to_owned(), value.into());
    }

    /// Makes settings of the values, and of the price list that they name. The error lists everything that is wrong.
    pub fn read(&self) -> Result<Config, ConfigErrors> {
        let read = Config::read(&|name| self.get(name).map(str::to_owned));
        let price_list = self.get(PRICE_LIST).map(str::trim).filter(|path| !path.is_empty());
        let prices = price_list.map(|path| prices::from_file(Path::new(path))).transpose();
        let prices = prices.map_err(|wrong| ConfigErrors::from(Problem::new(PRICE_LIST, wrong)));
        if !self.problems.is_empty() || prices.is_err() {
            let gathered = Some(ConfigErrors(self.problems.clone()));
            return Err(ConfigErrors::joined([gathered, read.err(), prices.err()]));
        }
        let mut config = read?;
        if let Ok(Some(list)) = prices {
            config.prices.list = list;
        }
        config.warnings.extend(self.warnings.iter().cloned());
        Ok(config)
    }

    fn gather(
        credentials: Option<&Path>,
        environment: impl Iterator<Item = (OsString, OsString)>,
        env_file: &Path,
    ) -> Values {
        let mut gathered = Values::default();
        if let Some(folder) = credentials {
            for variable in VARIABLES.iter().filter(|variable| variable.secret) {
                gathered.add_credential(variable, &folder.join(variable.name));
            }
        }
        for (name, value) in environment {
            if let Ok(name) = name.into_string() {
                gathered.add(name, value.into_string().ok());
            }
        }
        gathered.add_file(env_file);
        gathered
    }

    /// Takes a value unless an earlier place had one; `None` is a value that is not text.
    fn add(&mut self, name: String, value: Option<String>) {
        if VARIABLES.iter().all(|known| known.name != name) {
            self.warnings.extend(misspelt(&name));
        } else if let Some(value) = value {
            self.by_name.entry(name).or_insert(value);
        } else if !self.by_name.contains_key(&name) {
            self.problems.push(Problem::new(&name, "is not UTF-8 text"));
        }
    }

    fn add_credential(&mut self, variable: &Variable, path: &Path) {
        match std::fs::read_to_string(path) {
            Ok(content) => {
                // Editors and `echo` end a file with a line break that belongs to no secret.
                let value = content.strip_suffix('\n').unwrap_or(&content);
                self.by_name.insert(variable.name.to_owned(), value.to_owned());
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                let wrong = format!("its file in ${CREDENTIALS_DIRECTORY} cannot be read: {error}");
                self.problems.push(Problem::new(variable.name, wrong));
            }
        }
    }

    fn add_file(&mut self, path: &Path) {
        let content = match std::fs::read_to_string(path) {
            Ok(content) => content,
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(error) => {
                self.problems.push(Problem::new(ENV_FILE, format!("cannot be read: {error}")));
                return;
            }
        };
        let content = content.trim_start_matches('\u{feff}');
        for pair in dotenvy::from_read_iter(content.as_bytes()) {
            match pair {
                Ok((name, value)) => self.add(name, Some(value)),
                // dotenvy's own sentence repeats the line, which may hold a secret.
                Err(error) => self.problems.push(Problem::new(ENV_FILE, unreadable_line(content, &error))),
            }
        }
    }
}

fn unreadable_line(content: &str, error: &dotenvy::Error) -> String {
    let number = match error {
        // The line from its value on, of which a value in open quotes has several.
        dotenvy::Error::LineParse(text, _) => {
            let start = text.lines().next().map(str::trim).filter(|start| !start.is_empty());
            start.and_then(|start| content.lines().position(|line| line.trim().ends_with(start))).map(|index| index + 1)
        }
        _ => None,
    };
    let line = number.map_or_else(|| "a line".to_owned(), |number| format!("line {number}"));
    format!("{line} is not NAME=value; a value with blanks, #, $ or quotes stands in single quotes")
}

/// A sentence about a name that looks like one of ours but is none. Only names of our own families are looked at:
/// the environment is full of other people's variables.
fn misspelt(name: &str) -> Option<String> {
    let family = |name: &str| name.split_once('_').map(|(family, _)| family.to_owned());
    let own = family(name)?;
    VARIABLES.iter().find(|known| family(known.name).is_some_and(|known| known == own))?;
    let alike = |known: &Variable| strsim::jaro_winkler(known.name, name);
    let closest = VARIABLES.iter().max_by(|one, other| alike(one).total_cmp(&alike(other)))?;
    (alike(closest) >= ALIKE).then(|| format!("{name} is not a setting; was {} meant?", closest.name))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use secrecy::ExposeSecret;

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn environment(pairs: &[(&str, &str)]) -> std::vec::IntoIter<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect::<Vec<_>>().into_iter()
    }

    /// Gathers from folders and files made of the given contents.
    fn gathered(credentials: &[(&str, &str)], variables: &[(&str, &str)], env_file: &str) -> Values {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in credentials {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let file = folder.path().join("env-file");
        std::fs::write(&file, env_file).unwrap();
        Values::gather(Some(folder.path()), environment(variables), &file)
    }

    #[test]
    fn credentials_come_before_the_environment_and_the_environment_before_the_file() {
        let file = "OPENAI_API_KEY=file\nGOTO_API_KEY=file\nSLACK_BOT_TOKEN=file\n";
        let variables = [("OPENAI_API_KEY", "environment"), ("GOTO_API_KEY", "environment")];
        let values = gathered(&[("OPENAI_API_KEY", "credential\n")], &variables, file);
        assert_eq!(values.get("OPENAI_API_KEY"), Some("credential"));
        assert_eq!(values.get("GOTO_API_KEY"), Some("environment"));
        assert_eq!(values.get("SLACK_BOT_TOKEN"), Some("file"));
    }

    #[test]
    fn a_credential_loses_one_line_break_only() {
        let values = gathered(&[("SMTP_PASSWORD", " a b \n\n")], &[], "");
        assert_eq!(values.get("SMTP_PASSWORD"), Some(" a b \n"));
    }

    #[test]
    fn credentials_are_for_secrets() {
        assert_eq!(gathered(&[("API_PORT", "9000")], &[], "").get("API_PORT"), None);
    }

    #[test]
    fn an_empty_value_hides_the_file_and_means_not_set() {
        let values = gathered(&[], &[("OPENAI_API_KEY", "")], "OPENAI_API_KEY=sk-file");
        assert!(!values.is_set("OPENAI_API_KEY"));
        assert!(values.read().unwrap().transcription.api_key.is_none());
    }

    #[test]
    fn a_value_laid_over_wins() {
        let mut values = gathered(&[("GOTO_WEBHOOK_SECRET", "short")], &[("API_PORT", "many")], "");
        values.set("GOTO_WEBHOOK_SECRET", SECRET);
        values.set("API_PORT", "0");
        let config = values.read().unwrap();
        assert_eq!(config.app.port, 0);
        assert_eq!(config.webhook.secrets[0].expose_secret(), SECRET);
    }

    #[test]
    fn a_missing_file_is_no_problem() {
        let values = Values::gather(None, environment(&[]), Path::new("/nonexistent/.env"));
        assert!(values.read().is_ok());
    }

    #[test]
    fn values_in_quotes_and_with_signs_survive_the_file() {
        let file = "\u{feff}SLACK_CHANNEL='#calls'\nSMTP_PASSWORD='a $b #c'\nexport SMTP_FROM_EMAIL='Calls <a@example.com>' # us\n";
        let values = gathered(&[], &[], file);
        assert_eq!(values.get("SLACK_CHANNEL"), Some("#calls"));
        assert_eq!(values.get("SMTP_PASSWORD"), Some("a $b #c"));
        assert_eq!(values.get("SMTP_FROM_EMAIL"), Some("Calls <a@example.com>"));
    }

    #[test]
    fn a_bad_line_is_told_by_number_and_without_its_content() {
        let values = gathered(&[], &[("API_PORT", "many")], "API_HOST=::1\nSMTP_PASSWORD=hunter 2\nLOG_LEVEL=loud\n");
        let told = values.read().unwrap_err().to_string();
        assert!(told.contains(".env: line 2 is not NAME=value"), "{told}");
        assert!(told.contains("API_PORT: ") && told.contains("LOG_LEVEL: "), "{told}");
        assert!(!told.contains("hunter"), "{told}");
    }

    #[test]
    fn a_credential_that_cannot_be_read_is_told() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("SMTP_PASSWORD")).unwrap();
        let values = Values::gather(Some(folder.path()), environment(&[]), Path::new("/nonexistent/.env"));
        let told = values.read().unwrap_err().to_string();
        assert!(told.starts_with("SMTP_PASSWORD: its file in $CREDENTIALS_DIRECTORY cannot be read"), "{told}");
    }

    #[cfg(unix)]
    #[test]
    fn a_value_that_is_not_text_is_told() {
        use std::os::unix::ffi::OsStringExt;
        let variables = vec![("API_HOST".into(), OsString::from_vec(vec![0xff]))];
        let values = Values::gather(None, variables.into_iter(), Path::new("/nonexistent/.env"));
        assert!(values.read().unwrap_err().to_string().starts_with("API_HOST: is not UTF-8 text."));
    }

    #[rstest]
    #[case("SMTP_USER", Some("SMTP_USERNAME"))]
    #[case("SMTP_PASS", Some("SMTP_PASSWORD"))]
    #[case("SLACK_WEBHOOK", Some("SLACK_WEBHOOK_URL"))]
    #[case("RECORDINGS_STORE", None)] // another family: nobody can know
    #[case("RECORDING_ALLOWED_HOST", Some("RECORDING_ALLOWED_HOSTS"))]
    #[case("GOTO_WEBHOOK_SECRETS", Some("GOTO_WEBHOOK_SECRET"))]
    #[case("NOTIFICATION_EMAIL_RECIPIENT", Some("NOTIFICATION_EMAIL_RECIPIENTS"))]
    #[case("TRANSCRIPTION_BASEURL", Some("TRANSCRIPTION_BASE_URL"))]
    #[case("LOG_DIR", None)]
    #[case("APP_NAME", None)]
    #[case("GOTO_CLIENT_ID", None)]
    #[case("PATH", None)]
    fn a_misspelt_name_is_a_warning(#[case] name: &str, #[case] meant: Option<&str>) {
        let values = gathered(&[], &[(name, "x")], "");
        let expected: Vec<String> =
            meant.map(|meant| format!("{name} is not a setting; was {meant} meant?")).into_iter().collect();
        assert_eq!(values.read().unwrap().warnings, expected);
    }
}
