//! What lists are filtered by, as words of the index: the same as the list says, and nothing that somebody can forge.

use goto_automation::model::{CallBounds, Direction};
use serde_json::json;

use crate::call_search::{ALL, CALLS, found, names, run};
use crate::support::FrontDoor;

/// In the index of words a fact, such as `~direction/outbound`, decides who sees a call.
#[tokio::test]
async fn no_text_passes_for_a_fact() {
    let door = FrontDoor::open().await;
    run(door.pool(), CALLS).await;
    let forged = "~direction/outbound~urgency/5~open~caller/4999 a refund";
    let transcript = json!({"language": "en", "timing": "estimated", "segments": [
        {"speaker": "customer", "start_ms": 0, "end_ms": 100, "text": forged}]});
    sqlx::query("UPDATE calls SET caller_name = $1").bind(forged).execute(door.pool()).await.unwrap();
    sqlx::query("UPDATE call_summaries SET summary = $1, transcript = $2, topics = ARRAY[$1]")
        .bind(forged)
        .bind(&transcript)
        .execute(door.pool())
        .await
        .unwrap();
    run(door.pool(), "UPDATE calls SET state = 'no_recording' WHERE external_id = 'c'").await;
    let key = door.key(ALL).await;
    assert_eq!(names(&door.ask(&key, "/api/calls/?q=refund&sort=newest").await.1), "cba");
    for filter in ["direction=outbound", "urgency_at_least=5", "has_open_actions=true", "caller=4999"] {
        assert_eq!(names(&door.ask(&key, &format!("/api/calls/?q=refund&{filter}")).await.1), "", "{filter}");
    }
    let bounds = CallBounds { direction: Some(Direction::Outbound), ..CallBounds::default() };
    let bound = door.bound_key(ALL, &bounds).await;
    assert_eq!(names(&door.ask(&bound, "/api/calls/?q=refund").await.1), "");
    // Nor are facts words that somebody could look for.
    assert_eq!(found(&door, ALL, "~direction/inbound").await, "");
}

const FILTERS: &[&str] = &[
    "state=completed",
    "state=no_recording",
    "direction=inbound",
    "from=2026-01-02",
    "to=2026-01-02",
    "caller=%2B1555",
    "caller=15550100",
    "caller=155501000",
    "caller=15550100002",
    "called=%2B49",
    "sentiment=negative",
    "sentiment=positive",
    "urgency_at_least=1",
    "urgency_at_least=4",
    "topic=billing",
    "topic=it's%20late%5C",
    "has_open_actions=true",
    "has_open_actions=false",
    "missed=true",
    "missed=false",
    "direction=inbound&sentiment=neutral&has_open_actions=true",
];

/// The index of words has its own copy of what lists are filtered by. Whatever happens to calls, both say the same.
#[tokio::test]
async fn words_with_a_filter_lead_to_what_the_filter_lists() {
    let door = FrontDoor::open().await;
    run(door.pool(), CALLS).await;
    let key = door.key(ALL).await;
    let changes = [
        // Every call has the word, from here on.
        "UPDATE calls SET caller_name = 'Common', duration_seconds = 0, called_number = '+49 30 901820'
             WHERE external_id = 'a';
         UPDATE calls SET caller_name = 'Common';
         UPDATE call_summaries SET summary = summary;
         UPDATE calls SET state = 'no_recording' WHERE external_id = 'c'",
        "INSERT INTO action_items (id, call_id, run, position, text, evidence, supported)
         SELECT gen_random_uuid(), id, 1, 0, 'Call back', '{}', true FROM calls WHERE external_id IN ('a', 'b')",
        "UPDATE action_items SET state = 'done' WHERE call_id = (SELECT id FROM calls WHERE external_id = 'a')",
        "UPDATE action_items SET state = 'open'",
        // Another analysis, with an action item of its own in the same transaction.
        r"INSERT INTO call_summaries (call_id, run, summary, statements, sentiment, urgency, topics)
          SELECT id, 2, 'Common.', '[]', 'positive', 5, ARRAY['billing', 'it''s late\'] FROM calls WHERE external_id = 'b';
          UPDATE action_items SET current = false",
        "UPDATE call_summaries SET sentiment = 'negative', urgency = 1 WHERE run = 2",
        "DELETE FROM call_summaries WHERE run = 2",
        // A recording comes after all, and is lost again.
        "UPDATE calls SET state = 'processing', recording = 'pending' WHERE external_id = 'c'",
        "INSERT INTO call_summaries (call_id, run, summary, statements, sentiment, urgency, topics)
         SELECT id, 2, 'Common.', '[]', 'neutral', 2, '{}' FROM calls WHERE external_id = 'c';
         UPDATE calls SET state = 'completed' WHERE external_id = 'c'",
        "UPDATE calls SET state = 'no_recording' WHERE external_id IN ('b', 'c')",
        "DELETE FROM call_summaries",
    ];
    for change in changes {
        run(door.pool(), change).await;
        for filter in FILTERS {
            let listed = names(&door.ask(&key, &format!("/api/calls/?{filter}")).await.1);
            for sort in ["newest", "relevance"] {
                let (_, page) = door.ask(&key, &format!("/api/calls/?q=common&sort={sort}&{filter}")).await;
                let mut found: Vec<char> = names(&page).chars().collect();
                found.sort_by(|one, other| other.cmp(one));
                assert_eq!(found.iter().collect::<String>(), listed, "{filter}, {sort}, after {change}");
            }
        }
    }
}
