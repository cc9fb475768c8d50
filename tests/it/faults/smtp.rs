//! The mail server. Two recipients, so that a fault of the one can be seen not to touch the other.

use std::collections::HashSet;
use std::io::Write as _;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use goto_automation::dev::standins::Upstream;
use goto_automation::store::deliveries::DeliveryRow;
use nix::sys::signal::Signal;
use rstest::rstest;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};
use tokio::time::sleep;

use super::{IMPATIENT, assert_sentence, effects, rule, tries};
use crate::support::Product;

const ONE: &str = "one@example.com";
const OTHER: &str = "other@example.com";
const LOGIN: [(&str, &str); 2] = [("SMTP_USERNAME", "calls"), ("SMTP_PASSWORD", "a password")];

/// A call whose mails meet the fault, told to its end; gives the product and its mail deliveries, `ONE`'s first.
async fn told(plan: &str, settings: &[(&str, &str)]) -> (Product, Vec<DeliveryRow>) {
    let recipients = format!("{ONE},{OTHER}");
    let own = [IMPATIENT, ("NOTIFY_NO_RECORDING", "true"), ("NOTIFICATION_EMAIL_RECIPIENTS", recipients.as_str())];
    let product = Product::start_under(plan, &[&own, settings].concat()).await;
    let id = product.ring_with(None).await;
    product.drain().await;
    product.attempts(id).await;
    let mut deliveries = product.deliveries(id).await;
    assert!(deliveries.iter().any(|delivery| delivery.channel == "slack" && delivery.state == "sent"));
    deliveries.retain(|delivery| delivery.channel == "email");
    deliveries.sort_by(|a, b| a.destination.cmp(&b.destination));
    (product, deliveries)
}

fn states(deliveries: &[DeliveryRow]) -> Vec<(&str, bool)> {
    deliveries.iter().map(|delivery| (delivery.state.as_str(), delivery.repeated)).collect()
}

/// How many mails were taken, and how many different ones.
fn taken(product: &Product) -> (usize, usize) {
    let mails = effects(product, Upstream::Smtp);
    let different: HashSet<_> = mails.iter().map(|mail| &mail.subject).collect();
    (mails.len(), different.len())
}

#[rstest]
#[case("greeting_421")]
#[case("greeting_cut")]
#[case("greeting_silence")]
#[case("hello_421")]
#[case("sender_421")]
#[case("sender_450")]
#[case("sender_451")]
#[case("sender_cut")]
#[case("recipient_450")]
#[case("recipient_451")]
#[case("recipient_cut")]
#[case("data_451")]
#[case("data_cut")]
#[case("dot_451")]
#[tokio::test]
async fn what_surely_was_not_sent_is_sent_later(#[case] fault: &str) {
    let (product, deliveries) = told(&rule("smtp", fault, &["first = 1"]), &[]).await;
    assert_eq!(states(&deliveries), [("sent", false); 2]);
    assert_eq!(taken(&product), (2, 2));
}

#[rstest]
#[case("recipient_550")]
#[case("recipient_552")]
#[case("data_552")]
#[case("data_554")]
#[case("dot_552")]
#[case("dot_554")]
#[tokio::test]
async fn a_refusal_for_good_is_for_that_recipient_only(#[case] fault: &str) {
    let only = format!("recipient = '{ONE}'");
    let (product, deliveries) = told(&rule("smtp", fault, &[&only]), &[]).await;
    assert_eq!(states(&deliveries), [("failed", false), ("sent", false)]);
    assert_sentence(deliveries[0].detail.as_deref());
    assert_eq!(taken(&product), (1, 1));
}

#[rstest]
#[case("greeting_554", &[], "smtp_server_refused", "SMTP_HOST")]
#[case("sender_530", &[], "smtp_login_refused", "SMTP_USERNAME")]
#[case("login_535", &LOGIN, "smtp_login_refused", "SMTP_PASSWORD")]
#[tokio::test]
async fn a_refusal_of_everybody_is_waited_for_and_names_the_setting(
    #[case] fault: &str,
    #[case] settings: &[(&str, &str)],
    #[case] class: &str,
    #[case] named: &str,
) {
    let (product, deliveries) = told(&rule("smtp", fault, &["first = 1"]), settings).await;
    assert_eq!(states(&deliveries), [("sent", false); 2]);
    assert_eq!(taken(&product), (2, 2));
    assert_eq!(product.count("SELECT count(*) FROM job_attempts WHERE outcome = 'retry'").await, 0);
    let said = sqlx::query_scalar("SELECT message FROM job_attempts WHERE error_class = $1").bind(class);
    let said: String = said.fetch_one(product.pool()).await.unwrap();
    assert_sentence(Some(&said));
    assert!(said.contains(named), "{said}");
}

#[tokio::test]
async fn a_refused_sender_names_the_setting() {
    let (product, deliveries) = told(&rule("smtp", "sender_550", &[]), &[]).await;
    assert_eq!(states(&deliveries), [("failed", false); 2]);
    assert_sentence(deliveries[0].detail.as_deref());
    assert!(deliveries[0].detail.as_ref().is_some_and(|detail| detail.contains("SMTP_FROM_EMAIL")));
    assert_eq!(taken(&product), (0, 0));
}

#[tokio::test]
async fn a_login_that_is_out_of_order_is_tried_again() {
    let (product, deliveries) = told(&rule("smtp", "login_454", &["first = 1"]), &LOGIN).await;
    assert_eq!(states(&deliveries), [("sent", false); 2]);
    assert_eq!(taken(&product), (2, 2));
}

/// Whether the final dot had been written when the connection broke is a matter of microseconds; either way the mail is
/// taken once.
#[tokio::test]
async fn a_mail_that_breaks_off_is_not_taken_twice() {
    let (product, deliveries) = told(&rule("smtp", "content_cut", &["first = 1"]), &[]).await;
    assert!(deliveries.iter().all(|delivery| delivery.state == "sent"));
    assert_eq!(taken(&product), (2, 2));
}

#[rstest]
#[case("dot_cut")]
#[case("dot_silence")]
#[tokio::test]
async fn a_lost_final_reply_is_followed_by_the_same_mail(#[case] fault: &str) {
    let only = format!("recipient = '{ONE}'");
    let (product, deliveries) = told(&rule("smtp", fault, &["first = 1", &only]), &[]).await;
    assert_eq!(states(&deliveries), [("sent", true), ("sent", false)]);
    assert_eq!(taken(&product), (3, 2));
    let mails = product.standins.outbox.mail();
    let repeated: Vec<_> = mails.iter().filter(|mail| mail.to == [ONE]).collect();
    assert_eq!((repeated.len(), &repeated[0].message_id), (2, &repeated[1].message_id));
    assert_eq!(repeated[0].date, repeated[1].date, "so that the reader's program can put them together");
}

#[tokio::test]
async fn a_mail_whose_worker_dies_before_the_final_reply_is_followed_by_the_same_mail() {
    let (only, recipients) = (format!("recipient = '{ONE}'"), format!("{ONE},{OTHER}"));
    let own = [("NOTIFY_NO_RECORDING", "true"), ("NOTIFICATION_EMAIL_RECIPIENTS", recipients.as_str())];
    let product = Product::at_rest_under(&rule("smtp", "dot_silence", &["first = 1", &only]), &own).await;
    let first = product.worker();
    let id = product.ring_with(None).await;
    let told = "SELECT count(*) FROM deliveries WHERE state = 'sent'";
    while taken(&product) != (2, 2) || product.count(told).await < 2 {
        sleep(Duration::from_millis(20)).await;
    }
    first.signal(Signal::SIGKILL);
    let _second = product.worker();
    product.drain().await;
    let deliveries = product.deliveries(id).await;
    let repeated: Vec<_> = deliveries.iter().filter(|d| d.repeated).map(|d| (&*d.destination, &*d.state)).collect();
    assert_eq!(repeated, [(ONE, "sent")], "{deliveries:#?}");
    assert_eq!(taken(&product), (3, 2));
}

#[tokio::test]
async fn a_final_reply_that_is_lost_again_is_held_for_a_person() {
    let only = format!("recipient = '{ONE}'");
    let (product, deliveries) = told(&rule("smtp", "dot_cut", &[&only]), &[]).await;
    assert_eq!(states(&deliveries), [("unknown", true), ("sent", false)]);
    assert_eq!(taken(&product), (3, 2));
}

/// What the server does not offer is a matter of settings, and of all mails.
#[rstest]
#[case(&[("SMTP_TLS", "starttls")], "SMTP_TLS")]
#[case(&LOGIN, "SMTP_USERNAME")]
#[tokio::test]
async fn what_is_not_offered_is_waited_for_and_names_the_setting(
    #[case] settings: &[(&str, &str)],
    #[case] named: &str,
) {
    let own = [("NOTIFY_NO_RECORDING", "true"), ("RETRY_SCALE", "1")];
    let product = Product::start_under("", &[&own, settings].concat()).await;
    let id = product.ring_with(None).await;
    let call = product.until(id, "waiting").await;
    assert!(call.state_reason.is_some_and(|reason| reason.contains(named)));
    let mail = product.deliveries(id).await.into_iter().find(|delivery| delivery.channel == "email").unwrap();
    assert_eq!((mail.state.as_str(), mail.repeated), ("pending", false));
    assert_eq!(taken(&product), (0, 0));
}

/// A name that does not exist, nobody at the port, TLS spoken to a plain port, and a certificate that nobody vouches for
/// look like trouble of the network: tried again, with a sentence meanwhile.
#[rstest]
#[case::no_such_name(&[("SMTP_HOST", "mail.invalid"), ("SMTP_TLS", "starttls")], "SMTP_HOST")]
#[case::nobody_there(&[("SMTP_PORT", "1")], "SMTP_PORT")]
#[case::a_plain_port(&[("SMTP_TLS", "implicit")], "SMTP_TLS")]
#[case::an_untrusted_certificate(&[("SMTP_TLS", "implicit"), ("SMTP_PORT", "untrusted")], "certificate")]
#[tokio::test]
async fn a_server_that_is_not_reached_is_tried_again(#[case] settings: &[(&str, &str)], #[case] says: &str) {
    let untrusted = untrusted_server().to_string();
    let settings =
        settings.iter().map(|(name, value)| (*name, if *value == "untrusted" { &*untrusted } else { value }));
    let own = [("NOTIFY_NO_RECORDING", "true"), ("RETRY_SCALE", "1")];
    let product = Product::start_under("", &own.into_iter().chain(settings).collect::<Vec<_>>()).await;
    let id = product.ring_with(None).await;
    while tries(&product, id, "notify").await.len() < 3 {
        sleep(Duration::from_millis(20)).await;
    }
    assert!(tries(&product, id, "notify").await.contains(&("retry".to_owned(), Some("connect".to_owned()))));
    let mail = product.deliveries(id).await.into_iter().find(|delivery| delivery.channel == "email").unwrap();
    assert_eq!((mail.state.as_str(), mail.repeated), ("pending", false));
    assert_sentence(mail.detail.as_deref());
    assert!(mail.detail.as_deref().is_some_and(|detail| detail.contains(says)), "{mail:#?}");
}

/// The port of a server that speaks TLS with a certificate of its own making.
fn untrusted_server() -> u16 {
    let certificate = CertificateDer::from_slice(include_bytes!("../../../fixtures/tls/untrusted.der"));
    let key = PrivatePkcs8KeyDer::from(&include_bytes!("../../../fixtures/tls/untrusted.key.der")[..]);
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut connection = ServerConnection::new(Arc::new(config.clone())).unwrap();
            // Whoever trusts us is greeted.
            let _ = Stream::new(&mut connection, &mut stream).write_all(b"220 untrusted.example ESMTP\r\n");
        }
    });
    port
}
