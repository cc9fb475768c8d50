//! Where webhooks are sent to, and with which secret.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::cli::Failure;
use crate::config::Config;
use crate::dev::running::RunningDev;

const WEBHOOK: &str = "webhooks/goto/call-ended";

/// A server that takes webhooks.
pub struct Target {
    /// Of the webhook.
    pub webhook_url: Url,
    /// Signs.
    pub secret: SecretString,
    /// The stand-in recording host of a running `dev`.
    pub recordings_url: Option<Url>,
    /// What it asks for.
    pub recordings_key: Option<String>,
    /// Where to look at messages.
    pub outbox_url: Option<String>,
}

impl Target {
    /// `url` with `secret`; what is not given comes from the `dev` that runs in `data_dir`, as far as it is that
    /// server, and then from the settings.
    pub fn find(url: Option<&Url>, secret: Option<&str>, data_dir: &Path) -> Result<Self, Failure> {
        let dev = RunningDev::find(data_dir);
        let (base, dev) = match (url, dev) {
            (None, Ok(dev)) => (parse(&dev.url)?, Some(dev)),
            (None, Err(absent)) => return Err(Failure::failed(format!("{absent}, or pass --url and --secret."))),
            (Some(url), dev) => (url.clone(), dev.ok().filter(|dev| is_same(&dev.url, url))),
        };
        let secret = match (secret, &dev) {
            (Some(secret), _) => SecretString::from(secret),
            (None, Some(dev)) => SecretString::from(dev.webhook_secret.clone()),
            (None, None) => secret_of_settings()?,
        };
        let recordings_url = dev.as_ref().and_then(|dev| dev.recordings_url.as_deref()).map(parse).transpose()?;
        let (recordings_key, outbox_url) = dev.map_or((None, None), |dev| (dev.recordings_key, Some(dev.outbox_url)));
        Ok(Self { webhook_url: below(&base, WEBHOOK)?, secret, recordings_url, recordings_key, outbox_url })
    }
}

fn secret_of_settings() -> Result<SecretString, Failure> {
    let secrets = Config::from_environment()?.webhook.secrets;
    let missing = || Failure::usage("There is no secret to sign with: pass --secret or set GOTO_WEBHOOK_SECRET.");
    secrets.first().map(|secret| SecretString::from(secret.expose_secret())).ok_or_else(missing)
}

fn is_same(one: &str, other: &Url) -> bool {
    Url::parse(one).is_ok_and(|one| one.origin() == other.origin())
}

fn parse(url: &str) -> Result<Url, Failure> {
    Url::parse(url).map_err(|error| Failure::failed(format!("The running `dev` names a wrong address ({error}).")))
}

/// An address below another, whether that ends in a slash or not.
fn below(base: &Url, path: &str) -> Result<Url, Failure> {
    let wrong = || Failure::usage("--url is the address of a server, such as https://calls.example.com");
    if !matches!(base.scheme(), "http" | "https") {
        return Err(wrong());
    }
    let mut base = base.clone();
    let folder = format!("{}/", base.path().trim_end_matches('/'));
    base.set_path(&folder);
    base.set_query(None);
    base.join(path).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_webhook_stands_below_the_server() {
        for base in ["http://localhost:8000", "http://localhost:8000/", "http://localhost:8000/?x=1"] {
            let url = below(&Url::parse(base).unwrap(), WEBHOOK).unwrap();
            assert_eq!(url.as_str(), "http://localhost:8000/webhooks/goto/call-ended");
        }
        let behind_a_path = below(&Url::parse("https://example.com/calls").unwrap(), WEBHOOK).unwrap();
        assert_eq!(behind_a_path.as_str(), "https://example.com/calls/webhooks/goto/call-ended");
        assert_eq!(below(&Url::parse("ftp://example.com").unwrap(), WEBHOOK).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn without_a_dev_it_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let failure = Target::find(None, None, folder.path()).err().expect("an error");
        let Failure::Failed(sentence) = failure else { panic!("exit code 1") };
        assert!(sentence.ends_with("start one with `make dev`, or pass --url and --secret."), "{sentence}");
    }

    #[test]
    fn a_secret_given_wins() {
        let folder = tempfile::tempdir().unwrap();
        let url = Url::parse("http://localhost:1").unwrap();
        let target = Target::find(Some(&url), Some("given"), folder.path()).unwrap_or_else(|_| panic!("a target"));
        assert_eq!(target.secret.expose_secret(), "given");
        assert!(target.recordings_url.is_none() && target.outbox_url.is_none());
    }
}
