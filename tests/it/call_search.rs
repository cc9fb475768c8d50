//! The search: which words and numbers lead to a call, for whom, and where in the call they stand.

use goto_automation::store::search;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::FrontDoor;

pub(crate) const ALL: &[&str] = &["calls:read", "transcripts:read"];

pub(crate) const CALLS: &str = r#"
    INSERT INTO calls (id, source, external_id, state, direction, caller_name, caller_number, called_number, started_at, recording)
    VALUES ('019b0000-0000-7000-8000-000000000001', 'signed', 'a', 'completed', 'inbound', 'Dana Example', '+15550100002',
            '+15550199999', '2026-01-01', 'available'),
           ('019b0000-0000-7000-8000-000000000002', 'signed', 'b', 'completed', 'inbound', 'Sam Sample', '+15550100003',
            '+15550199999', '2026-01-02', 'available'),
           ('019b0000-0000-7000-8000-000000000003', 'signed', 'c', 'processing', 'inbound', 'Nobody Heard', '+15550100004',
            NULL, '2026-01-03', 'none');
    INSERT INTO call_summaries (call_id, run, transcript, summary, statements, sentiment, urgency, topics)
    VALUES ('019b0000-0000-7000-8000-000000000001', 1, '{"language":"en","timing":"estimated","segments":[
                {"speaker":"agent","start_ms":0,"end_ms":4100,"text":"Hello, this is support."},
                {"speaker":"customer","start_ms":4200,"end_ms":5000,"text":"I want two refunds, please call 555-020-0777."}]}',
            'The customer asks for money.', '[]', 'neutral', 3, '{billing}'),
           ('019b0000-0000-7000-8000-000000000002', 1, '{"language":"en","timing":"estimated","segments":[
                {"speaker":"customer","start_ms":0,"end_ms":4100,"text":"My order is late."}]}',
            'A refund was promised for the late order.', '[]', 'negative', 4, '{delivery}');
"#;

pub(crate) async fn run(db: &PgPool, statement: &'static str) {
    sqlx::raw_sql(statement).execute(db).await.unwrap();
}

pub(crate) fn names(page: &Value) -> String {
    let items = page["items"].as_array().unwrap_or_else(|| panic!("no page: {page}"));
    items.iter().map(|item| item["external_id"].as_str().unwrap()).collect::<Vec<_>>().join("")
}

pub(crate) async fn found(door: &FrontDoor, scopes: &[&str], q: &str) -> String {
    let q: String = url::form_urlencoded::byte_serialize(q.as_bytes()).collect();
    names(&door.ask(&door.key(scopes).await, &format!("/api/calls/?sort=newest&q={q}")).await.1)
}

#[tokio::test]
async fn words_phrases_and_numbers_lead_to_calls() {
    let door = FrontDoor::open().await;
    run(door.pool(), CALLS).await;
    for (q, expected) in [
        ("refund", "ba"),
        ("REFUNDED", "ba"),
        ("refund -late", "a"),
        ("-late", "a"),
        ("-late -billing", ""),
        ("refund late", "b"),
        ("late or support", "ba"),
        ("\"two refunds\"", "a"),
        ("\"refunds two\"", ""),
        ("dana", "a"),
        ("dana refunds", "a"),
        ("billing", "a"),
        ("+1 (555) 010-0002", "a"),
        ("5550100003", "b"),
        ("0555 010 0003", "b"),
        ("001-555-010-0003", "b"),
        ("555 020 0777", "a"),
        ("5550200777 refund", "a"),
        ("5550100002 or 5550100003", "ba"),
        ("late or 5550100002", "ba"),
        ("5550100099 or dana", "a"),
        ("5550100002 5550100003", ""),
        ("5550100002 5550199999", "a"),
        ("5550100099", ""),
        ("'; DROP TABLE calls; --", ""),
        ("nothing of the kind", ""),
        ("it's \"unclosed", ""),
    ] {
        assert_eq!(found(&door, ALL, q).await, expected, "{q}");
    }
}

#[tokio::test]
async fn what_was_said_is_for_those_who_may_read_it() {
    let door = FrontDoor::open().await;
    run(door.pool(), CALLS).await;
    assert_eq!(found(&door, &["calls:read"], "refund").await, "b", "the summary alone");
    assert_eq!(found(&door, &["calls:read"], "5550200777").await, "");
    assert_eq!(found(&door, &["calls:read"], "5550100002").await, "a");
    let (_, page) = door.ask(&door.key(&["calls:read"]).await, "/api/calls/?q=order").await;
    assert_eq!(page["items"][0]["matches"].as_array().unwrap().len(), 1);
    assert_eq!(page["items"][0]["matches"][0]["part"], "summary");
}

/// Nobody without `transcripts:read` finds out whether something was said: not from what is left out, not from the order.
#[tokio::test]
async fn neither_what_is_missing_nor_the_order_tells_what_was_said() {
    let door = FrontDoor::open().await;
    run(door.pool(), CALLS).await;
    run(
        door.pool(),
        "INSERT INTO calls (id, source, external_id, state, direction, started_at, recording)
           VALUES ('019b0000-0000-7000-8000-000000000005', 'signed', 'e', 'completed', 'inbound', '2026-01-05', 'available'),
                  ('019b0000-0000-7000-8000-000000000004', 'signed', 'd', 'completed', 'inbound', '2026-01-04', 'available');
           INSERT INTO call_summaries (call_id, run, transcript, summary, statements, sentiment, urgency, topics)
           SELECT id, 1, jsonb_build_object('language', 'en', 'timing', 'estimated', 'segments', jsonb_build_array(
               jsonb_build_object('speaker', 'agent', 'start_ms', 0, 'end_ms', 9, 'text',
                   CASE external_id WHEN 'd' THEN 'Parcel, parcel, parcel.' ELSE 'A long story, and a lawyer knows it.' END))),
               'A parcel.', '[]', 'neutral', 3, '{}' FROM calls WHERE external_id IN ('d', 'e')",
    )
    .await;
    let without = &["calls:read"];
    for (q, expected, with) in [
        ("parcel", "ed", "ed"),
        ("parcel -lawyer", "ed", "d"),
        ("money -support", "a", ""),
        ("lawyer or money", "a", "ea"),
        ("\"lawyer knows\"", "", "e"),
    ] {
        assert_eq!(found(&door, without, q).await, expected, "{q}");
        assert_eq!(found(&door, ALL, q).await, with, "{q}");
    }
    let by_relevance = async |scopes| names(&door.ask(&door.key(scopes).await, "/api/calls/?q=parcel").await.1);
    assert_eq!(by_relevance(ALL).await, "de", "the one in which it was said so often comes first");
    assert_eq!(by_relevance(without).await, "ed", "for who must not know that, the newest of equals does");
}

#[tokio::test]
async fn numbers_with_blanks_between_them_are_found_each_and_together() {
    let door = FrontDoor::open().await;
    run(door.pool(), CALLS).await;
    run(
        door.pool(),
        "UPDATE call_summaries SET summary = 'They called 5550100777 100 times, and 555010088 55501009999 once.'
         WHERE topics = '{delivery}'",
    )
    .await;
    for (q, expected) in [
        ("5550100777", "b"),
        ("5550100777 100", "b"),
        ("555010088", "b"),
        ("55501009999", "b"),
        ("555010088 55501009999", "b"),
        ("55501009999 5550100777", "b"),
        ("5550100777 55501000000", ""),
    ] {
        assert_eq!(found(&door, ALL, q).await, expected, "{q}");
    }
    let (_, page) = door.ask(&door.key(ALL).await, "/api/calls/?q=5550100777").await;
    let hit = page["items"][0]["matches"][0]["text"].as_array().unwrap().iter().find(|piece| piece["hit"] == true);
    assert_eq!(hit.unwrap()["text"], "5550100777");
}

/// In one statement, as the queue ends and rescues jobs.
#[tokio::test]
async fn what_is_too_long_for_the_index_ends_like_every_other_call() {
    let door = FrontDoor::open().await;
    run(door.pool(), CALLS).await;
    run(
        door.pool(),
        "INSERT INTO calls (id, source, external_id, direction, caller_name, caller_number, started_at, recording)
         SELECT '019b0000-0000-7000-8000-000000000004', 'signed', 'd', 'inbound', string_agg(i || 'x', ' ' ORDER BY i),
             repeat('5550100002', 300), '2026-01-04', 'none' FROM generate_series(1, 200000) i;
         INSERT INTO calls (id, source, external_id, direction, caller_name, caller_number, started_at, recording)
         VALUES ('019b0000-0000-7000-8000-000000000005', 'signed', 'e', 'inbound', 'Talkative Example', '5550100005',
             '2026-01-05', 'available');
         INSERT INTO call_summaries (call_id, run, transcript)
         SELECT '019b0000-0000-7000-8000-000000000005', 1,
             jsonb_build_object('language', 'en', 'timing', 'estimated', 'segments', jsonb_build_array(jsonb_build_object(
                 'speaker', 'agent', 'start_ms', 0, 'end_ms', 9, 'text',
                 string_agg(chr(19968 + i % 300) || chr(20500 + i / 300) || chr(21000) || chr(21001), ' '))))
         FROM generate_series(1, 100000) i;
         UPDATE calls SET state = 'no_recording' WHERE external_id IN ('c', 'd', 'e')",
    )
    .await;
    assert_eq!(found(&door, ALL, "nobody heard").await, "c");
    assert_eq!(found(&door, ALL, "3x 7x").await, "d");
    assert_eq!(found(&door, ALL, "talkative").await, "e");
    assert_eq!(found(&door, ALL, "5550100005").await, "e");
}

#[tokio::test]
async fn what_is_deleted_is_found_and_counted_no_more() {
    let door = FrontDoor::open().await;
    run(door.pool(), CALLS).await;
    run(
        door.pool(),
        "INSERT INTO kpis (time_zone, day, stale_since) VALUES ('UTC', '2026-01-02', NULL), ('UTC', '2026-01-09', NULL);
         DELETE FROM changes; DELETE FROM call_summaries WHERE topics = '{delivery}'",
    )
    .await;
    assert_eq!(found(&door, ALL, "refund").await, "a");
    assert_eq!(found(&door, ALL, "sam").await, "b");
    let (_, page) = door.ask(&door.key(ALL).await, "/api/calls/?sentiment=negative").await;
    assert_eq!(names(&page), "");
    let noted = "SELECT count(*) FROM changes WHERE '019b0000-0000-7000-8000-000000000002' = ANY (call_ids)";
    assert!(door.count(noted).await > 0);

    run(door.pool(), "DELETE FROM calls WHERE external_id = 'b'").await;
    assert_eq!(found(&door, ALL, "sam").await, "");
    assert_eq!(door.count("SELECT count(*) FROM kpis WHERE stale_since IS NOT NULL AND day = '2026-01-02'").await, 1);
    assert_eq!(door.count("SELECT count(*) FROM kpis WHERE stale_since IS NOT NULL").await, 1);
}

#[tokio::test]
async fn matches_say_where_they_are() {
    let door = FrontDoor::open().await;
    run(door.pool(), CALLS).await;
    let key = door.key(ALL).await;
    let (_, page) = door.ask(&key, "/api/calls/?q=refund%20555%20020%200777").await;
    assert_eq!((names(&page).as_str(), &page["ranked"]), ("a", &json!({"calls": 1, "is_all": true})));
    assert_eq!(
        page["items"][0]["matches"],
        json!([{"part": "transcript", "segment": 1, "start_ms": 4200, "text": [
            {"text": "I want two ", "hit": false}, {"text": "refunds", "hit": true}, {"text": ", please call ", "hit": false},
            {"text": "555-020-0777", "hit": true}, {"text": ".", "hit": false}]}])
    );
    let written = door.count("SELECT affected FROM audit_log WHERE action = 'transcripts.search'").await;
    assert_eq!(written, 1, "some of what was said was shown");
    let (_, page) = door.ask(&key, "/api/calls/?q=refund").await;
    assert_eq!(names(&page), "ba", "the one whose summary has the word comes first");
    let (_, page) = door.ask(&key, "/api/calls/").await;
    assert_eq!(page["items"][0]["matches"], json!([]));
}

#[tokio::test]
async fn a_call_without_words_is_found_by_its_names_when_it_has_ended() {
    let door = FrontDoor::open().await;
    run(door.pool(), CALLS).await;
    assert_eq!(found(&door, ALL, "nobody").await, "");
    run(door.pool(), "UPDATE calls SET state = 'no_recording' WHERE external_id = 'c'").await;
    assert_eq!(found(&door, ALL, "nobody heard").await, "c");
    assert_eq!(found(&door, ALL, "5550100004").await, "c");
}

#[tokio::test]
async fn another_language_reads_everything_again() {
    let door = FrontDoor::open().await;
    run(door.pool(), CALLS).await;
    run(door.pool(), "UPDATE call_summaries SET summary = 'Zwei Häuser wurden verkauft.' WHERE topics = '{delivery}'")
        .await;
    while search::refresh(door.pool(), 2).await.unwrap() {}
    assert_eq!(found(&door, ALL, "haus").await, "");
    search::speak(door.pool(), "german").await.unwrap();
    while search::refresh(door.pool(), 2).await.unwrap() {}
    assert_eq!(found(&door, ALL, "haus").await, "b");
    search::speak(door.pool(), "german").await.unwrap();
    assert!(!search::refresh(door.pool(), 2).await.unwrap(), "there is nothing left to do");
}

/// More calls than the first stretch of time has, over years: each way back in time leads to all of them, once.
#[tokio::test]
async fn common_words_are_found_page_by_page_through_all_time() {
    let door = FrontDoor::open().await;
    run(
        door.pool(),
        "INSERT INTO calls (id, source, external_id, state, direction, recording, started_at)
         SELECT gen_random_uuid(), 'signed', 'n' || i, 'completed', CASE i % 2 WHEN 0 THEN 'inbound' ELSE 'outbound' END,
             'none',
             -- Dense at first, then some a day, then some a year, and one before there were computers.
             CASE WHEN i <= 5000 THEN timestamptz '2026-02-01' - i * interval '3 seconds'
                  WHEN i <= 9000 THEN timestamptz '2026-01-31' - (i - 5000) * interval '2 hours'
                  WHEN i < 9100 THEN timestamptz '2024-01-31' - (i - 9000) * interval '60 days'
                  ELSE '1950-01-01' END
         FROM generate_series(1, 9100) i;
         INSERT INTO call_texts (call_id, occurred_at, words)
         SELECT id, occurred_at, to_tsvector('english', 'hello ' || external_id)
             || array_to_tsvector(moments_of(occurred_at) || facts_of(calls)) FROM calls;
         ANALYZE",
    )
    .await;
    let key = door.key(ALL).await;
    for (query, count) in
        [("q=hello", 9_100), ("q=hello&direction=inbound", 4_550), ("q=n9100", 1), ("q=-n9100", 9_099)]
    {
        let (mut seen, mut path) = (Vec::new(), format!("/api/calls/?sort=newest&limit=200&{query}"));
        loop {
            let (status, page) = door.ask(&key, &path).await;
            assert_eq!(status, 200, "{page}");
            let items = page["items"].as_array().unwrap();
            seen.extend(items.iter().map(|item| item["started_at"].as_str().unwrap().to_owned()));
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            path = format!("/api/calls/?sort=newest&limit=200&{query}&cursor={cursor}");
        }
        assert_eq!(seen.len(), count, "{query}");
        assert!(seen.is_sorted_by(|newer, older| newer >= older), "{query}");
    }
    // The best of the newest thousand, and new calls do not shift them.
    let (_, page) = door.ask(&key, "/api/calls/?limit=200&q=hello").await;
    assert_eq!(page["ranked"], json!({"calls": 1000, "is_all": false}));
    let mut path = "/api/calls/?limit=200&q=hello".to_owned();
    let mut seen = std::collections::HashSet::new();
    let mut all = 0;
    loop {
        let (_, page) = door.ask(&key, &path).await;
        let items = page["items"].as_array().unwrap();
        all += items.len();
        seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        run(
            door.pool(),
            "WITH new AS (INSERT INTO calls (id, source, external_id, direction, recording, started_at)
                          VALUES (gen_random_uuid(), 'signed', gen_random_uuid(), 'inbound', 'none', now())
                          RETURNING id, occurred_at)
             INSERT INTO call_texts
             SELECT id, occurred_at, to_tsvector('english', 'hello') || array_to_tsvector(moments_of(occurred_at)) FROM new",
        )
        .await;
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/calls/?limit=200&q=hello&cursor={cursor}");
    }
    assert_eq!((all, seen.len()), (1000, 1000));
}
