//! Briefs that the tests of all channels render.

use chrono_tz::Tz;

use crate::model::{
    ActionItem, Analysis, CallBrief, CallId, DeliveryId, Direction, Envelope, Party, Sentiment, Statement,
};

/// A friendly call, all known.
pub fn friendly() -> CallBrief {
    CallBrief {
        call_id: "01970000-0000-7000-8000-000000000001".parse::<CallId>().unwrap(),
        external_id: "call-0001".to_owned(),
        direction: Direction::Inbound,
        caller: party("Ines Calloway", "+15550100142"),
        called: party("Billing support", "+15550100001"),
        started_at: Some("2026-11-17T07:21:10Z".parse().unwrap()),
        duration_seconds: Some(248),
        analysis: Some(Analysis {
            statements: vec![
                statement("Ines asked for a copy of the November invoice & got it.", true),
                statement("She is happy with the new delivery times.", true),
            ],
            sentiment: Sentiment::Positive,
            urgency: 2,
            topics: vec!["invoice".to_owned()],
            action_items: vec![action_item("Send the invoice as a PDF.", Some("Dana"), None, None)],
        }),
        link: "https://calls.example.com/calls/01970000-0000-7000-8000-000000000001".parse().unwrap(),
        time_zone: Tz::Europe__Berlin,
    }
}

/// An upset caller, promises with and without owners, and claims that nothing supports.
pub fn urgent() -> CallBrief {
    let mut brief = friendly();
    let analysis = Analysis {
        statements: vec![
            statement("The $35 fee has been credited.", false),
            statement("Ines Calloway was charged twice, $286 each time, for invoice 20418 on 12 November.", true),
            statement("It overdrew her account, and her bank charged her $35.", true),
            statement("After six years as a customer she will leave if it happens again.", true),
        ],
        sentiment: Sentiment::Negative,
        urgency: 4,
        topics: vec!["billing".to_owned(), "refund".to_owned()],
        action_items: vec![
            action_item(
                "Refund the second charge of $286, invoice 20418",
                Some("Dana"),
                Some("2026-11-17T16:00:00Z"),
                None,
            ),
            action_item("Call Ines back: where does the refund stand?", None, Some("2026-11-18T11:00:00Z"), None),
            action_item("Decide on crediting the $35 bank fee", Some("Priya"), None, Some("before payroll")),
            ActionItem {
                supported: false,
                ..action_item("Find out why the payment page sent the charge twice", Some("Marcus"), None, None)
            },
        ],
    };
    brief.analysis = Some(analysis);
    brief
}

/// A missed call: no recording, no names.
pub fn no_recording() -> CallBrief {
    let mut brief = friendly();
    brief.caller.name = None;
    brief.called = Party::default();
    brief.duration_seconds = Some(0);
    brief.analysis = None;
    brief
}

/// A caller who tries everything.
pub fn hostile() -> CallBrief {
    let mut brief = urgent();
    let long = format!("Pay at https://evil.example/pay <{}>", "&lots of text ".repeat(1_430));
    brief.caller = party("<!channel> *x* \u{202e}evil\u{0}", "<tel:+1|x>");
    brief.external_id = "<@U1> \r\nBcc: x@example.com".to_owned();
    brief.analysis = Some(Analysis {
        statements: vec![
            statement("<script>alert(1)</script> see www.evil.example\u{7}", true),
            statement(&long, false),
        ],
        action_items: (0..60).map(|_| action_item(&long, Some("<!here>"), None, Some("<http://x|now>"))).collect(),
        ..brief.analysis.unwrap()
    });
    brief
}

/// An envelope to `destination`.
pub fn envelope(destination: &str) -> Envelope {
    Envelope {
        delivery_id: "01970000-0000-7000-8000-0000000000d1".parse::<DeliveryId>().unwrap(),
        destination: destination.to_owned(),
        possible_repeat: false,
        message_id: "01970000.1.abcdef@calls.example.com".to_owned(),
        date: "2026-11-17T07:25:08Z".parse().unwrap(),
    }
}

/// The same after a lost answer.
pub fn repeated(destination: &str) -> Envelope {
    Envelope { possible_repeat: true, ..envelope(destination) }
}

fn party(name: &str, number: &str) -> Party {
    Party { name: Some(name.to_owned()), number: Some(number.to_owned()) }
}

fn statement(text: &str, supported: bool) -> Statement {
    Statement { text: text.to_owned(), evidence: Vec::new(), supported }
}

fn action_item(text: &str, owner: Option<&str>, due_at: Option<&str>, due_words: Option<&str>) -> ActionItem {
    ActionItem {
        text: text.to_owned(),
        owner: owner.map(str::to_owned),
        due_words: due_words.map(str::to_owned),
        due_at: due_at.map(|at| at.parse().unwrap()),
        evidence: Vec::new(),
        supported: true,
    }
}
