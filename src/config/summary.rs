//! What is on, what is off and why: for the line at start.

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{AnalysisConfig, Config, SlackConfig, SmtpTls, TranscriptionConfig};

/// One part of the product and whether these settings turn it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// Its name.
    pub name: &'static str,
    /// Whether it works with these settings.
    pub on: bool,
    /// How it is set up, or why it is off. No secrets.
    pub detail: String,
}

impl Feature {
    fn on(name: &'static str, detail: impl Into<String>) -> Feature {
        Feature { name, on: true, detail: detail.into() }
    }

    fn off(name: &'static str, detail: impl Into<String>) -> Feature {
        Feature { name, on: false, detail: detail.into() }
    }
}

impl Config {
    /// Every part of the product, in the order in which a call meets them.
    pub fn summary(&self) -> Vec<Feature> {
        vec![
            self.database_feature(),
            self.webhook_feature(),
            self.recordings_feature(),
            self.private_feature(),
            transcription_feature(&self.transcription),
            analysis_feature(&self.analysis),
            self.prices_feature(),
            self.slack_feature(),
            self.email_feature(),
            self.quiet_feature(),
        ]
    }

    fn database_feature(&self) -> Feature {
        match &self.database {
            Some(database) => Feature::on("database", database_place(&database.url)),
            None => Feature::off("database", "DATABASE_URL is not set"),
        }
    }

    fn webhook_feature(&self) -> Feature {
        match self.webhook.secrets.len() {
            0 => Feature::off("webhook", "GOTO_WEBHOOK_SECRET is not set"),
            1 => Feature::on("webhook", "signed"),
            _ => Feature::on("webhook", "signed, two secrets while rotating"),
        }
    }

    fn recordings_feature(&self) -> Feature {
        let hosts: Vec<String> = self.recordings.allowed_hosts.iter().map(ToString::to_string).collect();
        let key = if self.recordings.api_key.is_some() { "with GOTO_API_KEY" } else { "without GOTO_API_KEY" };
        Feature::on("recordings", format!("from {} {key}, kept in {}", hosts.join(", "), self.recordings.store))
    }

    fn private_feature(&self) -> Feature {
        if self.recordings.allow_private {
            Feature::on("private recording hosts", "RECORDING_ALLOW_PRIVATE is true")
        } else {
            Feature::off("private recording hosts", "RECORDING_ALLOW_PRIVATE is false")
        }
    }

    fn prices_feature(&self) -> Feature {
        let models = [&self.transcription.model, &self.analysis.model];
        let unlisted: Vec<&str> =
            models.into_iter().filter(|model| !self.prices.list.lists(model)).map(String::as_str).collect();
        if !unlisted.is_empty() {
            return Feature::off("prices", format!("no price for {}, so calls cost unknown", unlisted.join(", ")));
        }
        match &self.prices.file {
            Some(file) => Feature::on("prices", format!("of {}", file.display())),
            None => Feature::on("prices", "the built-in list, which may be out of date"),
        }
    }

    fn slack_feature(&self) -> Feature {
        match &self.slack {
            Some(SlackConfig::Webhook { .. }) => Feature::on("slack", "incoming webhook"),
            Some(SlackConfig::Bot { channel, base_url, .. }) => {
                Feature::on("slack", format!("{channel} through {}", place(base_url)))
            }
            None => Feature::off("slack", "SLACK_WEBHOOK_URL and SLACK_BOT_TOKEN are not set"),
        }
    }

    fn email_feature(&self) -> Feature {
        let Some(email) = &self.email else { return Feature::off("email", "SMTP_HOST is not set") };
        let tls = match email.tls {
            SmtpTls::Starttls => "STARTTLS",
            SmtpTls::Implicit => "TLS",
            SmtpTls::None => "no TLS",
        };
        let recipients = email.recipients.len();
        let plural = if recipients == 1 { "" } else { "s" };
        Feature::on("email", format!("{recipients} recipient{plural} through {}:{} with {tls}", email.host, email.port))
    }

    fn quiet_feature(&self) -> Feature {
        match self.notify.quiet_hours {
            Some((from, to)) => {
                let (from, to) = (from.format("%H:%M"), to.format("%H:%M"));
                Feature::on("quiet hours", format!("{from}-{to} {}", self.app.time_zone))
            }
            None => Feature::off("quiet hours", "NOTIFY_QUIET_HOURS is not set"),
        }
    }
}

fn transcription_feature(transcription: &TranscriptionConfig) -> Feature {
    if transcription.lacks_key() {
        return Feature::off("transcription", "TRANSCRIPTION_API_KEY and OPENAI_API_KEY are not set, the step waits");
    }
    Feature::on("transcription", format!("{} at {}", transcription.model, place(&transcription.base_url)))
}

fn analysis_feature(analysis: &AnalysisConfig) -> Feature {
    if analysis.lacks_key() {
        return Feature::off("analysis", "ANALYSIS_API_KEY and OPENAI_API_KEY are not set, the step waits");
    }
    Feature::on("analysis", format!("{} at {}", analysis.model, place(&analysis.base_url)))
}

/// Host and port of a URL.
fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Host, port and name of a database: of its URL only the parts that are no secret.
fn database_place(url: &SecretString) -> String {
    match Url::parse(url.expose_secret()) {
        Ok(url) if url.host_str().is_some_and(|host| !host.is_empty()) => format!("{}{}", place(&url), url.path()),
        Ok(url) => format!("local socket {}", url.path()),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(set: &'static [(&str, &str)]) -> String {
        let lookup = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let lines: Vec<String> = Config::read(&lookup)
            .unwrap()
            .summary()
            .iter()
            .map(|f| format!("{} {}: {}", if f.on { "on " } else { "off" }, f.name, f.detail))
            .collect();
        lines.join("\n")
    }

    #[test]
    fn with_nothing_set_every_reason_names_its_variables() {
        insta::assert_snapshot!(summary(&[]), @r"
        off database: DATABASE_URL is not set
        off webhook: GOTO_WEBHOOK_SECRET is not set
        on  recordings: from api.goto.com without GOTO_API_KEY, kept in file:///var/lib/goto-automation/recordings
        off private recording hosts: RECORDING_ALLOW_PRIVATE is false
        off transcription: TRANSCRIPTION_API_KEY and OPENAI_API_KEY are not set, the step waits
        off analysis: ANALYSIS_API_KEY and OPENAI_API_KEY are not set, the step waits
        on  prices: the built-in list, which may be out of date
        off slack: SLACK_WEBHOOK_URL and SLACK_BOT_TOKEN are not set
        off email: SMTP_HOST is not set
        off quiet hours: NOTIFY_QUIET_HOURS is not set
        ");
    }

    #[test]
    fn with_everything_set_no_secret_shows() {
        let all = summary(&[
            ("DATABASE_URL", "postgres://app:hidden@db.example.com:6432/calls?sslpassword=hidden"),
            ("GOTO_WEBHOOK_SECRET", "hidden-hidden-hidden-hidden-hidden-1,hidden-hidden-hidden-hidden-hidden-2"),
            ("GOTO_API_KEY", "hidden"),
            ("RECORDING_ALLOWED_HOSTS", "api.goto.com,[::1]:9000"),
            ("RECORDING_ALLOW_PRIVATE", "true"),
            ("OPENAI_API_KEY", "hidden"),
            ("ANALYSIS_BASE_URL", "http://127.0.0.1:11434/v1"),
            ("SLACK_BOT_TOKEN", "hidden"),
            ("SLACK_CHANNEL", "#calls"),
            ("SMTP_HOST", "mail.example.com"),
            ("SMTP_USERNAME", "calls"),
            ("SMTP_PASSWORD", "hidden"),
            ("SMTP_FROM_EMAIL", "calls@example.com"),
            ("NOTIFICATION_EMAIL_RECIPIENTS", "a@example.com,b@example.com"),
            ("NOTIFY_QUIET_HOURS", "22:00-07:00"),
            ("TIME_ZONE", "Europe/Berlin"),
        ]);
        assert!(!all.contains("hidden"));
        insta::assert_snapshot!(all, @r"
        on  database: db.example.com:6432/calls
        on  webhook: signed, two secrets while rotating
        on  recordings: from api.goto.com, [::1]:9000 with GOTO_API_KEY, kept in file:///var/lib/goto-automation/recordings
        on  private recording hosts: RECORDING_ALLOW_PRIVATE is true
        on  transcription: gpt-transcribe at api.openai.com
        on  analysis: gpt-6-luna at 127.0.0.1:11434
        on  prices: the built-in list, which may be out of date
        on  slack: #calls through slack.com
        on  email: 2 recipients through mail.example.com:587 with STARTTLS
        on  quiet hours: 22:00-07:00 Europe/Berlin
        ");
    }
}
