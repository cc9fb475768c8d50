//! Action items: found, edited, done, exported, and never overwritten.

use goto_automation::model::{Analysis, ApiKey, CallBounds, CallId, Direction, Fence, JobId, Sentiment};
use goto_automation::pipeline::rerun::rerun;
use goto_automation::store::actions;
use goto_automation::store::summaries::{self, MadeWith};
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{Answer, FrontDoor, Product, SECRET, ScriptedUpstream, answer, read};

const READ: &str = "calls:read";
const WRITE: &str = "actions:write";
const FIRST: &str = "/api/actions/019b0000-0000-7000-8000-00000000000a";

/// Two calls, one of them outbound, with five action items, one of which a later run has replaced.
const ITEMS: &str = r#"
    INSERT INTO calls (id, source, external_id, direction, caller_name, caller_number, started_at, recording)
    VALUES ('019b0000-0000-7000-8000-000000000001', 'signed', 'call-0001', 'inbound', '=Example', '+15550100002',
            '2026-01-05T10:00:00Z', 'none'),
           ('019b0000-0000-7000-8000-000000000002', 'signed', 'call-0002', 'outbound', NULL, '+15550100003',
            '2026-01-06T10:00:00Z', 'none');
    INSERT INTO action_items (id, call_id, run, position, text, owner, due_words, due_at, state, evidence, supported,
        created_at, current)
    VALUES ('019b0000-0000-7000-8000-00000000000a', '019b0000-0000-7000-8000-000000000001', 1, 0, 'Refund it', 'Dana',
            'by noon', '2026-01-06T12:00:00Z', 'open', '{0,1}', true, '2026-01-05T10:05:00Z', true),
           ('019b0000-0000-7000-8000-00000000000b', '019b0000-0000-7000-8000-000000000001', 1, 1, 'Say "sorry", twice',
            'dana', NULL, NULL, 'open', '{}', false, '2026-01-05T10:05:01Z', true),
           ('019b0000-0000-7000-8000-00000000000c', '019b0000-0000-7000-8000-000000000002', 1, 0, 'Call back', NULL,
            NULL, '2999-01-01T00:00:00Z', 'open', '{2}', true, '2026-01-06T10:05:00Z', true),
           ('019b0000-0000-7000-8000-00000000000d', '019b0000-0000-7000-8000-000000000002', 1, 1, 'Send a mail', 'Maria',
            NULL, '2026-01-07T00:00:00Z', 'done', '{3}', true, '2026-01-06T10:05:01Z', true),
           ('019b0000-0000-7000-8000-00000000000e', '019b0000-0000-7000-8000-000000000002', 2, 0, 'Old', 'Dana', NULL,
            '2026-01-07T00:00:00Z', 'open', '{3}', true, '2026-01-06T10:05:02Z', false);
"#;

async fn opened() -> (FrontDoor, ApiKey) {
    let door = FrontDoor::open().await;
    sqlx::raw_sql(ITEMS).execute(door.pool()).await.unwrap();
    let key = door.key(&[READ, WRITE]).await;
    (door, key)
}

/// The last letters of the ids, in the order of the list.
async fn found(door: &FrontDoor, key: &ApiKey, query: &str) -> String {
    let items = door.all(key, &format!("/api/actions/{query}")).await;
    items.iter().filter_map(|item| item["id"].as_str()?.chars().last()).collect()
}

#[rstest]
#[case("", "dcba")]
#[case("?state=open", "cba")]
#[case("?state=done", "d")]
#[case("?owner=DANA", "ba")]
#[case("?owner=nobody", "")]
#[case("?due_before=2026-01-07T00:00:01Z", "da")]
#[case("?overdue=true", "a")]
#[case("?overdue=false", "dcb")]
#[case("?call_id=019b0000-0000-7000-8000-000000000001", "ba")]
#[case("?from=2026-01-06", "dc")]
#[case("?to=2026-01-06&state=open&owner=dana", "ba")]
#[tokio::test]
async fn filters_choose(#[case] query: &str, #[case] expected: &str) {
    let (door, key) = opened().await;
    assert_eq!(found(&door, &key, query).await, expected);
}

#[tokio::test]
async fn an_item_has_everything() {
    let (door, key) = opened().await;
    let expected = json!({
        "id": "019b0000-0000-7000-8000-00000000000a", "call_id": "019b0000-0000-7000-8000-000000000001",
        "text": "Refund it", "owner": "Dana", "due_at": "2026-01-06T12:00:00Z", "due_words": "by noon",
        "state": "open", "overdue": true, "evidence": [0, 1], "supported": true, "version": 1,
        "created_at": "2026-01-05T10:05:00Z", "edited_at": null, "completed_at": null,
    });
    let response = door.request(Method::GET, FIRST).bearer_auth(key.expose()).send().await.unwrap();
    assert_eq!(response.headers()["etag"], "\"1-overdue\"");
    assert_eq!(read(response).await, (200, expected.clone()));
    let (_, list) = door.ask(&key, "/api/actions/?limit=1&owner=dana").await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    let path = format!("/api/actions/?limit=1&owner=dana&cursor={}", list["next_cursor"].as_str().unwrap());
    assert_eq!(door.ask(&key, &path).await, (200, json!({"items": [expected], "next_cursor": null})));
    let other = path.replace("owner=dana", "owner=maria");
    assert_eq!(door.ask(&key, &other).await.1["code"], "bad_cursor");
}

async fn edit(door: &FrontDoor, key: &ApiKey, version: &str, body: Value) -> (u16, Value) {
    answer(door.request(Method::PATCH, FIRST).bearer_auth(key.expose()).header("If-Match", version).json(&body)).await
}

async fn audit(db: &PgPool) -> Vec<(String, String, String)> {
    sqlx::query_as("SELECT action, object, result FROM audit_log ORDER BY id").fetch_all(db).await.unwrap()
}

#[tokio::test]
async fn of_two_edits_of_one_version_the_second_is_refused() {
    let (door, key) = opened().await;
    let (status, item) = edit(&door, &key, "\"1\"", json!({"text": "Refund 20 USD", "owner": null})).await;
    assert_eq!((status, &item["text"], &item["owner"]), (200, &json!("Refund 20 USD"), &Value::Null), "{item}");
    assert_eq!((&item["version"], &item["due_words"]), (&json!(2), &json!("by noon")), "the rest stays");
    assert!(item["edited_at"].is_string());

    let (status, problem) = edit(&door, &key, "\"1\"", json!({"owner": "Maria"})).await;
    assert_eq!((status, problem["code"].as_str()), (412, Some("precondition_failed")));
    let without = door.request(Method::PATCH, FIRST).bearer_auth(key.expose()).json(&json!({"owner": "Maria"}));
    let (status, problem) = answer(without).await;
    assert_eq!((status, problem["code"].as_str()), (428, Some("precondition_required")));

    let (_, item) = edit(&door, &key, "\"2\"", json!({"due_at": "2026-02-01T09:00:00+01:00", "state": "done"})).await;
    assert_eq!((&item["due_at"], &item["due_words"]), (&json!("2026-02-01T08:00:00Z"), &Value::Null));
    assert_eq!((&item["state"], &item["overdue"]), (&json!("done"), &json!(false)));
    assert!(item["completed_at"].is_string());
    let (status, same) = edit(&door, &key, "\"3\"", json!({"state": "done"})).await;
    assert_eq!((status, same), (200, item), "nothing has changed, so the version has not either");

    let object = "action item 019b0000-0000-7000-8000-00000000000a";
    let row = |result: &str| ("actions.edit".to_owned(), object.to_owned(), result.to_owned());
    assert_eq!(audit(door.pool()).await, [row("done"), row("refused"), row("done"), row("unchanged")]);
}

#[rstest]
#[case(json!({"text": ""}), "text")]
#[case(json!({"text": "two\nlines"}), "text")]
#[case(json!({"text": "x".repeat(801)}), "text")]
#[case(json!({"text": null}), "text")]
#[case(json!({"owner": ["Dana"]}), "owner")]
#[case(json!({"due_at": "2026-02-30T00:00:00Z"}), "due_at")]
#[case(json!({"state": "finished"}), "state")]
#[case(json!({"urgency": 5}), "urgency")]
#[tokio::test]
async fn a_bad_edit_hears_which_field(#[case] body: Value, #[case] field: &str) {
    let (door, key) = opened().await;
    let (status, problem) = edit(&door, &key, "\"1\"", body).await;
    assert!(status == 400 || status == 422, "{problem}");
    assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    assert_eq!(door.ask(&key, FIRST).await.1["version"], 1);
}

#[tokio::test]
async fn done_is_done_once_and_can_be_undone() {
    let (door, key) = opened().await;
    let post = |act: &str| door.request(Method::POST, &format!("{FIRST}/{act}")).bearer_auth(key.expose());
    let (status, done) = answer(post("complete").header("Idempotency-Key", "one")).await;
    assert_eq!((status, &done["state"], &done["version"]), (200, &json!("done"), &json!(2)));
    assert_eq!(answer(post("complete")).await, (200, done.clone()), "it was so already");
    let (_, open) = answer(post("reopen")).await;
    assert_eq!((&open["state"], &open["completed_at"], &open["version"]), (&json!("open"), &Value::Null, &json!(3)));
    assert_eq!(answer(post("complete").header("Idempotency-Key", "one")).await, (200, done), "the answer of then");
    assert_eq!(door.ask(&key, FIRST).await.1["state"], "open", "and it did not act again");

    let again = post("complete").header("Idempotency-Key", "one").send().await.unwrap();
    let header = |name: &str| again.headers()[name].to_str().unwrap().to_owned();
    assert_eq!((header("etag").as_str(), header("idempotent-replayed").as_str()), ("\"2\"", "true"), "with its tag");

    let nowhere = "/api/actions/019b0000-0000-7000-8000-00000000000e/complete";
    let (status, problem) = answer(door.request(Method::POST, nowhere).bearer_auth(key.expose())).await;
    assert_eq!((status, problem["code"].as_str()), (404, Some("action_not_found")), "a version of the past");
    let acts: Vec<_> = audit(door.pool()).await.into_iter().map(|(act, _, result)| (act, result)).collect();
    let row = |act: &str, result: &str| (format!("actions.{act}"), result.to_owned());
    let expected =
        [row("complete", "done"), row("complete", "unchanged"), row("reopen", "done"), row("complete", "refused")];
    assert_eq!(acts, expected);
}

#[tokio::test]
async fn an_act_of_another_version_is_refused_where_one_is_named() {
    let (door, key) = opened().await;
    let post = |version: &str| {
        let request = door.request(Method::POST, &format!("{FIRST}/complete")).bearer_auth(key.expose());
        answer(request.header("If-Match", version))
    };
    for other in ["\"2\"", "W/\"1\"", "1"] {
        let (status, problem) = post(other).await;
        assert_eq!((status, problem["code"].as_str()), (412, Some("precondition_failed")), "{other}");
    }
    assert_eq!(door.ask(&key, FIRST).await.1["state"], "open");
    assert_eq!(post("\"1-overdue\"").await.1["version"], 2);
    assert_eq!(post("*").await.0, 200, "whatever it is");
}

/// Nobody has changed it, and it is another answer all the same.
#[tokio::test]
async fn an_item_whose_time_has_come_is_sent_again() {
    let (door, key) = opened().await;
    let get = |tag: &'static str| door.get(FIRST).bearer_auth(key.expose()).header("If-None-Match", tag).send();
    let before = get("\"1\"").await.unwrap();
    assert_eq!((before.status().as_u16(), read(before).await.1["overdue"].as_bool()), (200, Some(true)));
    assert_eq!(get("\"1-overdue\"").await.unwrap().status().as_u16(), 304);
    let (status, item) = edit(&door, &key, "\"1-overdue\"", json!({"due_at": "2999-01-01T00:00:00Z"})).await;
    assert_eq!((status, &item["overdue"]), (200, &json!(false)));
    assert_eq!(get("\"2\"").await.unwrap().status().as_u16(), 304);
}

#[tokio::test]
async fn a_bound_key_knows_nothing_of_other_calls() {
    let (door, _) = opened().await;
    let bounds = CallBounds { direction: Some(Direction::Outbound), ..CallBounds::default() };
    let key = door.bound_key(&[READ, WRITE], &bounds).await;
    assert_eq!(found(&door, &key, "").await, "dc");
    assert_eq!(door.ask(&key, FIRST).await.1["code"], "action_not_found");
    assert_eq!(edit(&door, &key, "\"1\"", json!({"state": "done"})).await.1["code"], "action_not_found");
    let reader = door.key(&[READ]).await;
    assert_eq!(edit(&door, &reader, "\"1\"", json!({"state": "done"})).await.0, 403);
    let all = door.key(&[READ]).await;
    assert_eq!(door.ask(&all, FIRST).await.1["state"], "open");
}

#[tokio::test]
async fn the_export_has_what_the_list_has_and_no_formulas() {
    let (door, key) = opened().await;
    let response = door.get("/api/actions.csv?owner=dana&bom=true").bearer_auth(key.expose()).send().await.unwrap();
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/csv; charset=utf-8"));
    assert_eq!(response.headers()["content-disposition"], "attachment; filename=\"actions.csv\"");
    let text = response.text().await.unwrap();
    let lines: Vec<&str> = text.split_terminator("\r\n").collect();
    assert!(lines[0].starts_with("\u{feff}id,call_id,call_started_at,caller_name"), "{text}");
    let expected = "019b0000-0000-7000-8000-00000000000a,019b0000-0000-7000-8000-000000000001,2026-01-05T10:00:00Z,\
                    '=Example,'+15550100002,Refund it,Dana,2026-01-06T12:00:00Z,by noon,open,true,true,\
                    2026-01-05T10:05:00Z,,";
    assert!(lines[1].contains(r#","Say ""sorry"", twice",dana,"#), "{text}");
    assert_eq!((lines[2], lines.len()), (expected, 3));
    let affected = door.count("SELECT affected FROM audit_log WHERE action = 'actions.export'").await;
    assert_eq!((affected, audit(door.pool()).await[0].1.as_str()), (2, "action items by owner"));
}

/// More than the export reads at a time.
#[tokio::test]
async fn a_long_export_has_each_item_once() {
    let (door, key) = opened().await;
    sqlx::raw_sql(
        "INSERT INTO action_items (id, call_id, run, position, text, evidence, supported, created_at)
         SELECT gen_random_uuid(), '019b0000-0000-7000-8000-000000000001', 3, i, 'Item ' || i, '{}', true,
             timestamptz '2026-01-01Z' + i / 7 * interval '1 s' FROM generate_series(1, 2996) i",
    )
    .execute(door.pool())
    .await
    .unwrap();
    let text = door.get("/api/actions.csv").bearer_auth(key.expose()).send().await.unwrap().text().await.unwrap();
    let mut ids: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), text.lines().count()), (3000, 3001));
}

/// A model's answer with these promises.
fn said(promises: &[&str]) -> Answer {
    let item = |text: &&str| json!({"text": text, "owner": "Dana", "due_words": null, "due_date": null, "evidence": [1, 2, 4]});
    let content = json!({
        "statements": [{"text": "Invoice 4417 was charged twice.", "evidence": [1]}], "sentiment": "neutral",
        "urgency": 3, "topics": ["billing"], "action_items": promises.iter().map(item).collect::<Vec<_>>(),
    });
    let message = json!({"role": "assistant", "content": content.to_string()});
    let choice = json!({"index": 0, "finish_reason": "stop", "message": message});
    let usage = json!({"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110});
    Answer::new(200, json!({"model": "scripted", "choices": [choice], "usage": usage}).to_string())
}

async fn items(door: &FrontDoor, key: &ApiKey, call: CallId) -> Vec<Value> {
    door.all(key, &format!("/api/actions/?call_id={call}")).await
}

fn by_text<'a>(items: &'a [Value], text: &str) -> &'a Value {
    items
        .iter()
        .find(|item| item["text"].as_str().unwrap().contains(text))
        .unwrap_or_else(|| panic!("{text}: {items:#?}"))
}

#[tokio::test]
async fn what_a_person_edited_is_never_overwritten_by_a_rerun() {
    let mut product = Product::at_rest(&[]).await;
    let model = ScriptedUpstream::before(&product.standins.openai_url).await;
    product.set(&[("ANALYSIS_BASE_URL", model.url.as_ref())]);
    let (refund, confirm) = ("Refund the second charge of invoice 4417", "Send the customer a confirmation by email");
    let again = ["Dana will refund the second charge of invoice 4417", confirm, "Ask accounting how that could happen"];
    model.answer_next([said(&[refund, confirm, "Drop the fee"]), said(&again)]);
    product.work();
    let call = product.ring("double-charge").await;
    product.until(call, "completed").await;

    let door = FrontDoor::on(product.pool().clone(), &[SECRET]).await;
    let key = door.key(&[READ, WRITE]).await;
    let before = items(&door, &key, call).await;
    assert_eq!(before.len(), 3);
    let path = format!("/api/actions/{}", by_text(&before, refund)["id"].as_str().unwrap());
    let change = json!({"text": "Refund 20 USD to Ms Doe", "owner": "Maria", "state": "done"});
    let (status, edited) =
        answer(door.request(Method::PATCH, &path).bearer_auth(key.expose()).header("If-Match", "\"1\"").json(&change))
            .await;
    assert_eq!(status, 200, "{edited}");

    rerun(product.pool(), &product.waker, call, "analyze", false).await.unwrap();
    product.until(call, "completed").await;
    product.drain().await;
    let after = items(&door, &key, call).await;
    assert_eq!(after.len(), 3, "{after:#?}");
    assert_eq!(by_text(&after, "Ms Doe"), &edited, "as the person left it, and not once more in the model's words");
    let (old, new) = (by_text(&before, confirm), by_text(&after, confirm));
    assert_eq!((&new["id"], &new["created_at"]), (&old["id"], &old["created_at"]), "the same promise, the same id");
    assert_eq!(new["version"], 2, "but a new version");
    by_text(&after, "accounting");

    // The call shows the same, and the earlier results are still there.
    let (_, shown) = door.ask(&key, &format!("/api/calls/{call}")).await;
    let texts: Vec<&Value> = shown["action_items"].as_array().unwrap().iter().map(|item| &item["text"]).collect();
    assert_eq!(texts.len(), 3);
    assert!(texts.contains(&&edited["text"]), "{texts:?}");
    let versions = product.count("SELECT count(*) FROM action_items WHERE run = 1 AND NOT current").await;
    assert_eq!(versions, 2, "those that nobody had edited, as versions of the past");
    let left_out = product.count("SELECT count(*) FROM action_items WHERE run = 2 AND NOT current").await;
    assert_eq!(left_out, 1, "what the run said of the one that was edited is kept as well");
}

/// Nobody changes an item while an analysis of its call is saved, nor the other way round: who comes later waits.
#[tokio::test]
async fn an_edit_and_an_analysis_of_one_call_wait_for_each_other() {
    let (door, key) = opened().await;
    sqlx::raw_sql(
        "INSERT INTO jobs (id, step, call_id, state, lease_token) OVERRIDING SYSTEM VALUE
         VALUES (7, 'analyze', '019b0000-0000-7000-8000-000000000001', 'running', 17)",
    )
    .execute(door.pool())
    .await
    .unwrap();
    let mut edit = door.pool().begin().await.unwrap();
    let id = FIRST.rsplit('/').next().unwrap().parse().unwrap();
    let mut item = actions::find(&mut edit, id, &CallBounds::default(), true).await.unwrap().unwrap();
    let db = door.pool().clone();
    let saving = tokio::spawn(async move {
        let call = "019b0000-0000-7000-8000-000000000001".parse().unwrap();
        let fence = Fence { job_id: JobId(7), token: 17 };
        let made_with = MadeWith { model: "scripted", prompt_version: "1", parts: None };
        let analysis = Analysis {
            statements: Vec::new(),
            sentiment: Sentiment::Neutral,
            urgency: 3,
            topics: Vec::new(),
            action_items: Vec::new(),
        };
        summaries::save_analysis(&db, fence, call, 2, &analysis, made_with).await
    });
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while door.count(waiting).await == 0 {
        tokio::task::yield_now().await;
    }
    item.state = "done".to_owned();
    actions::edit(&mut edit, &item).await.unwrap().unwrap();
    edit.commit().await.unwrap();
    saving.await.unwrap().unwrap();
    assert_eq!(found(&door, &key, "?call_id=019b0000-0000-7000-8000-000000000001").await, "a", "the edited one stays");
    assert_eq!(door.ask(&key, FIRST).await.1["state"], "done");
}
