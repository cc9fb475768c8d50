//! The list of calls: what filters choose, in which order, on which page, and what that costs at many calls.

use std::collections::HashSet;

use goto_automation::model::ApiKey;
use rstest::rstest;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};

use crate::support::FrontDoor;

const READ: &[&str] = &["calls:read"];

/// Five calls, `a` the oldest.
const CALLS: &str = "
    INSERT INTO calls (id, source, external_id, state, direction, caller_number, called_number, started_at,
        duration_seconds, recording)
    VALUES (gen_random_uuid(), 'signed', 'a', 'completed', 'inbound', '+15550100001', '+15550199999', '2026-01-01', 60, 'available'),
           (gen_random_uuid(), 'signed', 'b', 'failed', 'outbound', '0049 (0)40 5550', '+4930901820', '2026-01-02', 600, 'pending'),
           (gen_random_uuid(), 'signed', 'c', 'no_recording', 'inbound', '(555) 010-0001', '+15550199999', '2026-01-03', 0, 'none'),
           (gen_random_uuid(), 'signed', 'd', 'completed', 'unknown', NULL, NULL, '2026-01-04', NULL, 'available'),
           (gen_random_uuid(), 'native', 'e', 'completed', 'inbound', '+15550100002', '+15550199999', '2026-01-05', 30, 'available');
    INSERT INTO call_summaries (call_id, run, summary, statements, sentiment, urgency, topics)
    SELECT id, 1, 'Old.', '[]'::jsonb, 'mixed', 5, '{old}'::text[] FROM calls WHERE external_id = 'a' UNION ALL
    SELECT id, 2, 'New.', '[]', 'negative', 2, '{billing,refund}' FROM calls WHERE external_id = 'a' UNION ALL
    SELECT id, 1, 'Question.', '[]', 'neutral', 5, '{billing}' FROM calls WHERE external_id = 'e';
    INSERT INTO action_items (id, call_id, run, position, text, evidence, supported, state)
    SELECT gen_random_uuid(), id, 1, 0, 'Call back', '{}'::int[], true, 'open' FROM calls WHERE external_id = 'e' UNION ALL
    SELECT gen_random_uuid(), id, 2, 0, 'Done', '{}', true, 'done' FROM calls WHERE external_id = 'a';
";

async fn run(db: &PgPool, statements: &str) {
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(db).await.unwrap();
}

/// The senders' ids of a page, in its order.
fn names(page: &Value) -> String {
    let items = page["items"].as_array().unwrap_or_else(|| panic!("no page: {page}"));
    items.iter().map(|item| item["external_id"].as_str().unwrap()).collect::<Vec<_>>().join("")
}

#[rstest]
#[case("", "edcba")]
#[case("direction=inbound", "eca")]
#[case("direction=unknown", "d")]
#[case("state=no_recording", "c")]
#[case("state=completed&direction=inbound", "ea")]
#[case("external_id=b", "b")]
#[case("caller=%2B1555010", "ea")]
#[case("caller=001-555-010-0002", "e")]
#[case("called=%2B49%2030", "b")]
#[case("caller=%2B49%2040", "b")]
#[case("caller=0049%20(0)40%205550", "b")]
#[case("caller=4940", "b")]
#[case("caller=00494", "b")]
#[case("sentiment=negative", "a")]
#[case("sentiment=mixed", "")]
#[case("urgency_at_least=2", "ea")]
#[case("urgency_at_least=4", "e")]
#[case("topic=Billing", "ea")]
#[case("topic=old", "")]
#[case("has_open_actions=true", "e")]
#[case("has_open_actions=false", "dcba")]
#[case("missed=true", "c")]
#[case("missed=false", "edba")]
#[case("from=2026-01-02&to=2026-01-04", "cb")]
#[case("sort=oldest", "abcde")]
#[case("sort=longest", "baecd")]
#[case("sort=most_urgent", "eadcb")]
#[case("sort=most_urgent&state=completed", "ead")]
#[case("sort=newest&topic=billing&urgency_at_least=3", "e")]
#[tokio::test]
async fn filters_choose_and_orders_order(#[case] query: &str, #[case] expected: &str) {
    let door = FrontDoor::open().await;
    run(door.pool(), CALLS).await;
    let key = door.key(READ).await;
    let (status, page) = door.ask(&key, &format!("/api/calls/?{query}")).await;
    assert_eq!((status, names(&page)), (200, expected.to_owned()));
    assert_eq!(page["ranked"], Value::Null);
    let mut path = format!("/api/calls/?{query}&limit=1");
    let mut seen = String::new();
    loop {
        let (_, page) = door.ask(&key, &path).await;
        seen += &names(&page);
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/calls/?{query}&limit=1&cursor={cursor}");
    }
    assert_eq!(seen, expected, "page by page");
}

#[rstest]
#[case("caller=anonymous", "bad_parameter", "telephone number")]
#[case("urgency_at_least=6", "bad_parameter", "at most 5")]
#[case("has_open_actions=maybe", "bad_parameter", "expected `true` or `false`")]
#[case("limit=10000000000000000000", "bad_parameter", "expected a smaller whole number")]
#[case("sort=random", "bad_parameter", "`most_urgent`")]
#[case("sort=relevance", "bad_parameter", "`q`")]
#[case("q=refund&sort=longest", "bad_parameter", "`relevance` or `newest`")]
#[case("q=%20", "bad_parameter", "words to look for")]
#[case("q=the%20and", "bad_parameter", "more than words that are in every text")]
#[case("topics=x", "unknown_parameter", "`topic`")]
#[tokio::test]
async fn what_cannot_be_meant_is_refused(#[case] query: &str, #[case] code: &str, #[case] hint: &str) {
    let door = FrontDoor::open().await;
    let (status, problem) = door.ask(&door.key(READ).await, &format!("/api/calls/?{query}")).await;
    assert_eq!((status, problem["code"].as_str()), (400, Some(code)), "{problem}");
    assert!(problem.to_string().contains(hint), "{problem}");
}

/// Makes `count` calls of the days before 2026-02-01, each with a number, and gives some of them facts.
async fn make_calls(db: &PgPool, count: i64) {
    let statements = format!(
        "INSERT INTO calls (id, source, external_id, state, direction, caller_number, called_number, started_at,
             duration_seconds, recording, sentiment, urgency, topics, open_actions)
         SELECT gen_random_uuid(), 'signed', 'n' || i, CASE i % 50 WHEN 0 THEN 'failed' ELSE 'completed' END,
             CASE i % 3 WHEN 0 THEN 'outbound' ELSE 'inbound' END, '+1555' || (i % 997) || '0001', '+15550199999',
             timestamptz '2026-02-01' - i * interval '5 minutes', i % 600, 'none',
             (ARRAY['positive', 'neutral', 'negative', 'mixed'])[1 + i % 4], 1 + i % 5, ARRAY['topic' || i % 40], i % 20 / 19
         FROM generate_series(1, {count}) i;
         ANALYZE calls"
    );
    run(db, &statements).await;
}

/// Calls that come in while somebody reads change nothing of what was there when the first page was read.
#[rstest]
#[case("newest", 7)]
#[case("oldest", 11)]
#[case("longest", 13)]
#[case("most_urgent", 10)]
#[tokio::test]
async fn pages_show_each_call_once_while_others_come_in(#[case] sort: &str, #[case] limit: usize) {
    let door = FrontDoor::open().await;
    make_calls(door.pool(), 100).await;
    let key = door.key(READ).await;
    let (mut seen, mut path, mut pages) = (Vec::new(), format!("/api/calls/?sort={sort}&limit={limit}"), 0);
    loop {
        let (status, page) = door.ask(&key, &path).await;
        assert_eq!(status, 200, "{page}");
        seen.extend(
            page["items"].as_array().unwrap().iter().map(|item| item["external_id"].as_str().unwrap().to_owned()),
        );
        pages += 1;
        // Anywhere in the order, with equal places among them.
        let statement = format!(
            "INSERT INTO calls (id, source, external_id, direction, recording, started_at, duration_seconds, urgency)
             SELECT gen_random_uuid(), 'signed', 'late-{pages}-' || i, 'inbound', 'none',
                 timestamptz '2026-02-01' - i * interval '5 minutes', i % 600, 1 + i % 5 FROM generate_series(1, 100, 9) i"
        );
        run(door.pool(), &statement).await;
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/calls/?sort={sort}&limit={limit}&cursor={cursor}");
    }
    let (late, old): (Vec<String>, Vec<String>) = seen.into_iter().partition(|name| name.starts_with("late"));
    assert_eq!(old.len(), 100, "each once");
    assert_eq!(old.iter().collect::<HashSet<_>>().len(), 100);
    assert_eq!(late.iter().collect::<HashSet<_>>().len(), late.len(), "of the others none twice");
}

#[tokio::test]
async fn a_bound_key_sees_its_calls_only() {
    let door = FrontDoor::open().await;
    run(door.pool(), CALLS).await;
    let (_, all) = door.ask(&door.key(READ).await, "/api/calls/").await;
    let id_of = |name: &str| {
        let items = all["items"].as_array().unwrap();
        let item = items.iter().find(|item| item["external_id"] == name).unwrap();
        item["id"].as_str().unwrap().to_owned()
    };
    for (bound, seen) in [
        ("only_direction = 'inbound'", "eca"),
        ("only_number = '+1555010'", "ea"),
        ("only_number = '+4930'", "b"),
        ("only_from = '2026-01-03', only_to = '2026-01-05'", "dc"),
    ] {
        let key = door.key(&["calls:read", "transcripts:read"]).await;
        run(door.pool(), &format!("UPDATE api_keys SET {bound} WHERE prefix = '{}'", key.prefix())).await;
        assert_eq!(names(&door.ask(&key, "/api/calls/").await.1), seen, "{bound}");
        assert_eq!(
            names(&door.ask(&key, "/api/calls/?q=old%20or%20new%20or%20question").await.1).len(),
            seen.matches(['a', 'e']).count(),
            "{bound}"
        );
        for name in ["a", "b", "c", "d", "e"] {
            for part in ["", "/transcript", "/timeline"] {
                let (_, answer) = door.ask(&key, &format!("/api/calls/{}{part}", id_of(name))).await;
                assert_eq!(answer["code"] != "call_not_found", seen.contains(name), "{bound} {name}{part}");
            }
        }
    }
}

#[tokio::test]
async fn facts_follow_the_latest_analysis_and_its_items() {
    let door = FrontDoor::open().await;
    run(door.pool(), CALLS).await;
    let key = door.key(READ).await;
    let open = async || names(&door.ask(&key, "/api/calls/?has_open_actions=true").await.1);
    assert_eq!(open().await, "e");
    run(door.pool(), "UPDATE action_items SET state = 'done'").await;
    assert_eq!(open().await, "");
    run(door.pool(), "UPDATE action_items SET state = 'open'").await;
    assert_eq!(open().await, "ea");
    run(
        door.pool(),
        "INSERT INTO call_summaries (call_id, run, summary, statements, sentiment, urgency, topics)
         SELECT id, 3, 'Newer.', '[]', 'positive', 1, '{}' FROM calls WHERE external_id = 'a'",
    )
    .await;
    assert_eq!(names(&door.ask(&key, "/api/calls/?sentiment=positive").await.1), "a");
    assert_eq!(names(&door.ask(&key, "/api/calls/?topic=refund").await.1), "");
}

/// Two people finish two items of one call at the same moment: both have seen the other one open.
#[tokio::test]
async fn two_at_once_leave_no_item_open() {
    let door = FrontDoor::open().await;
    run(door.pool(), CALLS).await;
    run(
        door.pool(),
        "INSERT INTO action_items (id, call_id, run, position, text, evidence, supported)
         SELECT gen_random_uuid(), id, 1, 1, 'Write', '{}', true FROM calls WHERE external_id = 'e'",
    )
    .await;
    let (mut first, mut second) = (door.pool().begin().await.unwrap(), door.pool().begin().await.unwrap());
    for (transaction, position) in [(&mut first, 0), (&mut second, 1)] {
        sqlx::query("UPDATE action_items SET state = 'done' WHERE run = 1 AND position = $1")
            .bind(position)
            .execute(&mut **transaction)
            .await
            .unwrap();
    }
    let (first, second) = tokio::join!(first.commit(), second.commit());
    first.and(second).unwrap();
    assert_eq!(door.count("SELECT sum(open_actions) FROM calls").await, 0);
}

#[tokio::test]
async fn a_list_is_a_file_too() {
    let door = FrontDoor::open().await;
    run(door.pool(), CALLS).await;
    run(door.pool(), "UPDATE calls SET caller_name = '=cmd|x', state_reason = E'two\\nlines' WHERE external_id = 'a'")
        .await;
    let key = door.key(READ).await;
    let text = file(&door, &key, "").await;
    let mut lines = text.split("\r\n");
    assert!(lines.next().unwrap().starts_with("id,external_id,state,"));
    assert_eq!(text.matches("\r\n").count(), 6);
    assert!(text.contains(",'=cmd|x,'+15550100001,") && text.contains(",\"two\nlines\","), "{text}");
    assert!(text.contains(",negative,2,billing; refund,New.,0,USD\r\n"), "{text}");
    assert!(file(&door, &key, "?bom=true&state=failed").await.starts_with('\u{feff}'));
    assert_eq!(file(&door, &key, "?state=failed").await.matches("\r\n").count(), 2);
    assert_eq!(file(&door, &key, "?q=new").await.matches("\r\n").count(), 2);
    let written = sqlx::query_as::<_, (String, i64)>(
        "SELECT object, affected FROM audit_log WHERE action = 'calls.export' ORDER BY id",
    );
    let written = written.fetch_all(door.pool()).await.unwrap();
    let expected = [("all calls", 5), ("calls by state", 1), ("calls by state", 1), ("calls by q", 1)];
    assert_eq!(written, expected.map(|(object, count)| (object.to_owned(), count)));

    make_calls(door.pool(), 2_500).await;
    let (text, (_, page)) =
        (file(&door, &key, "?sort=longest").await, door.ask(&key, "/api/calls/?sort=longest").await);
    let ids: Vec<&str> = text.split("\r\n").skip(1).filter_map(|line| line.split(',').next()).collect();
    assert_eq!(ids.iter().filter(|id| id.len() == 36).collect::<HashSet<_>>().len(), 2_505, "more than one page");
    assert_eq!(json!(ids[0]), page["items"][0]["id"]);
}

async fn file(door: &FrontDoor, key: &ApiKey, query: &str) -> String {
    let response = door.get(&format!("/api/calls.csv{query}")).bearer_auth(key.expose()).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/csv"));
    String::from_utf8(response.bytes().await.unwrap().to_vec()).unwrap()
}
