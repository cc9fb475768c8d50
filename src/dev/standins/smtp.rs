//! Stands in for a mail server: RFC 5321 without TLS, login (unless a plan of faults is about it) and relaying. What it accepts goes into the outbox.

mod lines;

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncBufRead, AsyncWrite, BufStream};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::lines::{Line, MAX_TEXT_LINE, read_line, read_message, say};
use super::Upstream;
use super::door::Counters;
use super::effects::{Deed, Effects};
use super::faults::catalogue::MailAct;
use super::faults::{Faults, Occasion, Stage, Struck};
use super::outbox::{Mail, Outbox};
use crate::model::clock;

/// Name in greeting and answers.
const NAME: &str = "stand-in.localhost";
/// Octets of a command line with CRLF; RFC 5321 section 4.5.3.1.4 asks for 512, parameters come on top.
const MAX_COMMAND: u64 = 1024;
/// Octets of a message; announced with SIZE (RFC 1870).
const MAX_MESSAGE: usize = 10 * 1024 * 1024;
/// RFC 5321 section 4.5.3.1.8 asks for at least 100.
const MOST_RECIPIENTS: usize = 100;

/// What all conversations share. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct PostOffice {
    pub outbox: Outbox,
    pub counters: Arc<Counters>,
    pub faults: Arc<Faults>,
    pub effects: Effects,
}

/// Answers until `stop`.
pub(super) async fn serve(
    listener: TcpListener,
    post_office: PostOffice,
    tasks: TaskTracker,
    stop: CancellationToken,
) -> io::Result<()> {
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let Ok((stream, _)) = accepted else { continue };
        let (post_office, stop) = (post_office.clone(), stop.clone());
        tasks.spawn(async move {
            let talk = post_office.converse(BufStream::new(stream));
            // A client that hangs up in the middle is no news for anybody.
            let _ = stop.run_until_cancelled(talk).await;
        });
    }
    Ok(())
}

impl PostOffice {
    async fn converse<S>(&self, mut stream: S) -> io::Result<()>
    where
        S: AsyncBufRead + AsyncWrite + Unpin,
    {
        if let Some(struck) = self.strike(Stage::Greeting, &[]) {
            misbehave(&mut stream, &struck).await?;
            return Ok(());
        }
        say(&mut stream, &format!("220 {NAME} ESMTP stand-in: nothing leaves this machine")).await?;
        let mut session = Session { offers_login: self.faults.offers_login(), ..Session::default() };
        loop {
            let answer = match read_line(&mut stream, MAX_COMMAND).await? {
                Line::End => return Ok(()),
                Line::TooLong => reply("500 Line too long"),
                Line::Bare => reply("500 Lines end with CR LF"),
                Line::Whole(line) => match self.strike_command(&session, &line) {
                    Some(struck) if misbehave(&mut stream, &struck).await? => continue,
                    Some(_) => return Ok(()),
                    None => session.command(&line),
                },
            };
            match answer {
                Answer::Reply(reply) => say(&mut stream, &reply).await?,
                Answer::Mail(reply) => {
                    self.counters.count(Upstream::Smtp);
                    say(&mut stream, &reply).await?;
                }
                Answer::Data(envelope) => {
                    if !self.take_mail(&mut stream, envelope).await? {
                        return Ok(());
                    }
                }
                Answer::Quit => return say(&mut stream, &format!("221 {NAME} closes the connection")).await,
            }
        }
    }

    /// The message after DATA. `false` = the conversation is over.
    async fn take_mail<S>(&self, stream: &mut S, envelope: Envelope) -> io::Result<bool>
    where
        S: AsyncBufRead + AsyncWrite + Unpin,
    {
        let arrived_at = clock::now();
        say(stream, "354 End data with <CR><LF>.<CR><LF>").await?;
        if let Some(struck) = self.strike(Stage::Content, &envelope.to) {
            read_line(stream, MAX_TEXT_LINE).await?;
            return misbehave(stream, &struck).await;
        }
        let raw = match read_message(stream).await? {
            None => return Ok(false),
            Some(Err(refusal)) => return say(stream, refusal).await.map(|()| true),
            Some(Ok(raw)) => raw,
        };
        let struck = self.strike(Stage::Dot, &envelope.to);
        if let Some(struck) = struck.filter(|struck| !struck.fault.loses()) {
            return misbehave(stream, &struck).await;
        }
        let mail = Mail::read(envelope.from, envelope.to, raw);
        let deed = Deed::to(mail.message_id.clone().unwrap_or_default());
        self.effects.note(Upstream::Smtp, arrived_at, &deed, struck.as_ref()).await;
        let number = self.outbox.add_mail(mail);
        match struck {
            Some(struck) => misbehave(stream, &struck).await,
            None => say(stream, &format!("250 OK queued as {number}")).await.map(|()| true),
        }
    }

    fn strike_command(&self, session: &Session, line: &[u8]) -> Option<Struck> {
        let (stage, recipients) = session.stage(line)?;
        let struck = self.strike(stage, &recipients)?;
        if stage == Stage::Sender {
            self.counters.count(Upstream::Smtp);
        }
        Some(struck)
    }

    fn strike(&self, stage: Stage, recipients: &[String]) -> Option<Struck> {
        self.faults.strike(&Occasion { upstream: Upstream::Smtp, path: "", stage: Some(stage), recipients })
    }
}

/// Does what the fault says. `false` = the conversation is over.
async fn misbehave<S>(stream: &mut S, struck: &Struck) -> io::Result<bool>
where
    S: AsyncBufRead + AsyncWrite + Unpin,
{
    match struck.fault.mail() {
        Some(MailAct::Say(reply)) => {
            say(stream, reply).await?;
            // 421 announces the end of the connection (RFC 5321, section 3.8).
            Ok(!reply.starts_with("421"))
        }
        Some(MailAct::Silence) => {
            while !matches!(read_line(stream, MAX_TEXT_LINE).await?, Line::End) {}
            Ok(false)
        }
        Some(MailAct::Cut) | None => Ok(false),
    }
}

/// Where a conversation stands.
#[derive(Debug, Default)]
struct Session {
    offers_login: bool,
    greeted: bool,
    envelope: Option<Envelope>,
}

#[derive(Debug, Default, Clone)]
struct Envelope {
    from: String,
    to: Vec<String>,
}

#[derive(Debug)]
enum Answer {
    Reply(String),
    /// The reply to a MAIL that begins a message.
    Mail(String),
    /// The message comes now.
    Data(Envelope),
    Quit,
}

impl Session {
    /// Where a command leads to, and the recipients that it is about, if they are known.
    fn stage(&self, line: &[u8]) -> Option<(Stage, Vec<String>)> {
        let line = std::str::from_utf8(line).ok()?;
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" | "HELO" => Some((Stage::Hello, Vec::new())),
            "AUTH" => Some((Stage::Login, Vec::new())),
            "MAIL" => Some((Stage::Sender, Vec::new())),
            "RCPT" => Some((Stage::Recipient, vec![path(rest, "TO:")?.0.to_owned()])),
            "DATA" => Some((Stage::Data, self.envelope.as_ref()?.to.clone())),
            _ => None,
        }
    }

    fn command(&mut self, line: &[u8]) -> Answer {
        let Ok(line) = std::str::from_utf8(line) else { return reply("500 Commands are ASCII") };
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => {
                let login = if self.offers_login { "250-AUTH PLAIN LOGIN\r\n" } else { "" };
                self.hello(rest, format!("250-{NAME}\r\n250-SIZE {MAX_MESSAGE}\r\n{login}250 8BITMIME"))
            }
            "HELO" => self.hello(rest, format!("250 {NAME}")),
            "MAIL" => self.mail(rest),
            "RCPT" => self.recipient(rest),
            "DATA" => self.data(),
            "RSET" => {
                self.envelope = None;
                reply("250 OK")
            }
            "NOOP" => reply("250 OK"),
            "VRFY" => reply("252 Cannot verify, but will take the message"),
            "QUIT" => Answer::Quit,
            "AUTH" if self.offers_login => reply("235 2.7.0 Whoever you are"),
            "EXPN" | "HELP" | "STARTTLS" | "AUTH" => reply("502 Not implemented by the stand-in"),
            _ => reply("500 Unknown command"),
        }
    }

    fn hello(&mut self, name: &str, answer: String) -> Answer {
        if name.trim().is_empty() {
            return reply("501 Say who you are");
        }
        *self = Self { greeted: true, envelope: None, ..*self };
        Answer::Reply(answer)
    }

    fn mail(&mut self, rest: &str) -> Answer {
        if !self.greeted {
            return reply("503 EHLO first");
        }
        if self.envelope.is_some() {
            return reply("503 One message at a time");
        }
        let Some((from, parameters)) = path(rest, "FROM:") else { return reply("501 Syntax: MAIL FROM:<address>") };
        if !from.is_empty() && !is_address(from) {
            return reply("553 The sender is no address");
        }
        for parameter in parameters.split_whitespace() {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match (name.to_ascii_uppercase().as_str(), value.parse::<usize>()) {
                ("SIZE", Ok(size)) if size > MAX_MESSAGE => return reply("552 Message too large"),
                ("SIZE", Ok(_)) => {}
                ("BODY", _) if value.eq_ignore_ascii_case("7BIT") || value.eq_ignore_ascii_case("8BITMIME") => {}
                _ => return reply("555 Unknown parameter"),
            }
        }
        self.envelope = Some(Envelope { from: from.to_owned(), to: Vec::new() });
        Answer::Mail("250 OK".to_owned())
    }

    fn recipient(&mut self, rest: &str) -> Answer {
        let Some(envelope) = &mut self.envelope else { return reply("503 MAIL first") };
        let Some((to, parameters)) = path(rest, "TO:") else { return reply("501 Syntax: RCPT TO:<address>") };
        if !is_address(to) && !to.eq_ignore_ascii_case("postmaster") {
            return reply("553 The recipient is no address");
        }
        if !parameters.trim().is_empty() {
            return reply("555 Unknown parameter");
        }
        if envelope.to.len() >= MOST_RECIPIENTS {
            return reply("452 Too many recipients");
        }
        envelope.to.push(to.to_owned());
        reply("250 OK")
    }

    fn data(&mut self) -> Answer {
        match self.envelope.take() {
            None => reply("503 MAIL first"),
            Some(envelope) if envelope.to.is_empty() => {
                self.envelope = Some(envelope);
                reply("503 RCPT first")
            }
            Some(envelope) => Answer::Data(envelope),
        }
    }
}

fn reply(text: &str) -> Answer {
    Answer::Reply(text.to_owned())
}

/// The address of `FROM:<address> parameters`, and the parameters.
fn path<'a>(rest: &'a str, keyword: &str) -> Option<(&'a str, &'a str)> {
    let rest = rest.trim_start();
    let address = rest.get(..keyword.len()).filter(|start| start.eq_ignore_ascii_case(keyword))?;
    rest[address.len()..].trim_start().strip_prefix('<')?.split_once('>')
}

fn is_address(text: &str) -> bool {
    let fits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_graphic());
    text.rsplit_once('@').is_some_and(|(local, domain)| fits(local) && fits(domain))
}

#[cfg(test)]
mod tests {
    use lettre::message::{MultiPart, header};
    use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use crate::dev::standins::{Fixtures, Standins};

    /// Sends `script` at once and gives the codes of all replies.
    async fn codes(standins: &Standins, script: &[u8]) -> Vec<String> {
        let mut stream = TcpStream::connect(standins.smtp).await.unwrap();
        stream.write_all(script).await.unwrap();
        let mut replies = String::new();
        stream.read_to_string(&mut replies).await.unwrap();
        replies.lines().map(|line| line[..4].to_owned()).collect()
    }

    #[tokio::test]
    async fn lettre_delivers_a_mail_as_it_was_written() {
        let standins = Standins::start(Fixtures::embedded()).await.unwrap();
        let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1").port(standins.smtp.port());
        let transport = transport.build();
        let text = "Grüße\r\n.a line with a dot in front\r\n";
        let mail = Message::builder()
            .from("Calls <calls@example.com>".parse().unwrap())
            .to("dana@example.com".parse().unwrap())
            .subject("Anruf: Rückzahlung")
            .message_id(Some("<call.1@example.com>".to_owned()))
            .header(header::Date::from(std::time::UNIX_EPOCH))
            .multipart(MultiPart::alternative_plain_html(text.to_owned(), "<p>Gr&uuml;&szlig;e</p>".to_owned()))
            .unwrap();
        transport.send(mail.clone()).await.unwrap();
        transport.send(mail).await.unwrap();

        let kept = standins.outbox.mail();
        assert_eq!((kept.len(), standins.requests("smtp")), (2, 2));
        assert_eq!(
            (kept[0].from.as_str(), kept[0].to.as_slice()),
            ("calls@example.com", &["dana@example.com".into()][..])
        );
        assert_eq!(kept[0].subject.as_deref(), Some("Anruf: Rückzahlung"));
        assert_eq!(kept[0].message_id.as_deref(), Some("call.1@example.com"));
        assert_eq!(kept[0].date.as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(kept[0].text.as_deref(), Some(text));
        assert_eq!(kept[0].html.as_deref(), Some("<p>Gr&uuml;&szlig;e</p>"));
        assert!(kept[0].raw.starts_with("From: "));
    }

    #[tokio::test]
    async fn commands_out_of_order_are_refused() {
        let standins = Standins::start(Fixtures::embedded()).await.unwrap();
        let script = b"MAIL FROM:<a@b>\r\nEHLO\r\nEHLO me\r\nDATA\r\nRCPT TO:<a@b>\r\nMAIL FROM:<a@b> SIZE=99 BODY=8BITMIME\r\n\
            MAIL FROM:<a@b>\r\nDATA\r\nRSET\r\nRCPT TO:<a@b>\r\nVRFY a\r\nNOOP\r\nHELO me\r\nSTARTTLS\r\nNONSENSE\r\nQUIT\r\n";
        let expected = [
            "220 ", "503 ", "501 ", "250-", "250-", "250 ", "503 ", "503 ", "250 ", "503 ", "503 ", "250 ", "503 ",
            "252 ", "250 ", "250 ", "502 ", "500 ", "221 ",
        ];
        assert_eq!(codes(&standins, script).await, expected);
    }

    #[tokio::test]
    async fn bad_addresses_sizes_and_lines_are_refused() {
        let standins = Standins::start(Fixtures::embedded()).await.unwrap();
        let long = "x".repeat(1100);
        let script = format!(
            "EHLO me\r\nMAIL FROM:a@b\r\nMAIL FROM:<a b@c>\r\nMAIL FROM:<a@b> SIZE=99999999\r\nMAIL FROM:<a@b> X=1\r\n\
             MAIL FROM:<>\r\nRCPT TO:<nobody>\r\nRCPT TO:<a@b>\r\nDATA\r\n{long}\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\n\
             DATA\r\nbare\nline\r\n.\r\nNOOP {long}\r\nNOOP\nQUIT\r\n"
        );
        let expected = [
            "220 ", "250-", "250-", "250 ", "501 ", "553 ", "552 ", "555 ", "250 ", "553 ", "250 ", "354 ", "500 ",
            "250 ", "250 ", "354 ", "554 ", "500 ", "500 ", "221 ",
        ];
        assert_eq!(codes(&standins, script.as_bytes()).await, expected);
        assert!(standins.outbox.mail().is_empty());
    }
}
