//! Operators who act on many jobs, alone and at once.

use goto_automation::model::Actor;
use goto_automation::pipeline::operate;
use goto_automation::queue::{self, Act, Chosen, JobFilter, Touched};

use super::harness::TestQueue;

async fn choose(queue: &TestQueue, act: &Act, filter: JobFilter) -> Chosen {
    queue::choose(queue.pool(), act, &JobFilter { limit: 10_000, ..filter }).await.unwrap()
}

async fn act(queue: &TestQueue, act: &Act, chosen: &Chosen) -> Vec<Touched> {
    let actor = Actor::at_terminal("dana@desk");
    operate::act(queue.pool(), &queue.waker, &actor, act, chosen, "as the test says").await.unwrap()
}

fn of_step(step: &str) -> JobFilter {
    JobFilter { step: Some(step.to_owned()), ..JobFilter::default() }
}

/// So many jobs that have failed once and will do well now.
async fn failed(queue: &TestQueue, jobs: i32) {
    sqlx::query(
        "WITH made AS (
             INSERT INTO jobs (step, call_id, state, reason, starts, attempts, claimed_at, finished_at)
             SELECT 'effect', gen_random_uuid(), 'failed', 'It said no.', 1, 1, now(), now() FROM generate_series(1, $1)
             RETURNING *)
         INSERT INTO job_attempts (job_id, attempt, call_id, step, worker, token, started_at, ended_at, outcome, error_class)
         SELECT id, 1, call_id, step, 'desk', 1, claimed_at, finished_at, 'failed', 'timeout' FROM made",
    )
    .bind(jobs)
    .execute(queue.pool())
    .await
    .unwrap();
}

#[tokio::test]
async fn two_operators_who_retry_the_same_give_each_job_one_run() {
    let queue = TestQueue::new().await;
    failed(&queue, 250).await;
    let _workers = queue.work();
    for _ in 0..2 {
        let (first, second) = tokio::join!(
            choose(&queue, &Act::Retry, JobFilter::default()),
            choose(&queue, &Act::Retry, JobFilter::default())
        );
        tokio::join!(act(&queue, &Act::Retry, &first), act(&queue, &Act::Retry, &second));
    }
    queue.until("SELECT count(*) = 250 FROM jobs WHERE state = 'completed'").await;
    let (runs, jobs): (i64, i64) =
        sqlx::query_as("SELECT count(*), count(DISTINCT job_id) FROM effects WHERE what = 'start'")
            .fetch_one(queue.pool())
            .await
            .unwrap();
    assert_eq!((runs, jobs), (250, 250));
    let written: i64 = sqlx::query_scalar("SELECT sum(affected)::bigint FROM audit_log WHERE action = 'jobs.retry'")
        .fetch_one(queue.pool())
        .await
        .unwrap();
    assert_eq!(written, 250, "each job was made due by one of them");
}

#[tokio::test]
async fn a_job_that_has_run_since_it_was_chosen_is_left_alone() {
    let queue = TestQueue::new().await;
    let _workers = queue.work();
    let id = queue.enqueue("refuse").await;
    queue.until_state(id, "failed").await;
    let (first, second) = (
        choose(&queue, &Act::Retry, JobFilter::default()).await,
        choose(&queue, &Act::Retry, JobFilter::default()).await,
    );
    assert_eq!(act(&queue, &Act::Retry, &first).await.len(), 1);
    queue.until("SELECT starts = 2 AND state = 'failed' FROM jobs").await;
    assert_eq!(act(&queue, &Act::Retry, &second).await.len(), 0);
    // Who looks again may.
    let third = choose(&queue, &Act::Retry, JobFilter::default()).await;
    assert_eq!(act(&queue, &Act::Retry, &third).await.len(), 1);
    queue.until("SELECT starts = 3 AND state = 'failed' FROM jobs").await;
}

#[tokio::test]
async fn filters_choose_what_they_say() {
    let queue = TestQueue::new().await;
    failed(&queue, 3).await;
    let _workers = queue.work();
    let refused = queue.enqueue("refuse").await;
    let later = queue.enqueue("retry_after").await;
    let held = queue.enqueue("hold").await;
    queue.until_state(refused, "failed").await;
    queue.until_state(held, "running").await;
    queue.until("SELECT count(*) = 1 FROM jobs WHERE waits = 1 AND state = 'available'").await;
    sqlx::query("UPDATE jobs SET created_at = now() - interval '2 days' WHERE step = 'refuse'")
        .execute(queue.pool())
        .await
        .unwrap();

    let now = choose(&queue, &Act::Retry, JobFilter::default()).await.at;
    let retried = async |filter| choose(&queue, &Act::Retry, filter).await.ids;
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(retried(JobFilter::default()).await.len(), 4, "those that failed");
    assert_eq!(retried(of_step("refuse")).await, [refused]);
    assert_eq!(retried(JobFilter { class: text("timeout"), ..JobFilter::default() }).await.len(), 3);
    assert_eq!(retried(JobFilter { class: text("refused"), ..JobFilter::default() }).await, [refused]);
    assert_eq!(retried(JobFilter { reason: text("IT SAID"), ..JobFilter::default() }).await.len(), 3);
    assert_eq!(retried(JobFilter { state: text("waiting"), ..JobFilter::default() }).await, [later]);
    let day_ago = Some(now - chrono::TimeDelta::days(1));
    assert_eq!(retried(JobFilter { created_before: day_ago, ..JobFilter::default() }).await, [refused]);
    assert_eq!(retried(JobFilter { created_from: day_ago, ..JobFilter::default() }).await.len(), 3);
    let oldest =
        queue::choose(queue.pool(), &Act::Retry, &JobFilter { limit: 2, ..JobFilter::default() }).await.unwrap();
    assert_eq!(oldest.ids.len(), 2);

    // A list shows the same, newest first.
    let filter = JobFilter { class: text("timeout"), limit: 10, ..JobFilter::default() };
    assert_eq!(queue::list(queue.pool(), &filter).await.unwrap().len(), 3);

    let cancel = Act::Cancel("Enough.".to_owned());
    let open = choose(&queue, &cancel, JobFilter::default()).await;
    assert_eq!(open.ids, [later, held], "what is open, running or not");
    let lots = queue::lots(queue.pool(), &open).await.unwrap();
    let told: Vec<_> = lots.iter().map(|lot| (lot.step.as_str(), lot.state.as_str(), lot.class.as_deref())).collect();
    assert_eq!(told, [("hold", "running", None), ("retry_after", "waiting", Some("rate_limited"))]);
    assert_eq!(act(&queue, &cancel, &open).await.len(), 2);
    let reasons: Vec<String> =
        sqlx::query_scalar("SELECT reason FROM jobs WHERE state = 'cancelled'").fetch_all(queue.pool()).await.unwrap();
    assert_eq!(reasons, ["Enough.", "Enough."]);
}

#[tokio::test]
async fn stats_count_what_is_there() {
    let queue = TestQueue::new().await;
    failed(&queue, 2).await;
    let _workers = queue.work();
    let (done, later) = (queue.enqueue("effect").await, queue.enqueue("retry_after").await);
    queue.until_state(done, "completed").await;
    let later = queue.until_attempted(later).await;
    let stats = queue::stats(queue.pool(), &["hold", "effect"]).await.unwrap();
    let steps: Vec<_> = stats.iter().map(|step| step.step.as_str()).collect();
    assert_eq!(steps, ["hold", "effect", "retry_after"], "asked for first, then what there is");
    let (effect, waiting) = (&stats[1], &stats[2]);
    assert_eq!((effect.failed, effect.last_hour.completed, effect.due), (2, 1, 0));
    assert!(effect.last_hour.run_seconds_p50.is_some() && effect.last_hour.queue_seconds_p95.is_some());
    assert_eq!((waiting.available, waiting.waiting, waiting.next_run_at), (1, 1, Some(later.run_at)));
    let outcomes = |step: &queue::StepStats| {
        let counts = step.last_hour.attempts.iter();
        counts.map(|count| (count.outcome.clone(), count.attempts)).collect::<Vec<_>>()
    };
    assert_eq!(outcomes(effect), [("completed".to_owned(), 1), ("failed".to_owned(), 2)]);
    assert_eq!(outcomes(waiting), [("waiting".to_owned(), 1)]);
}
