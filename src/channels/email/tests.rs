//! Mail over a real socket, against a server that follows a script.

use rstest::rstest;
use secrecy::SecretString;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::channels::examples;
use crate::config::SmtpTls;

const RECIPIENT: &str = "dana@example.com";

/// Where the server departs from the good way, and the reply that it gives there; an empty reply cuts the connection.
type Departure = Option<(&'static str, &'static str)>;

#[tokio::test]
async fn a_mail_is_handed_over_and_the_queue_id_kept() {
    let (port, session) = serve(None).await;
    let mut config = config(port);
    config.login = Some(("calls".to_owned(), SecretString::from("password")));
    let receipt = email(&config).send(&examples::urgent(), &examples::envelope(RECIPIENT)).await.unwrap();
    assert_eq!(receipt.reference.as_deref(), Some("2.0.0 Ok: queued as 4F1D2A"));
    let heard = session.await.unwrap().join("\n");
    assert!(heard.contains("AUTH PLAIN ") && heard.contains("MAIL FROM:<calls@example.com>"), "{heard}");
    assert!(heard.contains("RCPT TO:<dana@example.com>\nDATA\n"), "{heard}");
    assert!(heard.contains("Message-ID: <01970000.1.abcdef@calls.example.com>"), "{heard}");
    assert!(heard.contains("Date: Tue, 17 Nov 2026 07:25:08 +0000"), "{heard}");
    assert!(heard.ends_with("\n.\nQUIT"), "{heard}");
}

#[rstest]
#[case::greeting("greeting", "421 busy", Fault::Transient, "smtp_try_later")]
#[case::greeting_refused("greeting", "554 no service", Fault::Blocked, "smtp_server_refused")]
#[case::greeting_cut("greeting", "", Fault::Transient, "connect")]
#[case::login("AUTH", "535 5.7.8 wrong", Fault::Blocked, "smtp_login_refused")]
#[case::login_later("AUTH", "454 4.7.0 later", Fault::Transient, "smtp_try_later")]
#[case::login_wanted("MAIL", "530 5.7.0 login first", Fault::Blocked, "smtp_login_refused")]
#[case::greylisted("MAIL", "450 4.7.1 greylisted", Fault::Transient, "smtp_try_later")]
#[case::sender("MAIL", "550 5.7.1 not yours", Fault::Permanent, "smtp_sender_refused")]
#[case::recipient_later("RCPT", "450 4.2.1 busy", Fault::Transient, "smtp_try_later")]
#[case::recipient("RCPT", "550 5.1.1 nobody here", Fault::Permanent, "smtp_recipient_refused")]
#[case::recipient_cut("RCPT", "", Fault::Transient, "connection_lost")]
#[case::data_later("DATA", "451 4.3.0 later", Fault::Transient, "smtp_try_later")]
#[case::data("DATA", "552 5.3.4 too large", Fault::Permanent, "smtp_message_refused")]
#[case::data_cut("DATA", "", Fault::Transient, "connection_lost")]
#[case::dot_later("dot", "451 4.3.0 later", Fault::Transient, "smtp_try_later")]
#[case::dot("dot", "554 5.6.0 spam", Fault::Permanent, "smtp_message_refused")]
#[tokio::test]
async fn surely_not_sent(
    #[case] step: &'static str,
    #[case] reply: &'static str,
    #[case] fault: Fault,
    #[case] class: &str,
) {
    let (port, _session) = serve(Some((step, reply))).await;
    let mut config = config(port);
    config.login = Some(("calls".to_owned(), SecretString::from("password")));
    match email(&config).send(&examples::urgent(), &examples::envelope(RECIPIENT)).await {
        Err(SendError::NotSent(error)) => {
            assert_eq!((error.fault, error.class.as_str()), (fault, class), "{error}");
            assert!(reply.is_empty() || error.message.contains(reply), "{error}");
            assert!(!error.message.contains("password"));
        }
        other => panic!("{other:?}"),
    }
}

#[rstest]
#[case("550 5.1.1 <Dana@example.com>: Recipient address rejected", "550 5.1.1 this recipient: Recipient address")]
#[case("450 4.2.2 dana@example.com over quota", "450 4.2.2 this recipient over quota")]
#[case("550 5.1.1 dana@example.com is now (d.smith@example.org).", "this recipient is now (another address)")]
#[tokio::test]
async fn a_refusal_names_nobody(#[case] reply: &'static str, #[case] told: &str) {
    let (port, _session) = serve(Some(("RCPT", reply))).await;
    match email(&config(port)).send(&examples::urgent(), &examples::envelope(RECIPIENT)).await {
        Err(SendError::NotSent(error)) => {
            assert!(error.message.contains(told) && !error.message.contains('@'), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[rstest]
#[case::cut_after_the_final_dot("")]
#[case::nonsense_after_the_final_dot("what?")]
#[tokio::test]
async fn nobody_knows(#[case] reply: &'static str) {
    let (port, _session) = serve(Some(("dot", reply))).await;
    let error = email(&config(port)).send(&examples::urgent(), &examples::envelope(RECIPIENT)).await.unwrap_err();
    assert!(matches!(&error, SendError::Unknown(error) if error.class == FailureClass::UnknownOutcome), "{error:?}");
}

#[rstest]
#[case::before_the_final_dot("greeting", false)]
#[case::after_the_final_dot("dot", true)]
#[tokio::test]
async fn a_silent_server_is_left_in_time(#[case] step: &'static str, #[case] may_have_arrived: bool) {
    let (port, _session) = serve(Some((step, "silence"))).await;
    let email = Email { timeout: Duration::from_millis(100), ..email(&config(port)) };
    let error = email.send(&examples::urgent(), &examples::envelope(RECIPIENT)).await.unwrap_err();
    match error {
        SendError::Unknown(error) if may_have_arrived => assert_eq!(error.class, FailureClass::UnknownOutcome),
        SendError::NotSent(error) if !may_have_arrived => assert_eq!(error.class, FailureClass::Timeout),
        other => panic!("{other:?}"),
    }
}

#[rstest]
#[case::no_starttls(SmtpTls::Starttls, Fault::Blocked, "smtp_no_starttls", "SMTP_TLS")]
#[case::tls_to_a_plain_port(SmtpTls::Implicit, Fault::Transient, "connect", "SMTP_TLS")]
#[tokio::test]
async fn a_login_never_goes_out_in_the_clear(
    #[case] tls: SmtpTls,
    #[case] fault: Fault,
    #[case] class: &str,
    #[case] setting: &str,
) {
    let (port, session) = serve(None).await;
    let config = EmailConfig { tls, login: Some(("calls".to_owned(), SecretString::from("password"))), ..config(port) };
    match email(&config).send(&examples::urgent(), &examples::envelope(RECIPIENT)).await {
        Err(SendError::NotSent(error)) => {
            assert_eq!((error.fault, error.class.as_str()), (fault, class), "{error}");
            assert!(error.message.contains(setting), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert!(!session.await.unwrap().join("\n").contains("AUTH"));
}

#[tokio::test]
async fn nobody_there_is_surely_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = email(&config(port)).send(&examples::urgent(), &examples::envelope(RECIPIENT)).await.unwrap_err();
    assert!(matches!(&error, SendError::NotSent(error) if error.class.as_str() == "connect"), "{error:?}");
}

#[tokio::test]
async fn a_recipient_that_the_settings_no_longer_name_gets_nothing() {
    let error = email(&config(9)).send(&examples::urgent(), &examples::envelope("old@example.com")).await.unwrap_err();
    assert!(matches!(error, SendError::NotSent(UpstreamError { fault: Fault::Permanent, .. })));
}

#[test]
fn recipients_are_addresses_one_message_each() {
    let recipients = ["Dana <dana@example.com>", "team@example.com", "DANA@example.com"].map(str::to_owned).to_vec();
    let email = email(&EmailConfig { recipients, ..config(25) });
    assert_eq!(email.destinations(), ["dana@example.com", "team@example.com"]);
}

#[rstest]
#[case("a@x.example, b@x.example")]
#[case("dana@exa\r\nmple.com")]
#[case("dana")]
#[case("dana@bücher.example")]
fn what_is_no_address_is_refused_by_name(#[case] recipient: &str) {
    let config = EmailConfig { recipients: vec![recipient.to_owned()], ..config(25) };
    let error = Email::new(&config, Duration::from_secs(1)).err().unwrap();
    assert!(format!("{error:#}").starts_with("NOTIFICATION_EMAIL_RECIPIENTS"), "{error:#}");
}

fn config(port: u16) -> EmailConfig {
    EmailConfig {
        host: "127.0.0.1".to_owned(),
        port,
        tls: SmtpTls::None,
        login: None,
        from: "Calls <calls@example.com>".to_owned(),
        recipients: vec![RECIPIENT.to_owned()],
    }
}

fn email(config: &EmailConfig) -> Email {
    Email::new(config, Duration::from_secs(5)).unwrap()
}

/// Serves one session; yields what the client said.
async fn serve(departure: Departure) -> (u16, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let session = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        converse(stream, departure).await
    });
    (port, session)
}

async fn converse(stream: TcpStream, departure: Departure) -> Vec<String> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut heard = Vec::new();
    let mut step = "greeting".to_owned();
    loop {
        let reply = match departure {
            Some((place, reply)) if place == step => reply,
            _ => good_reply(&step),
        };
        match reply {
            "" => return heard,
            "silence" => std::future::pending().await,
            reply => write.write_all(format!("{reply}\r\n").as_bytes()).await.unwrap(),
        }
        match next_step(&mut lines, &mut heard, reply.starts_with("354")).await {
            Some(next) if next != "QUIT" => step = next,
            _ => return heard,
        }
    }
}

fn good_reply(step: &str) -> &'static str {
    match step {
        "greeting" => "220 mail.example.com ESMTP",
        "EHLO" => "250-mail.example.com\r\n250 AUTH PLAIN LOGIN",
        "AUTH" => "235 2.7.0 welcome",
        "DATA" => "354 go ahead",
        "dot" => "250 2.0.0 Ok: queued as 4F1D2A",
        _ => "250 2.1.0 Ok",
    }
}

/// The next command's verb, or `dot` after the content; `None` when the client has gone.
async fn next_step(
    lines: &mut Lines<BufReader<OwnedReadHalf>>,
    heard: &mut Vec<String>,
    content: bool,
) -> Option<String> {
    loop {
        let line = lines.next_line().await.ok()??;
        heard.push(line.clone());
        match (content, line.as_str()) {
            (true, ".") => return Some("dot".to_owned()),
            (true, _) => {}
            (false, command) => return Some(command.chars().take(4).collect()),
        }
    }
}
