//! Operators who pause, limit, cancel and put first while workers run.

use goto_automation::model::{Actor, CallId};
use goto_automation::pipeline::operate;
use goto_automation::queue::{self, Act, JobFilter, NewJob, WhyNot};
use nix::sys::signal::Signal;

use super::harness::{TestQueue, WorkerProcess};

fn dana() -> Actor {
    Actor::at_terminal("dana@desk")
}

async fn pause(queue: &TestQueue, step: &str) -> bool {
    operate::pause(queue.pool(), &dana(), step, Some("Because.")).await.unwrap()
}

async fn resume(queue: &TestQueue, step: &str) -> bool {
    operate::resume(queue.pool(), &dana(), step).await.unwrap()
}

async fn limit(queue: &TestQueue, step: &str, slots: Option<i32>) -> bool {
    operate::limit(queue.pool(), &dana(), step, slots).await.unwrap()
}

/// Until a job of another step, enqueued after everything that is due now, has come to its end: workers have looked, and
/// left what they left on purpose.
async fn looked(queue: &TestQueue) {
    let marker = queue.enqueue("refuse").await;
    queue.until_state(marker, "failed").await;
}

async fn starts(queue: &TestQueue) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM effects e JOIN jobs j ON j.id = job_id WHERE what = 'start' AND step = 'hold'",
    )
    .fetch_one(queue.pool())
    .await
    .unwrap()
}

#[tokio::test]
async fn a_step_that_is_paused_when_workers_start_is_left_alone_until_it_is_resumed() {
    let queue = TestQueue::new().await;
    assert!(pause(&queue, "effect").await);
    let id = queue.enqueue("effect").await;
    let _worker = WorkerProcess::start(&queue);
    looked(&queue).await;
    let job = queue.job(id).await;
    assert_eq!((job.state.as_str(), job.starts), ("available", 0));
    assert_eq!((job.paused_by.as_deref(), job.pause_reason.as_deref()), (Some("dana@desk"), Some("Because.")));
    assert!(resume(&queue, "effect").await);
    assert_eq!(queue.until_state(id, "completed").await.paused_at, None);
}

#[tokio::test]
async fn a_pause_reaches_running_workers_and_what_runs_goes_on() {
    let queue = TestQueue::new().await;
    let _worker = WorkerProcess::start(&queue);
    let running = queue.enqueue("hold").await;
    queue.until_state(running, "running").await;
    assert!(pause(&queue, "hold").await);
    assert!(!pause(&queue, "hold").await, "it is paused once");
    // Until the process has heard of it a job may still be taken.
    let left = loop {
        let probe = queue.enqueue("hold").await;
        looked(&queue).await;
        if queue.job(probe).await.starts == 0 {
            break probe;
        }
    };
    queue.release().await;
    queue.until_state(running, "completed").await;
    looked(&queue).await;
    assert_eq!(queue.job(left).await.starts, 0);
    assert!(resume(&queue, "hold").await);
    queue.until_state(left, "completed").await;
    let written: Vec<(String, String)> =
        sqlx::query_as("SELECT action, result FROM audit_log ORDER BY id").fetch_all(queue.pool()).await.unwrap();
    let acts: Vec<_> = written.iter().map(|(action, result)| (action.as_str(), result.as_str())).collect();
    assert_eq!(acts, [("steps.pause", "done"), ("steps.pause", "unchanged"), ("steps.resume", "done")]);
}

#[tokio::test]
async fn a_limit_changes_live_and_ends_no_job() {
    let queue = TestQueue::new().await;
    assert!(limit(&queue, "hold", Some(1)).await);
    let jobs = [queue.enqueue("hold").await, queue.enqueue("hold").await, queue.enqueue("hold").await];
    let _worker = WorkerProcess::start(&queue);
    looked(&queue).await;
    assert_eq!(starts(&queue).await, 1);
    assert!(limit(&queue, "hold", Some(2)).await);
    queue.until("SELECT count(*) = 2 FROM jobs WHERE step = 'hold' AND state = 'running'").await;
    looked(&queue).await;
    assert_eq!(starts(&queue).await, 2);
    assert!(limit(&queue, "hold", Some(1)).await);
    assert!(!limit(&queue, "hold", Some(1)).await, "it is so already");
    looked(&queue).await;
    assert_eq!(queue.job(jobs[1]).await.state, "running");
    assert!(limit(&queue, "hold", None).await);
    queue.until("SELECT count(*) = 3 FROM jobs WHERE step = 'hold' AND state = 'running'").await;
    queue.release().await;
    for job in jobs {
        assert_eq!(queue.until_state(job, "completed").await.starts, 1);
    }
}

#[tokio::test]
async fn what_was_put_first_goes_first_and_so_does_what_follows() {
    let queue = TestQueue::new().await;
    limit(&queue, "effect", Some(1)).await;
    pause(&queue, "effect").await;
    let usual = [queue.enqueue("effect").await, queue.enqueue("effect").await];
    let call = CallId::fresh();
    let first = queue.enqueue_job(NewJob::new("first", call, 1)).await;
    let urgent = queue.enqueue("effect").await;
    let act = Act::Prioritize(10);
    for job in [urgent, first] {
        assert_eq!(operate::act_on(queue.pool(), &queue.waker, &dana(), &act, job).await.unwrap(), None);
    }
    let _worker = queue.work();
    queue.until_state(first, "completed").await;
    let filter = JobFilter { call_id: Some(call.0), step: Some("effect".to_owned()), limit: 1, ..JobFilter::default() };
    let follows = queue::list(queue.pool(), &filter).await.unwrap().remove(0);
    assert_eq!(follows.priority, 10);
    resume(&queue, "effect").await;
    queue.until("SELECT count(*) = 4 FROM jobs WHERE step = 'effect' AND state = 'completed'").await;
    let order: Vec<i64> = sqlx::query_scalar(
        "SELECT job_id FROM effects e JOIN jobs j ON j.id = job_id WHERE step = 'effect' AND what = 'start' ORDER BY e.id",
    )
    .fetch_all(queue.pool())
    .await
    .unwrap();
    assert_eq!(order, [urgent, follows.id, usual[0], usual[1]]);
}

#[tokio::test]
async fn a_running_job_that_is_cancelled_stays_so_whatever_its_worker_says_later() {
    let queue = TestQueue::new().await;
    let id = queue.enqueue("hold").await;
    let frozen = WorkerProcess::start(&queue);
    queue.until("SELECT count(*) = 1 FROM effects").await;
    frozen.signal(Signal::SIGSTOP);
    let cancel = Act::Cancel("Cancelled by dana@desk.".to_owned());
    assert_eq!(operate::act_on(queue.pool(), &queue.waker, &dana(), &cancel, id).await.unwrap(), None);
    queue.release().await;
    frozen.signal(Signal::SIGCONT);
    // Its process lives and works on.
    looked(&queue).await;
    let job = queue.job(id).await;
    assert_eq!((job.state.as_str(), job.reason.as_deref()), ("cancelled", Some("Cancelled by dana@desk.")));
    let attempts = queue.attempts(id).await;
    assert_eq!((attempts.len(), attempts[0].outcome.as_str()), (1, "cancelled"), "the start is visible");
    assert_ne!(attempts[0].late_outcome.as_deref(), Some("given_back"), "{attempts:#?}");

    assert_eq!(operate::act_on(queue.pool(), &queue.waker, &dana(), &cancel, id).await.unwrap(), Some(WhyNot::IsSo));
    assert_eq!(operate::act_on(queue.pool(), &queue.waker, &dana(), &Act::Retry, id).await.unwrap(), None);
    queue.until_state(id, "completed").await;
    let outcomes: Vec<_> = queue.attempts(id).await.into_iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, ["cancelled", "completed"]);
}
