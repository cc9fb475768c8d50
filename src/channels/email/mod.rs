//! E-mail through SMTP.
//!
//! One message, one session and one outcome per recipient: with two in one envelope, a refusal of one holds back the mail
//! of the other. Mails are few, so no connection is kept between them.

mod message;
mod outcome;
mod session;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use async_trait::async_trait;
use lettre::message::Mailbox;

pub use self::message::bodies;
use self::session::Server;
use super::{Channel, Receipt, SendError};
use crate::config::EmailConfig;
use crate::model::{CallBrief, Envelope, FailureClass, Fault, UpstreamError};

/// Sends mails to the recipients of the settings.
pub struct Email {
    server: Server,
    from: Mailbox,
    recipients: Vec<Mailbox>,
    timeout: Duration,
}

impl Email {
    /// `timeout` covers a whole session with the mail server: 60 to 120 s is usual. The error names the setting.
    pub fn new(config: &EmailConfig, timeout: Duration) -> anyhow::Result<Self> {
        let server = Server::new(config).with_context(|| {
            format!("SMTP_HOST: TLS cannot be set up for `{}`, example: smtp.example.com", config.host)
        })?;
        let from = mailbox(&config.from).context("SMTP_FROM_EMAIL, example: Calls <calls@example.com>")?;
        let mut recipients: Vec<Mailbox> = Vec::new();
        for text in &config.recipients {
            let recipient =
                mailbox(text).context("NOTIFICATION_EMAIL_RECIPIENTS, example: dana@example.com,team@example.com")?;
            if !recipients.iter().any(|known| same_address(known, recipient.email.as_ref())) {
                recipients.push(recipient);
            }
        }
        Ok(Self { server, from, recipients, timeout })
    }
}

#[async_trait]
impl Channel for Email {
    fn name(&self) -> &'static str {
        "email"
    }

    fn destinations(&self) -> Vec<String> {
        self.recipients.iter().map(|recipient| recipient.email.to_string()).collect()
    }

    async fn send(&self, brief: &CallBrief, envelope: &Envelope) -> Result<Receipt, SendError> {
        let refused = |class, message: String| SendError::NotSent(UpstreamError::new(Fault::Permanent, class, message));
        let recipient = self.recipients.iter().find(|recipient| same_address(recipient, &envelope.destination));
        let recipient = recipient.ok_or_else(|| {
            let message = "NOTIFICATION_EMAIL_RECIPIENTS does not name this recipient any more. Nothing was sent: put \
                           the address back and run the job again, or leave it.";
            refused(FailureClass::ChannelOff, message.to_owned())
        })?;
        let mail = message::message(brief, envelope, &self.from, recipient).map_err(|error| {
            let text = "Nothing was sent. This is a bug: please report it with the call's id.";
            refused(FailureClass::MailNotMade, format!("The mail was not made ({error:#}). {text}"))
        })?;

        let final_dot = AtomicBool::new(false);
        let delivered = tokio::time::timeout(self.timeout, self.server.deliver(&mail, &final_dot)).await;
        let final_dot = final_dot.load(Ordering::SeqCst);
        match delivered {
            Ok(Ok(reply)) => Ok(outcome::receipt(&reply)),
            Ok(Err(error)) => Err(outcome::failed(&error, final_dot, &envelope.destination)),
            Err(_) => Err(outcome::timed_out(self.timeout, final_dot)),
        }
    }
}

/// An address as SMTP takes it everywhere: other scripts need extensions that many servers lack (RFC 6531).
fn mailbox(text: &str) -> anyhow::Result<Mailbox> {
    let mailbox: Mailbox = text.trim().parse().with_context(|| format!("`{text}` is not a mail address"))?;
    ensure!(
        AsRef::<str>::as_ref(&mailbox.email).is_ascii(),
        "`{text}` has letters outside ASCII: write its domain in the xn-- form"
    );
    Ok(mailbox)
}

fn same_address(mailbox: &Mailbox, address: &str) -> bool {
    AsRef::<str>::as_ref(&mailbox.email).eq_ignore_ascii_case(address)
}

#[cfg(test)]
mod tests;
