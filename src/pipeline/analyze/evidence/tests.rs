//! True claims pass, planted false ones do not: on the calls of the fixtures, and on what they might have been.

use rstest::rstest;
use serde_json::Value;

use super::*;
use crate::model::{Segment, Speaker, Timing, Transcript};

/// A fixture as the witness, and its analysis. The call was on Thursday, 2027-01-07.
fn fixture(name: &str) -> (Said, Value) {
    let read = |path: String| -> Value {
        let path = format!("{}/fixtures/{path}", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let call = read(format!("calls/{name}.json"));
    let segments = call["segments"].as_array().unwrap().iter().map(|turn| Segment {
        speaker: turn["channel"].as_str().unwrap().parse().unwrap(),
        start_ms: 0,
        end_ms: 1,
        text: turn["text"].as_str().unwrap().to_owned(),
    });
    (witness(segments.collect(), None), call["analysis"].clone())
}

fn witness(segments: Vec<Segment>, language: Option<&str>) -> Said {
    let transcript =
        Transcript { language: language.map(str::to_owned), timing: Timing::Estimated, segments, ends_early: None };
    Said::new(&transcript, "2027-01-07T10:00:00Z".parse().unwrap(), chrono_tz::UTC)
}

fn numbers_of(value: &Value) -> Vec<i32> {
    value.as_array().unwrap().iter().map(|n| n.as_i64().unwrap() as i32).collect()
}

#[rstest]
#[case("double-charge")]
#[case("delivery-late")]
#[case("appointment")]
#[case("monologue")]
#[case("mono")]
fn everything_that_a_good_model_says_is_supported(#[case] name: &str) {
    let (said, analysis) = fixture(name);
    for claim in analysis["statements"].as_array().unwrap().iter().chain(analysis["action_items"].as_array().unwrap()) {
        let (text, evidence) = (claim["text"].as_str().unwrap(), numbers_of(&claim["evidence"]));
        assert!(supports(&said, text, &evidence), "{text}");
        if let Some(owner) = claim["owner"].as_str() {
            assert!(names_owner(&said, owner, &evidence), "{owner}: {text}");
        }
        if let Some(due) = claim["due_words"].as_str() {
            assert!(says(&said, due, &evidence), "{due}: {text}");
        }
    }
}

#[rstest]
#[case("double-charge", "A caller was billed two times for the invoice of October.", &[1])]
#[case("double-charge", "The customer reported a double charge on October invoice number 4417.", &[1])]
#[case("double-charge", "Dana apologized for the second charge.", &[0, 2])]
#[case("double-charge", "Dana will refund the charge today.", &[2])]
#[case("double-charge", "She says the money is back in 3 to 5 business days.", &[3, 4])]
#[case("double-charge", "The customer will get an e-mail confirmation.", &[4])]
#[case("double-charge", "The agent said: “I will refund it today.”", &[2])]
#[case("double-charge", "The customer said 'the number is 4417'.", &[1])]
#[case("double-charge", "Email the customer a confirmation of the refund", &[3, 4])]
#[case("delivery-late", "Peter Hall is upset that his desks did not arrive last Thursday.", &[1])]
#[case("delivery-late", "The customer's desks were delivered to the wrong warehouse by truck.", &[2])]
#[case("delivery-late", "Maria apologised: the truck went to the wrong warehouse.", &[2])]
#[case("delivery-late", "Maria will call Peter Hall back by tomorrow noon.", &[4])]
#[case("delivery-late", "Maria will call him back by Friday noon.", &[4])]
#[case("delivery-late", "Maria will call him back by noon on January 8, 2027.", &[4])]
#[case("appointment", "Mark Bell wanted to reschedule his appointment on Friday.", &[1])]
#[case("appointment", "The new appointment is next Tuesday at 10:00.", &[2, 4])]
#[case("appointment", "Susan will text him today.", &[4])]
#[case("appointment", "Susan will send Mark a text message today.", &[4])]
#[case("appointment", "Mark found Susan very helpful.", &[5])]
#[case("monologue", "Printers lose the network after the first label and work for 10 minutes after a restart.", &[0])]
#[case("monologue", "The one printer with the old driver runs without any fault.", &[0])]
#[case("monologue", "A new driver will be sent by 2027-03-15.", &[1])]
#[case("monologue", "A new driver will be sent by 15 March.", &[1])]
#[case("monologue", "Laura promised a corrected driver by Monday, March 15, 2027.", &[0, 1])]
fn other_words_for_the_same_are_supported(#[case] name: &str, #[case] claim: &str, #[case] evidence: &[i32]) {
    assert!(supports(&fixture(name).0, claim, evidence), "{claim}");
}

#[rstest]
// Wrong names.
#[case("double-charge", "Karen promised to refund the second charge today.", &[0, 2])]
#[case("double-charge", "Dana Miller promised to refund the second charge today.", &[0, 2])]
#[case("double-charge", "The customer, Anna Schmidt, was charged twice.", &[1])]
#[case("delivery-late", "Peter Hill called because his desks are late.", &[1])]
#[case("delivery-late", "Paul Hall called because his desks are late.", &[1])]
#[case("delivery-late", "Peter Hall promised to call back by tomorrow noon.", &[4])]
#[case("delivery-late", "Mary promised to call him back by tomorrow noon.", &[0, 4])]
#[case("appointment", "Mark Bell will send a text message today.", &[4])]
#[case("appointment", "Karen moved it to next Tuesday at ten.", &[0, 2, 4])]
#[case("monologue", "Tom from the warehouse in Denver reported that the label printers stop working.", &[0])]
#[case("monologue", "Karen from the warehouse reported that the label printers stop working.", &[0])]
#[case("monologue", "Send Karen a corrected driver for the label printers", &[0, 1])]
// Wrong numbers and amounts.
#[case("double-charge", "Invoice number 4471 was charged twice.", &[1])]
#[case("double-charge", "Invoice number 417 was charged twice.", &[1])]
#[case("double-charge", "The October invoice was charged three times.", &[1])]
#[case("double-charge", "The October invoice of $200 was charged twice.", &[1])]
#[case("double-charge", "The refund takes five to seven business days.", &[3, 4])]
#[case("double-charge", "The refund takes 3 to 5 weeks.", &[3, 4])]
#[case("double-charge", "The refund takes ten business days.", &[3, 4])]
#[case("appointment", "The new appointment is next Tuesday at eleven.", &[2, 4])]
#[case("appointment", "The new appointment is next Tuesday at 10:30.", &[2, 4])]
#[case("monologue", "Switching it off and on helps for twenty minutes.", &[0])]
#[case("monologue", "Switching it off and on helps for ten hours.", &[0])]
// Wrong dates and days.
#[case("double-charge", "The customer was charged twice for the November invoice.", &[1])]
#[case("double-charge", "Dana promised to refund it tomorrow.", &[0, 2])]
#[case("delivery-late", "His desks were promised for last Tuesday.", &[1])]
#[case("delivery-late", "His desks are promised for next Thursday.", &[1])]
#[case("delivery-late", "His office opens on Monday.", &[3])]
#[case("delivery-late", "Maria promised to call him back by today noon.", &[4])]
#[case("delivery-late", "Maria will call him back by noon on January 9, 2027.", &[4])]
#[case("appointment", "Susan moved it to next Wednesday at ten.", &[0, 2, 4])]
#[case("monologue", "Laura will send a corrected driver by March 16, 2027.", &[0, 1])]
#[case("monologue", "Laura will send a corrected driver by May 15, 2027.", &[0, 1])]
#[case("monologue", "Laura will send a corrected driver by 2028-03-15.", &[0, 1])]
#[case("monologue", "The printers stop working since the update on Sunday.", &[0])]
// Invented quotes.
#[case("double-charge", "Dana said: \"I will refund it twice.\"", &[2])]
#[case("double-charge", "The customer said “I want the second charge back now”.", &[1])]
#[case("delivery-late", "He said 'no desks, no money'.", &[3])]
#[case("delivery-late", "Er sagte „This is a scandal“.", &[1])]
#[case("appointment", "Mark said «You are never helpful».", &[5])]
// Evidence that says something else.
#[case("double-charge", "Dana promised to refund the charge.", &[5])]
#[case("double-charge", "The refund takes three to five business days.", &[3])]
#[case("double-charge", "A confirmation will follow by email.", &[2])]
#[case("double-charge", "The customer was happy with the delivery of the new furniture.", &[1])]
#[case("delivery-late", "The truck went to the wrong warehouse.", &[4])]
#[case("delivery-late", "Maria promised a discount on the desks.", &[2, 4])]
#[case("delivery-late", "Peter Hall cancelled the desks.", &[1])]
#[case("appointment", "Susan cancelled the appointment next Tuesday at ten.", &[0, 2])]
#[case("appointment", "The customer will not bring the insurance card.", &[4])]
#[case("monologue", "The computers next to the printer have a virus infection and need cleaning.", &[1])]
#[case("monologue", "A colleague bought new printers from another manufacturer yesterday.", &[0])]
#[case("monologue", "Laura will send a technician to replace hardware.", &[1])]
// No evidence.
#[case("double-charge", "The October invoice was charged twice.", &[])]
#[case("double-charge", "The October invoice was charged twice.", &[77])]
fn planted_claims_are_marked(#[case] name: &str, #[case] claim: &str, #[case] evidence: &[i32]) {
    assert!(!supports(&fixture(name).0, claim, evidence), "{claim}");
}

#[rstest]
#[case("double-charge", "Karen", &[1, 2], false)]
#[case("double-charge", "Dana", &[2], true)]
#[case("double-charge", "the customer", &[1], true)]
#[case("delivery-late", "Peter Hall", &[2], false)]
#[case("double-charge", "the shipping partner", &[2], false)]
#[case("delivery-late", "the warehouse", &[4], true)]
#[case("delivery-late", "Support team", &[4], true)]
#[case("delivery-late", "Maria", &[4], true)]
#[case("appointment", "Mark Bell", &[5], true)]
#[case("appointment", "Mark Smith", &[5], false)]
fn owners_are_people_of_the_call(
    #[case] name: &str,
    #[case] owner: &str,
    #[case] evidence: &[i32],
    #[case] expected: bool,
) {
    assert_eq!(names_owner(&fixture(name).0, owner, evidence), expected, "{owner}");
}

#[rstest]
#[case("delivery-late", "tomorrow noon", &[4], true)]
#[case("delivery-late", "by Friday noon", &[4], false)]
#[case("monologue", "by March 15, 2027", &[1], true)]
#[case("monologue", "by March 15, 2027", &[0], false)]
#[case("monologue", "", &[0], false)]
fn due_words_were_said(#[case] name: &str, #[case] due: &str, #[case] evidence: &[i32], #[case] expected: bool) {
    assert_eq!(says(&fixture(name).0, due, evidence), expected, "{due}");
}

#[test]
fn german_is_read_without_crying_wolf() {
    let turn = |speaker, text: &str| Segment { speaker, start_ms: 0, end_ms: 1, text: text.to_owned() };
    let turns = vec![
        turn(Speaker::Agent, "Guten Tag, mein Name ist Petra Vogt. Was kann ich für Sie tun?"),
        turn(Speaker::Customer, "Hier ist Jens Ohlsen. Ich habe die Rechnung vier vier eins sieben doppelt bezahlt."),
        turn(Speaker::Agent, "Das tut mir leid. Ich überweise Ihnen die zweihundertfünfzig Euro bis Freitag zurück."),
    ];
    let said = witness(turns, None);
    assert_eq!(said.language, Language::German);
    for (claim, evidence, expected) in [
        ("Jens Ohlsen hat die Rechnung 4417 versehentlich zweimal beglichen.", vec![1], true),
        ("Der Kunde möchte eine Rückerstattung der Doppelzahlung.", vec![1], true),
        ("Frau Vogt erstattet den Betrag von 250 € bis Freitag.", vec![2], true),
        ("Petra Vogt hat eine Überweisung von 250 Euro zugesagt.", vec![2], true),
        ("Frau Meyer erstattet den Betrag von 250 € bis Freitag.", vec![2], false),
        ("Frau Vogt erstattet den Betrag von 350 € bis Freitag.", vec![2], false),
        ("Frau Vogt erstattet den Betrag von 250 € bis Montag.", vec![2], false),
        ("Der Kunde sagte: „Ich bin sehr zufrieden.“", vec![1], false),
        ("Der Kunde nannte die Rechnung 4471.", vec![1], false),
    ] {
        assert_eq!(supports(&said, claim, &evidence), expected, "{claim}");
    }
}

#[test]
fn other_languages_keep_numbers_quotes_and_names() {
    let turn = |text: &str| Segment { speaker: Speaker::Customer, start_ms: 0, end_ms: 1, text: text.to_owned() };
    let said = witness(vec![turn("Bonjour, je suis Luc Moreau, ma facture 4417 est fausse.")], Some("fr"));
    for (claim, expected) in [
        ("Le client Luc Moreau conteste la facture 4417.", true),
        ("Le client Luc Dupont conteste la facture 4417.", false),
        ("Le client conteste la facture 4418.", false),
        ("Le client a dit « je suis content ».", false),
        ("Le client signale une erreur.", true),
    ] {
        assert_eq!(supports(&said, claim, &[0]), expected, "{claim}");
    }
}

#[test]
fn a_not_may_neither_come_nor_go() {
    let turn = |text: &str| Segment { speaker: Speaker::Agent, start_ms: 0, end_ms: 1, text: text.to_owned() };
    let turns = vec![
        turn("Unfortunately we cannot refund the delivery fee."),
        turn("I will refund the delivery fee today."),
        turn("The parcel has not been delivered yet."),
    ];
    let said = witness(turns, Some("en"));
    for (claim, evidence, expected) in [
        ("The delivery fee cannot be refunded.", 0, true),
        ("The agent agreed to refund the delivery fee.", 0, false),
        ("The agent will not refund the delivery fee today.", 1, false),
        ("The parcel has not arrived.", 2, true),
        ("The parcel was delivered.", 2, false),
        ("The parcel is late.", 2, true),
    ] {
        assert_eq!(supports(&said, claim, &[evidence]), expected, "{claim}");
    }
}
