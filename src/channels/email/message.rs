//! The mail: text and HTML of the same words, one message per recipient, the same at every try.

use anyhow::Context;
use askama::Template;
use lettre::Message;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};

use crate::channels::text;
use crate::channels::wording::{NOT_CONFIRMED, Wording};
use crate::model::{CallBrief, Envelope};

/// Shown by mail programs beside the subject.
const PREVIEW_LIMIT: usize = 160;

#[derive(Template)]
#[template(path = "mail/summary.txt")]
struct Plain<'a> {
    words: &'a Wording,
    not_confirmed: &'static str,
}

#[derive(Template)]
#[template(path = "mail/summary.html")]
struct Html<'a> {
    words: &'a Wording,
    not_confirmed: &'static str,
    preview: String,
}

/// The whole message. `Message-ID`, `Date` and the MIME boundary come from the envelope, so that a second try is the same
/// message and the receiving side can tell (RFC 5322, 3.6.4; RFC 1047).
pub fn message(brief: &CallBrief, envelope: &Envelope, from: &Mailbox, to: &Mailbox) -> anyhow::Result<Message> {
    let words = Wording::of(brief, envelope);
    let (plain, html) = bodies(brief, envelope)?;
    let parts = MultiPart::alternative()
        .boundary(format!("delivery-{}", envelope.delivery_id))
        .singlepart(SinglePart::plain(plain))
        .singlepart(SinglePart::html(html));
    Message::builder()
        .from(from.clone())
        .to(to.clone())
        .subject(words.headline())
        .message_id(Some(format!("<{}>", envelope.message_id)))
        .date(envelope.date.into())
        .raw_header(auto_submitted())
        .multipart(parts)
        .context("the mail could not be put together")
}

/// The two bodies of the mail: text, and HTML.
pub fn bodies(brief: &CallBrief, envelope: &Envelope) -> anyhow::Result<(String, String)> {
    let words = Wording::of(brief, envelope);
    Ok((plain(&words)?, html(&words)?))
}

fn plain(words: &Wording) -> anyhow::Result<String> {
    Plain { words, not_confirmed: NOT_CONFIRMED }.render().context("the mail's text could not be rendered")
}

fn html(words: &Wording) -> anyhow::Result<String> {
    let preview = match (words.statements.iter().find(|line| line.confirmed), words.instead) {
        (Some(line), _) => text::cut(&line.text, PREVIEW_LIMIT),
        (None, instead) => instead.unwrap_or_default().to_owned(),
    };
    Html { words, not_confirmed: NOT_CONFIRMED, preview }.render().context("the mail's HTML could not be rendered")
}

/// Keeps holiday answers away (RFC 3834, 5).
fn auto_submitted() -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::channels::examples;

    #[rstest]
    #[case("friendly", examples::friendly(), examples::envelope("team@example.com"))]
    #[case("urgent_repeat", examples::urgent(), examples::repeated("team@example.com"))]
    #[case("no_recording", examples::no_recording(), examples::envelope("team@example.com"))]
    fn text_and_html(#[case] name: &str, #[case] brief: CallBrief, #[case] envelope: Envelope) {
        let words = Wording::of(&brief, &envelope);
        insta::assert_snapshot!(format!("{name}_text"), plain(&words).unwrap());
        insta::assert_snapshot!(format!("{name}_html"), html(&words).unwrap());
    }

    #[test]
    fn a_hostile_call_stays_text() {
        let envelope = examples::envelope("team@example.com");
        let words = Wording::of(&examples::hostile(), &envelope);
        let (plain, html) = (plain(&words).unwrap(), html(&words).unwrap());
        assert!(words.shortened && plain.contains("This message was shortened") && html.contains("shortened"));
        for part in [&plain, &html] {
            assert_eq!(part.matches("https://").count(), 1, "our own link only");
            assert!(!part.contains("http://") && !part.contains("www."));
            assert!(!part.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'));
        }
        assert!(
            !html.contains("<!channel") && !html.contains("<script") && !html.contains("<img") && html.len() < 100_000,
            "{}",
            html.len()
        );

        let mail = formatted(&examples::hostile(), &envelope);
        let head = mail.split("\r\n\r\n").next().unwrap();
        assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
        assert!(mail.lines().all(|line| line.len() <= 998) && mail.is_ascii());
    }

    #[test]
    fn a_second_try_is_the_same_message() {
        let (brief, envelope) = (examples::urgent(), examples::envelope("team@example.com"));
        let mail = formatted(&brief, &envelope);
        assert_eq!(mail, formatted(&brief, &envelope));
        insta::assert_snapshot!(mail.split("\r\n\r\n").next().unwrap());
        let head = |mail: &str| mail.split("\r\n\r\n").next().unwrap().to_owned();
        let repeated = formatted(&brief, &Envelope { possible_repeat: true, ..envelope });
        assert_eq!(head(&mail), head(&repeated));
        assert!(!mail.contains("Possible repeat") && repeated.contains("Possible repeat"));
    }

    fn formatted(brief: &CallBrief, envelope: &Envelope) -> String {
        let from = "Calls <calls@example.com>".parse().unwrap();
        let to = envelope.destination.parse().unwrap();
        String::from_utf8(message(brief, envelope, &from, &to).unwrap().formatted()).unwrap()
    }
}
