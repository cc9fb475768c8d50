//! Slack, by webhook and by bot. A call without a recording is enough to have something to tell.

use goto_automation::dev::standins::Upstream;
use goto_automation::store::deliveries::DeliveryRow;
use rstest::rstest;
use secrecy::ExposeSecret as _;

use super::{IMPATIENT, assert_sentence, effects, rule};
use crate::support::Product;

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Webhook,
    Bot,
}

/// A call whose message meets the fault, told to its end; gives the product and its Slack delivery.
async fn told(way: Way, fault: &str, rest: &[&str], settings: &[(&str, &str)]) -> (Product, DeliveryRow) {
    told_under(way, &rule("slack", fault, &[rest, &["wait_seconds = 1"]].concat()), settings).await
}

async fn told_under(way: Way, plan: &str, settings: &[(&str, &str)]) -> (Product, DeliveryRow) {
    let settings = [settings, &[IMPATIENT, ("NOTIFY_NO_RECORDING", "true")]].concat();
    let mut product = Product::at_rest_under(plan, &settings).await;
    if way == Way::Bot {
        let (token, url) = (product.standins.slack_bot_token(), product.standins.slack_api_url.to_string());
        let bot = [
            ("SLACK_BOT_TOKEN", token.expose_secret()),
            ("SLACK_CHANNEL", "C0123456789"),
            ("SLACK_API_BASE_URL", &url),
        ];
        product.set(&[&[("SLACK_WEBHOOK_URL", "")], &bot[..]].concat());
    }
    product.work();
    let id = product.ring_with(None).await;
    product.drain().await;
    product.until(id, "no_recording").await;
    product.attempts(id).await;
    let deliveries = product.deliveries(id).await;
    assert!(deliveries.iter().any(|delivery| delivery.channel == "email" && delivery.state == "sent"));
    let delivery = deliveries.into_iter().find(|delivery| delivery.channel == "slack").unwrap();
    (product, delivery)
}

#[rstest]
#[case::payload(Way::Webhook, "invalid_payload")]
#[case::blocks(Way::Webhook, "invalid_blocks")]
#[case::no_text(Way::Webhook, "no_text")]
#[case::user(Way::Webhook, "user_not_found")]
#[case::prohibited(Way::Webhook, "action_prohibited")]
#[case::token(Way::Webhook, "invalid_token")]
#[case::channel(Way::Webhook, "channel_not_found")]
#[case::service(Way::Webhook, "no_service")]
#[case::team(Way::Webhook, "no_team")]
#[case::archived(Way::Webhook, "channel_is_archived")]
#[case::redirect(Way::Webhook, "redirect")]
#[case::bot_channel(Way::Bot, "channel_not_found")]
#[case::bot_outside(Way::Bot, "not_in_channel")]
#[case::bot_archived(Way::Bot, "is_archived")]
#[case::bot_restricted(Way::Bot, "restricted_action")]
#[case::bot_long(Way::Bot, "msg_too_long")]
#[case::bot_long_blocks(Way::Bot, "msg_blocks_too_long")]
#[case::bot_no_text(Way::Bot, "no_text")]
#[case::bot_blocks(Way::Bot, "invalid_blocks")]
#[case::bot_arguments(Way::Bot, "invalid_arguments")]
#[case::bot_redirect(Way::Bot, "redirect")]
#[tokio::test]
async fn a_refusal_for_good_is_a_failed_delivery_and_asked_once(#[case] way: Way, #[case] fault: &str) {
    let (product, delivery) = told(way, fault, &[], &[]).await;
    assert_eq!((delivery.state.as_str(), delivery.repeated), ("failed", false));
    assert_sentence(delivery.detail.as_deref());
    assert_eq!(product.standins.requests("slack"), 1);
    assert!(effects(&product, Upstream::Slack).is_empty());
}

#[rstest]
#[case::bot_auth(Way::Bot, "invalid_auth")]
#[case::bot_not_authed(Way::Bot, "not_authed")]
#[case::bot_revoked(Way::Bot, "token_revoked")]
#[case::bot_expired(Way::Bot, "token_expired")]
#[case::bot_inactive(Way::Bot, "account_inactive")]
#[case::bot_scope(Way::Bot, "missing_scope")]
#[case::bot_ekm(Way::Bot, "ekm_access_denied")]
#[tokio::test]
async fn a_refused_token_is_waited_for_without_using_attempts(#[case] way: Way, #[case] fault: &str) {
    let (product, delivery) = told(way, fault, &["first = 1"], &[]).await;
    assert_eq!((delivery.state.as_str(), delivery.repeated), ("sent", false));
    assert_eq!(effects(&product, Upstream::Slack).len(), 1);
    let refused = "SELECT count(*) FROM job_attempts WHERE error_class = 'slack_credentials' AND outcome = 'waiting'";
    assert_eq!(product.count(refused).await, 1);
    assert_eq!(product.count("SELECT count(*) FROM job_attempts WHERE outcome = 'retry'").await, 0);
}

#[rstest]
#[case::limited(Way::Webhook, "rate_limited")]
#[case::rollup(Way::Webhook, "rollup_error")]
#[case::unavailable(Way::Webhook, "unavailable")]
#[case::bot_limited(Way::Bot, "rate_limited")]
#[case::bot_limited_in_a_word(Way::Bot, "ratelimited")]
#[case::bot_limited_in_another(Way::Bot, "rate_limited_word")]
#[case::bot_unavailable(Way::Bot, "unavailable")]
#[case::bot_service(Way::Bot, "service_unavailable")]
#[case::bot_timeout(Way::Bot, "request_timeout")]
#[case::bot_team(Way::Bot, "team_added_to_org")]
#[case::bot_org(Way::Bot, "org_login_required")]
#[case::bot_unheard_of(Way::Bot, "unheard_of")]
#[tokio::test]
async fn what_surely_was_not_posted_is_posted_later_without_a_word(#[case] way: Way, #[case] fault: &str) {
    let (product, delivery) = told(way, fault, &["first = 1"], &[]).await;
    assert_eq!((delivery.state.as_str(), delivery.repeated), ("sent", false));
    assert_eq!(effects(&product, Upstream::Slack).len(), 1);
}

#[tokio::test]
async fn a_word_that_nobody_knows_is_tried_three_times() {
    let (product, delivery) = told(Way::Bot, "unheard_of", &[], &[]).await;
    assert_eq!((delivery.state.as_str(), delivery.repeated), ("failed", false));
    assert_sentence(delivery.detail.as_deref());
    assert!(delivery.detail.is_some_and(|detail| detail.contains("unheard_of")), "it is named");
    assert_eq!(product.standins.requests("slack"), 3);
    assert!(effects(&product, Upstream::Slack).is_empty());
}

/// `done`: the message with the lost answer was posted.
#[rstest]
#[case::error(Way::Webhook, "server_error", false)]
#[case::gateway(Way::Webhook, "bad_gateway", true)]
#[case::gateway_timeout(Way::Webhook, "gateway_timeout", true)]
#[case::page(Way::Webhook, "html", false)]
#[case::half(Way::Webhook, "cut_off", true)]
#[case::reset(Way::Webhook, "reset", true)]
#[case::silence(Way::Webhook, "silence", true)]
#[case::bot_error(Way::Bot, "server_error", false)]
#[case::bot_gateway(Way::Bot, "bad_gateway", true)]
#[case::bot_gateway_timeout(Way::Bot, "gateway_timeout", true)]
#[case::bot_internal(Way::Bot, "internal_error", true)]
#[case::bot_fatal(Way::Bot, "fatal_error", true)]
#[case::bot_page(Way::Bot, "html", false)]
#[case::bot_half(Way::Bot, "cut_off", true)]
#[case::bot_reset(Way::Bot, "reset", true)]
#[case::bot_silence(Way::Bot, "silence", true)]
#[tokio::test]
async fn what_may_have_been_posted_is_repeated_with_a_word(#[case] way: Way, #[case] fault: &str, #[case] done: bool) {
    let (product, delivery) = told(way, fault, &["first = 1"], &[]).await;
    assert_eq!((delivery.state.as_str(), delivery.repeated), ("sent", true));
    let posted = effects(&product, Upstream::Slack);
    assert_eq!(posted.len(), 1 + usize::from(done));
    assert!(posted.iter().all(|effect| effect.subject == posted[0].subject), "always of the same call");
    let says = |body: &serde_json::Value| body.to_string().contains("Possible repeat");
    let said: Vec<bool> = product.standins.outbox.slack().iter().map(|message| says(&message.body)).collect();
    assert_eq!(said, if done { vec![false, true] } else { vec![true] });
}

#[rstest]
#[case::webhook(Way::Webhook)]
#[case::bot(Way::Bot)]
#[tokio::test]
async fn an_answer_that_is_lost_again_is_held_for_a_person(#[case] way: Way) {
    let (product, delivery) = told(way, "reset", &[], &[]).await;
    assert_eq!((delivery.state.as_str(), delivery.repeated), ("unknown", true));
    assert_eq!(effects(&product, Upstream::Slack).len(), 2, "once, and once more");
}

#[tokio::test]
async fn a_refused_repeat_does_not_claim_that_nothing_arrived() {
    let plan = [rule("slack", "reset", &["first = 1"]), rule("slack", "no_service", &[])].concat();
    let (product, delivery) = told_under(Way::Webhook, &plan, &[]).await;
    assert_eq!((delivery.state.as_str(), delivery.repeated), ("failed", true));
    assert!(delivery.detail.unwrap().contains("an earlier try may have arrived"));
    assert_eq!(effects(&product, Upstream::Slack).len(), 1);
}

#[tokio::test]
async fn nothing_is_repeated_where_a_person_wants_to_look_first() {
    let hold = [("NOTIFY_ON_UNKNOWN", "hold")];
    let (product, delivery) = told(Way::Webhook, "reset", &["first = 1"], &hold).await;
    assert_eq!((delivery.state.as_str(), delivery.repeated), ("unknown", false));
    assert_sentence(delivery.detail.as_deref());
    assert_eq!(effects(&product, Upstream::Slack).len(), 1);
}
