//! Finished jobs that leave the hot tables, and are seen all the same.

use goto_automation::model::CallId;
use goto_automation::queue::{self, JobFilter, NewJob, Retried};

use super::harness::TestQueue;

/// As if everything that is there had happened so many days ago.
async fn aged(queue: &TestQueue, days: i32) {
    for statement in [
        "UPDATE jobs SET created_at = created_at - make_interval(days => $1), claimed_at = claimed_at - make_interval(days => $1),
             finished_at = finished_at - make_interval(days => $1)",
        "UPDATE job_attempts SET started_at = started_at - make_interval(days => $1), ended_at = ended_at - make_interval(days => $1)",
    ] {
        sqlx::query(statement).bind(days).execute(queue.pool()).await.unwrap();
    }
}

async fn hot(queue: &TestQueue) -> Vec<i64> {
    sqlx::query_scalar("SELECT id FROM jobs ORDER BY id").fetch_all(queue.pool()).await.unwrap()
}

#[tokio::test]
async fn old_finished_jobs_go_to_the_history_and_are_seen_all_the_same() {
    let queue = TestQueue::new().await;
    let (call, other) = (CallId::fresh(), CallId::fresh());
    let workers = queue.work();
    let first = queue.enqueue_job(NewJob::new("first", call, 1)).await;
    queue.enqueue_job(NewJob::new("effect", other, 1)).await;
    let failed = queue.enqueue_job(NewJob::new("refuse", other, 1)).await;
    queue.until("SELECT count(*) = 3 FROM jobs WHERE state = 'completed'").await;
    queue.until_state(failed, "failed").await;
    drop(workers);
    aged(&queue, 31).await;
    let young = queue.enqueue("effect").await;

    let _workers = queue.work();
    queue.until("SELECT count(*) = 2 FROM jobs_history").await;
    queue.until_state(young, "completed").await;
    // The call whose job still needs a person keeps all of its run.
    let stays = hot(&queue).await;
    assert!(stays.len() == 3 && stays.contains(&failed) && stays.contains(&young), "{stays:?}");
    let attempts: i64 =
        sqlx::query_scalar("SELECT count(*) FROM job_attempts_history").fetch_one(queue.pool()).await.unwrap();
    assert_eq!(attempts, 2);

    let shown = queue.job(first).await;
    assert_eq!((shown.state.as_str(), shown.starts), ("completed", 1));
    assert_eq!(queue.attempts(first).await[0].request_id, None);
    let of_call = JobFilter { call_id: Some(call.0), limit: 10, ..JobFilter::default() };
    assert_eq!(queue::list(queue.pool(), &of_call).await.unwrap().len(), 2);
    assert_eq!(queue::attempts_of_call(queue.pool(), call.0).await.unwrap().len(), 2);
    let costs = queue::costs_of_calls(queue.pool(), &[call.0]).await.unwrap();
    assert_eq!(costs[&call.0].steps.len(), 2);

    // Neither a repeated enqueue nor an operator brings one back.
    assert_eq!(queue.enqueue_job(NewJob::new("effect", call, 1)).await, 0, "it was done long ago");
    assert!(matches!(queue::retry(queue.pool(), &queue.waker, first).await.unwrap(), Retried::Refused(why)
        if why.ends_with("in the history")));
    // A later run is another matter.
    let again = queue.enqueue_job(NewJob::new("effect", call, 2)).await;
    queue.until_state(again, "completed").await;
}

#[tokio::test]
async fn what_a_later_run_has_replaced_goes_too() {
    let queue = TestQueue::new().await;
    let call = CallId::fresh();
    let workers = queue.work();
    let failed = queue.enqueue_job(NewJob::new("refuse", call, 1)).await;
    queue.until_state(failed, "failed").await;
    let done = queue.enqueue_job(NewJob::new("effect", call, 2)).await;
    queue.until_state(done, "completed").await;
    drop(workers);
    aged(&queue, 31).await;
    let _workers = queue.work();
    queue.until("SELECT count(*) = 2 FROM jobs_history").await;
    assert_eq!(hot(&queue).await, Vec::<i64>::new());
}

#[tokio::test]
async fn the_history_has_the_columns_of_the_hot_tables() {
    let queue = TestQueue::new().await;
    let columns = async |table: &str| -> Vec<(String, String)> {
        sqlx::query_as(
            "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute
             WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        )
        .bind(table)
        .fetch_all(queue.pool())
        .await
        .unwrap()
    };
    for (hot, others) in
        [("jobs", ["jobs_history", "every_job"]), ("job_attempts", ["job_attempts_history", "every_job_attempt"])]
    {
        for other in others {
            assert_eq!(columns(other).await, columns(hot).await, "{other}");
        }
    }
}
