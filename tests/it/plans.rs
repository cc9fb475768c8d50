//! The plans of the hot queries, as PostgreSQL has carried them out: none reads a large table from end to end.
//!
//! The statements are those that the server itself sends, at the values of real requests, on enough rows that a plan with an
//! index is cheaper. Each is sent often enough on one connection that PostgreSQL may take to a plan for any value.

use std::str::FromStr as _;

use chrono::TimeDelta;
use chrono_tz::Tz;
use goto_automation::model::{ApiKey, CallBounds, Days, clock};
use goto_automation::pipeline::kpi::Roller;
use goto_automation::store::changes::{self, Place};
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool};

use crate::support::{Database, FrontDoor, SECRET, body};

/// After five plans for the values PostgreSQL compares them with one for any value.
const TIMES: usize = 7;
/// The tables that grow with the calls.
const LARGE: &str =
    "'calls', 'call_topics', 'call_texts', 'call_summaries', 'action_items', 'recordings', 'deliveries', 'jobs',
    'jobs_history', 'job_attempts', 'job_attempts_history', 'changes', 'kpis', 'webhook_events'";
/// A call of the world below.
const ONE: &str = "00000000-0000-0000-0000-0000000004d2";

/// 20,000 calls of the last weeks, one each 2 minutes, with all that hangs on them; written as the triggers would do it. Texts
/// are as long as those of a short call.
const WORLD: &str = "
    SET session_replication_role = replica;
    INSERT INTO calls (id, source, external_id, state, direction, caller_name, caller_number, called_number, started_at,
        ended_at, duration_seconds, recording, sentiment, urgency, topics, open_actions)
    SELECT lpad(to_hex(i), 32, '0')::uuid, 'signed', 'n' || i,
        CASE i % 50 WHEN 0 THEN 'failed' WHEN 1 THEN 'waiting' ELSE 'completed' END,
        CASE WHEN i % 400 = 3 THEN 'unknown' WHEN i % 3 = 0 THEN 'outbound' ELSE 'inbound' END,
        'Caller', '+1555' || i % 997 || '0001', '+15550199' || i % 499, now() - i * interval '2 minutes', now() - i * interval '2 minutes',
        i % 600, 'available', (ARRAY['positive', 'neutral', 'negative', 'mixed'])[1 + i % 4], 1 + i % 5,
        ARRAY['topic' || i % 300], (i % 40 = 7)::int
    FROM generate_series(1, 20000) i;
    INSERT INTO call_topics SELECT t.* FROM calls c CROSS JOIN LATERAL topics_of(c) t;
    INSERT INTO call_summaries (call_id, run, transcript, summary, statements, sentiment, urgency, topics)
    SELECT id, 1, '{\"language\":\"en\",\"timing\":\"estimated\",\"segments\":[{\"speaker\":\"agent\",\"start_ms\":0,\"end_ms\":100,\"text\":\"a refund\"}]}',
        'A refund for ' || external_id || '.', '[]', sentiment, urgency, topics FROM calls;
    INSERT INTO call_texts (call_id, occurred_at, words)
    SELECT id, occurred_at, setweight(to_tsvector('english', 'A refund for ' || external_id || '.'), 'B')
        || array_to_tsvector(moments_of(occurred_at) || facts_of(calls) || repeat('x', 2000)) FROM calls;
    INSERT INTO action_items (id, call_id, run, position, text, owner, due_at, state, evidence, supported, created_at)
    SELECT id, id, 1, 0, 'Write', 'Owner ' || right(external_id, 2), started_at + interval '20 days', CASE open_actions WHEN 0 THEN 'done' ELSE 'open' END, '{0}', true, started_at
    FROM calls;
    INSERT INTO recordings (id, call_id, path, sha256, bytes, media_type) SELECT id, id, 'a.wav', 'a', 1, 'audio/wav' FROM calls;
    INSERT INTO deliveries (id, call_id, channel, destination, round, state) SELECT id, id, 'slack', '#calls', 1, 'sent' FROM calls;
    INSERT INTO webhook_events (id, source, body, verdict, call_id) SELECT id, 'signed', '{}', 'accepted', id FROM calls;
    INSERT INTO jobs (step, call_id, state, finished_at) SELECT 'notify', id, 'completed', now() FROM calls;
    INSERT INTO jobs_history (id, step, call_id, run, state, priority, critical, run_at, starts, attempts, crashes, waits, created_at, handed_on)
    SELECT id + 1000000, 'analyze', call_id, 1, 'completed', 0, true, now(), 1, 1, 0, 0, now(), true FROM jobs;
    INSERT INTO job_attempts (job_id, attempt, call_id, step, worker, token, started_at, ended_at, outcome, cost_micro_units)
    SELECT id, 1, call_id, step, 'w', 1, now(), now(), 'completed', 1 FROM jobs;
    INSERT INTO job_attempts_history SELECT * FROM job_attempts;
    INSERT INTO changes (kind, call_ids, states) SELECT 'call', ARRAY[id], ARRAY[state] FROM calls;
    INSERT INTO kpis (time_zone, day, stale_since) SELECT 'Zone/' || z, current_date - d, NULL FROM generate_series(1, 30) z, generate_series(0, 400) d;
    INSERT INTO audit_log (actor, action, object, affected, result) SELECT 'test', 'test', 'call ' || id, 1, 'done' FROM calls;
    UPDATE search_settings SET stale_after = NULL;
    RESET session_replication_role;
";

/// The server on a world of some size, with one connection to its database.
struct Watched {
    door: FrontDoor,
    database: Database,
    key: ApiKey,
    /// Opens only some calls.
    bound: ApiKey,
}

impl Watched {
    async fn open() -> Self {
        let database = Database::fresh().await;
        // On a connection that ends, because it tells its own reading only then.
        let mut connection = PgConnection::connect(database.url()).await.unwrap();
        for statements in [WORLD, "VACUUM (ANALYZE)"] {
            sqlx::raw_sql(statements).execute(&mut connection).await.unwrap();
        }
        connection.close().await.unwrap();
        let door = FrontDoor::on(one_connection(&database), &[SECRET]).await;
        let scopes = ["calls:read", "transcripts:read", "recordings:read", "jobs:operate"];
        let key = door.key(&scopes).await;
        let bounds = CallBounds { number_prefix: Some("+15557".to_owned()), ..CallBounds::default() };
        let bound = door.bound_key(&scopes, &bounds).await;
        Self { door, database, key, bound }
    }

    /// Which large tables have been read from end to end so far, and how often. A connection has told all that it did when
    /// it is gone, so this asks on one that has done nothing else.
    async fn scans(&self) -> Vec<(String, i64)> {
        let mut connection = PgConnection::connect(self.database.url()).await.unwrap();
        let others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
        while sqlx::query_scalar::<_, i64>(others).fetch_one(&mut connection).await.unwrap() > 0 {
            tokio::task::yield_now().await;
        }
        let scans =
            format!("SELECT relname::text, seq_scan FROM pg_stat_user_tables WHERE relname IN ({LARGE}) ORDER BY 1");
        sqlx::query_as(sqlx::AssertSqlSafe(scans)).fetch_all(&mut connection).await.unwrap()
    }

    async fn ask_all(&self, key: &ApiKey, paths: &[&str]) {
        for path in paths {
            self.ask(key, path).await;
        }
    }

    /// Asks often; where the answer is a page, for the next ones, too.
    async fn ask(&self, key: &ApiKey, path: &str) {
        for _ in 0..TIMES {
            let response = self.door.get(path).bearer_auth(key.expose()).send().await.unwrap();
            let status = response.status().as_u16();
            let text = response.text().await.unwrap();
            assert_eq!(status, 200, "{path}: {text}");
            let Some((_, rest)) = text.rsplit_once("\"next_cursor\":\"") else { continue };
            let (cursor, _) = rest.split_once('"').unwrap();
            let next = format!("{path}{}cursor={cursor}", if path.contains('?') { '&' } else { '?' });
            let status = self.door.get(&next).bearer_auth(key.expose()).send().await.unwrap().status();
            assert_eq!(status.as_u16(), 200, "{next}");
        }
    }

    /// Asks all of these; if any table was read from end to end, names the questions.
    async fn expect_no_scan(&self, key: &ApiKey, paths: &[&str]) {
        let before = self.scans().await;
        self.ask_all(key, paths).await;
        if self.scans().await == before {
            return;
        }
        let mut guilty = Vec::new();
        for path in paths {
            let before = self.scans().await;
            self.ask(key, path).await;
            let after = self.scans().await;
            let tables: Vec<&str> =
                after.iter().zip(&before).filter(|(one, other)| one != other).map(|(one, _)| one.0.as_str()).collect();
            if !tables.is_empty() {
                guilty.push(format!("{path} reads {}", tables.join(", ")));
            }
        }
        panic!("from end to end:\n{}", guilty.join("\n"));
    }
}

fn one_connection(database: &Database) -> PgPool {
    let options = PgConnectOptions::from_str(database.url()).unwrap();
    PgPoolOptions::new().max_connections(1).connect_lazy_with(options)
}

/// Every filter of the list, alone and with others, in every order.
#[tokio::test]
async fn no_list_reads_a_table_from_end_to_end() {
    let watched = Watched::open().await;
    let month = (clock::now() - TimeDelta::days(7)).format("from=%Y-%m-%d").to_string();
    let between = format!("/api/calls/?{month}&sort=oldest");
    let mut paths = vec![between.as_str()];
    paths.extend([
        "/api/calls/",
        "/api/calls/?state=failed",
        "/api/calls/?state=completed",
        "/api/calls/?state=failed&direction=outbound",
        "/api/calls/?state=waiting&sort=longest",
        "/api/calls/?direction=unknown",
        "/api/calls/?direction=inbound",
        "/api/calls/?external_id=n77",
        "/api/calls/?caller=%2B1555123",
        "/api/calls/?caller=%2B1555&topic=topic7",
        "/api/calls/?called=%2B15550199123",
        "/api/calls/?sentiment=mixed",
        "/api/calls/?sentiment=mixed&urgency_at_least=5",
        "/api/calls/?urgency_at_least=5",
        "/api/calls/?urgency_at_least=2",
        "/api/calls/?topic=topic7",
        "/api/calls/?topic=topic7&sentiment=mixed",
        "/api/calls/?has_open_actions=true",
        "/api/calls/?has_open_actions=true&direction=inbound",
        "/api/calls/?missed=true",
        "/api/calls/?missed=false",
        "/api/calls/?sort=oldest",
        "/api/calls/?sort=longest",
        "/api/calls/?sort=most_urgent",
        "/api/calls.csv?topic=topic9",
    ]);
    watched.expect_no_scan(&watched.key, &paths).await;
    watched.expect_no_scan(&watched.bound, &["/api/calls/", "/api/calls/?q=refund", "/api/actions/"]).await;
}

#[tokio::test]
async fn no_search_reads_a_table_from_end_to_end() {
    let watched = Watched::open().await;
    let paths = [
        "/api/calls/?q=refund",
        "/api/calls/?q=refund&sort=newest",
        "/api/calls/?q=refund&sort=newest&sentiment=mixed",
        "/api/calls/?q=n77",
        "/api/calls/?q=n77%20refund",
        "/api/calls/?q=n77%20or%20n78&topic=topic7",
        "/api/calls/?q=nothing%20like%20it",
        "/api/calls.csv?q=n77",
    ];
    watched.expect_no_scan(&watched.key, &paths).await;
}

#[tokio::test]
async fn no_call_or_item_or_number_is_looked_for_from_end_to_end() {
    let watched = Watched::open().await;
    let call = format!("/api/calls/{ONE}");
    let of_call = format!("/api/actions/?call_id={ONE}");
    let parts = ["", "/transcript", "/transcript?format=srt", "/timeline", "/recording/link"]
        .map(|part| format!("{call}{part}"));
    let mut paths: Vec<&str> = parts.iter().map(String::as_str).collect();
    paths.extend([
        of_call.as_str(),
        "/api/actions/",
        "/api/actions/?state=open",
        "/api/actions/?owner=owner%2077",
        "/api/actions/?overdue=true",
        "/api/actions/?state=open&due_before=2020-01-01",
        "/api/actions.csv?owner=Owner%2078",
    ]);
    watched.expect_no_scan(&watched.key, &paths).await;
    Roller::new(watched.database.pool().clone(), Days(Tz::UTC)).bring_up_to_date().await.unwrap();
    let paths = ["/api/kpi/dashboard?period=30d", "/api/kpi/daily?days=7", "/api/kpi/weekly?weeks=4"];
    watched.expect_no_scan(&watched.key, &paths).await;
    // From the calls themselves.
    watched.expect_no_scan(&watched.bound, &paths[1..2]).await;
}

/// A webhook that comes twice, what follows the changes, and a plan of a re-run.
#[tokio::test]
async fn no_write_reads_a_table_from_end_to_end() {
    let watched = Watched::open().await;
    let roller = Roller::new(one_connection(&watched.database), Days(Tz::UTC));
    // The first look of all has to find every day that has a call.
    roller.bring_up_to_date().await.unwrap();
    sqlx::query("ANALYZE kpis").execute(watched.database.pool()).await.unwrap();
    let following = one_connection(&watched.database);
    let before = watched.scans().await;
    for number in 0..TIMES {
        for expected in ["accepted", "duplicate"] {
            let (status, answer) = watched.door.send(body(&format!("new-{number}"), None).to_string().as_bytes()).await;
            assert_eq!((status, answer["status"].as_str()), (202, Some(expected)), "{answer}");
        }
        roller.bring_up_to_date().await.unwrap();
        let place = Place { transaction: 0, id: 0 };
        let read = changes::after(&following, place, 0, &CallBounds::default(), 20).await.unwrap();
        assert!(!read.is_empty());
        let plan = watched.door.request(reqwest::Method::POST, &format!("/api/calls/{ONE}/rerun"));
        let plan = plan.bearer_auth(watched.key.expose()).json(&json!({"from": "notify", "dry_run": true}));
        assert_eq!(plan.send().await.unwrap().status().as_u16(), 200);
    }
    assert_eq!(watched.scans().await, before);
}
