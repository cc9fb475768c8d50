//! One SMTP session for one mail, step by step.
//!
//! lettre's own transport does the same steps but does not tell how far it came, and that decides: until the final dot is
//! written nothing was sent; after it, only the server's reply tells (RFC 5321, 4.2.5 and 6.1; RFC 1047).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lettre::Message;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;
use secrecy::ExposeSecret;

use crate::config::{EmailConfig, SmtpTls};

/// How long a server may take over QUIT before the connection is dropped.
const GOODBYE: Duration = Duration::from_secs(5);

/// Step of the session in which something went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Name, connection, TLS from the first byte, greeting, EHLO.
    Connect,
    /// STARTTLS.
    StartTls,
    /// AUTH.
    Login,
    /// MAIL FROM.
    Sender,
    /// RCPT TO.
    Recipient,
    /// DATA and what follows, the final reply included.
    Content,
}

/// What went wrong, and in which step.
#[derive(Debug)]
pub struct SessionError {
    /// The step.
    pub stage: Stage,
    /// lettre's error: a reply with its code, or a broken connection.
    pub source: lettre::transport::smtp::Error,
}

/// Where and how the mails of this process are handed over.
#[derive(Clone)]
pub struct Server {
    host: String,
    port: u16,
    /// TLS from the first byte.
    implicit: Option<TlsParameters>,
    /// STARTTLS or nothing.
    starttls: Option<TlsParameters>,
    login: Option<Credentials>,
}

impl Server {
    /// The server of the settings; nothing is sent yet.
    pub fn new(config: &EmailConfig) -> Result<Self, lettre::transport::smtp::Error> {
        let parameters = || TlsParameters::new(config.host.clone());
        let (implicit, starttls) = match config.tls {
            SmtpTls::Implicit => (Some(parameters()?), None),
            SmtpTls::Starttls => (None, Some(parameters()?)),
            SmtpTls::None => (None, None),
        };
        let login = config.login.as_ref();
        let login = login.map(|(user, password)| Credentials::new(user.clone(), password.expose_secret().to_owned()));
        Ok(Self { host: config.host.clone(), port: config.port, implicit, starttls, login })
    }

    /// A session of its own for this mail; `final_dot` turns true right before the final dot is written. Gives the
    /// server's last reply. Not bounded in time.
    pub async fn deliver(&self, mail: &Message, final_dot: &AtomicBool) -> Result<Response, SessionError> {
        let mut connection = self.connect().await?;
        let result = hand_over(&mut connection, mail, final_dot).await;
        // Nothing that happens to the goodbye may change what is known, so nobody waits for it.
        tokio::spawn(async move { tokio::time::timeout(GOODBYE, connection.quit()).await.is_ok() });
        result
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, SessionError> {
        let hello = ClientId::default();
        let server = (self.host.as_str(), self.port);
        let connecting = AsyncSmtpConnection::connect_tokio1(server, None, &hello, self.implicit.clone(), None);
        let mut connection = connecting.await.map_err(at(Stage::Connect))?;
        if let Some(tls) = self.starttls.clone() {
            connection.starttls(tls, &hello).await.map_err(at(Stage::StartTls))?;
        }
        if let Some(login) = &self.login {
            connection.auth(DEFAULT_MECHANISMS, login).await.map_err(at(Stage::Login))?;
        }
        Ok(connection)
    }
}

async fn hand_over(
    connection: &mut AsyncSmtpConnection,
    mail: &Message,
    final_dot: &AtomicBool,
) -> Result<Response, SessionError> {
    let envelope = mail.envelope();
    connection.command(Mail::new(envelope.from().cloned(), Vec::new())).await.map_err(at(Stage::Sender))?;
    for recipient in envelope.to() {
        connection.command(Rcpt::new(recipient.clone(), Vec::new())).await.map_err(at(Stage::Recipient))?;
    }
    connection.command(Data).await.map_err(at(Stage::Content))?;
    // lettre asks for the next part when the one before is written, and writes the final dot when there is none.
    let mut parts = std::iter::once(mail.formatted());
    let content = std::iter::from_fn(|| {
        let part = parts.next();
        final_dot.store(part.is_none(), Ordering::SeqCst);
        part
    });
    connection.message_iter(content).await.map_err(at(Stage::Content))
}

fn at(stage: Stage) -> impl Fn(lettre::transport::smtp::Error) -> SessionError {
    move |source| SessionError { stage, source }
}
