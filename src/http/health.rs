//! `/health`: how every part stands, within a second and at no cost. Says nothing secret.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use poem::http::StatusCode;
use poem::web::Json;
use poem::{Endpoint, IntoResponse, Request, Response};
use serde::Serialize;
use serde_json::json;
use sqlx::PgPool;
use tokio::time::timeout;

use super::problem::{self, Problem};
use crate::queue;
use crate::store::providers::ProviderRow;
use crate::store::{self, Guarded};

/// Longest time for one look.
const LIMIT: Duration = Duration::from_secs(1);
/// A job that is due for longer shows that too few workers run.
const LATE_SECONDS: f64 = 60.0;
/// Workers look at least once a second: a job that is due for longer while none runs shows that there is none.
const IDLE_SECONDS: f64 = 5.0;

/// What is told of GoTo's own side. Recordings come from there: when their host is paused, it says so.
const SIGNED_ONLY: &str = "Only signed webhooks are received.";

/// How a part stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It works, or it is set up and nothing speaks against it.
    Ok,
    /// It works, but not as it should.
    Degraded,
    /// It does not work.
    Down,
    /// It is not set up.
    Off,
}

/// A part, and why it stands as it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Component {
    /// How it stands.
    pub status: Status,
    /// A sentence for an operator. Never a secret, an address or a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Component {
    /// It works.
    pub fn ok() -> Self {
        Self { status: Status::Ok, detail: None }
    }

    /// Anything else, with its reason.
    pub fn because(status: Status, detail: impl Into<String>) -> Self {
        Self { status, detail: Some(detail.into()) }
    }
}

/// A look at something that may hang or fail; given up after a second.
pub type Look = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Component> + Send>> + Send + Sync>;

/// What is known of the parts without asking anybody, and how to look at the store.
#[derive(Clone)]
pub struct Parts {
    /// Looks whether recordings can be stored.
    pub storage: Look,
    /// From the settings.
    pub transcription: Component,
    /// From the settings.
    pub analysis: Component,
    /// From the settings.
    pub slack: Component,
    /// From the settings.
    pub email: Component,
}

/// `GET /health`.
pub struct Health {
    /// Asked whether it answers, and how the queue stands.
    pub db: PgPool,
    /// Everything else.
    pub parts: Parts,
}

#[derive(Debug, Serialize)]
struct Components {
    database: Component,
    queue: Component,
    storage: Component,
    goto: Component,
    transcription: Component,
    analysis: Component,
    slack: Component,
    email: Component,
}

impl Endpoint for Health {
    type Output = Response;

    async fn call(&self, _: Request) -> poem::Result<Response> {
        let parts = &self.parts;
        let storage = async {
            let late = || Component::because(Status::Down, "The store of recordings does not answer.");
            timeout(LIMIT, (parts.storage)()).await.unwrap_or_else(|_| late())
        };
        let ((database, queue), storage, providers) =
            tokio::join!(database_and_queue(&self.db), storage, providers(&self.db));
        let components = Components {
            database,
            queue,
            storage,
            goto: provider(&providers, "recordings", &Component::because(Status::Off, SIGNED_ONLY)),
            transcription: provider(&providers, "transcription", &parts.transcription),
            analysis: provider(&providers, "analysis", &parts.analysis),
            slack: provider(&providers, "slack", &parts.slack),
            email: provider(&providers, "email", &parts.email),
        };
        let status = overall(&components);
        let code = if status == Status::Down { problem::DOWN } else { StatusCode::OK };
        Ok(Json(json!({ "status": status, "components": components })).with_status(code).into_response())
    }
}

/// Down with the database only: without any other part calls are still taken in.
fn overall(components: &Components) -> Status {
    let Components { database, queue, storage, goto, transcription, analysis, slack, email } = components;
    let well = |component: &&Component| matches!(component.status, Status::Ok | Status::Off);
    match database.status {
        Status::Down => Status::Down,
        _ if [database, queue, storage, goto, transcription, analysis, slack, email].iter().all(well) => Status::Ok,
        _ => Status::Degraded,
    }
}

async fn database_and_queue(db: &PgPool) -> (Component, Component) {
    let look = async {
        let mut connection = Guarded::acquire(db).await?;
        let standing = queue::standing(&mut connection).await;
        // A schema that is behind refuses the question, but it answers.
        let answers = matches!(standing, Ok(_) | Err(sqlx::Error::Database(_)));
        if answers {
            connection.release();
        }
        standing
    };
    match timeout(LIMIT, look).await {
        Ok(Ok(standing)) => (Component::ok(), queue_component(&standing)),
        Ok(Err(sqlx::Error::Database(error))) if error.code().as_deref() == Some("42P01") => (
            Component::because(Status::Degraded, "The database is behind. Run `goto-automation migrate`."),
            Component::because(Status::Down, "The queue has no tables yet."),
        ),
        _ => (
            Component::because(Status::Down, "The database does not answer."),
            Component::because(Status::Down, "The queue is in the database, which does not answer."),
        ),
    }
}

/// What is said of a pause names nobody: everybody may ask for this.
fn queue_component(standing: &queue::Standing) -> Component {
    let paused: Vec<String> = standing.paused.iter().map(pause).collect();
    let work = work_component(standing);
    if paused.is_empty() {
        return work;
    }
    Component::because(Status::Degraded, work.detail.into_iter().chain(paused).collect::<Vec<_>>().join(" "))
}

fn pause(queue::Pause { step, since, due }: &queue::Pause) -> String {
    let jobs = if *due == 1 { "1 job waits".to_owned() } else { format!("{due} jobs wait") };
    let since = since.format("%Y-%m-%d %H:%M UTC");
    format!("The step {step} is paused since {since} and {jobs}. Resume it with `goto-automation jobs resume {step}`.")
}

fn work_component(standing: &queue::Standing) -> Component {
    let seconds = standing.oldest_due_seconds.round();
    if standing.running == 0 && standing.oldest_due_seconds > IDLE_SECONDS {
        let detail = format!("{} jobs are due and nobody takes them. Start `goto-automation worker`.", standing.due);
        return Component::because(Status::Degraded, detail);
    }
    if standing.oldest_due_seconds <= LATE_SECONDS {
        return Component::ok();
    }
    let detail = format!("{} jobs are due, the oldest for {seconds} s. Is a worker running?", standing.due);
    Component::because(Status::Degraded, detail)
}

/// Providers that something is known against; none when the database does not tell.
async fn providers(db: &PgPool) -> Vec<ProviderRow> {
    timeout(LIMIT, store::providers::all(db)).await.ok().and_then(Result::ok).unwrap_or_default()
}

/// What is known without asking, unless the provider is paused. Its own words are for those who may see calls: they name
/// hosts.
fn provider(providers: &[ProviderRow], name: &str, set: &Component) -> Component {
    let paused = providers.iter().find(|provider| provider.name == name);
    match paused.and_then(|provider| Some((provider.paused_at?, provider.error_class.as_deref()?))) {
        Some((since, class)) => Component::because(
            Status::Degraded,
            format!(
                "Paused for all calls since {} ({class}). `goto-automation jobs list --state waiting` says why.",
                since.format("%Y-%m-%d %H:%M UTC")
            ),
        ),
        None => set.clone(),
    }
}

/// `GET /health/ready`: ready when the database answers and has all migrations.
pub struct Ready(pub PgPool);

impl Endpoint for Ready {
    type Output = Response;

    async fn call(&self, _: Request) -> poem::Result<Response> {
        match timeout(LIMIT, store::migrations::missing(&self.0)).await {
            Ok(Ok(missing)) if missing.is_empty() => Ok(fine()),
            Ok(Ok(_)) => Err(Problem::not_ready("The database is behind. Run `goto-automation migrate`.").into()),
            Ok(Err(sqlx::Error::Migrate(_))) => {
                Err(Problem::not_ready("The database is of another build. `goto-automation migrate` says more.").into())
            }
            _ => Err(Problem::not_ready("The database does not answer.").into()),
        }
    }
}

/// `GET /health/live`, `/webhooks/health`: this process answers.
pub fn fine() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(oldest_due_seconds: f64) -> queue::Standing {
        queue::Standing { due: 3, running: 1, oldest_due_seconds, ..queue::Standing::default() }
    }

    #[test]
    fn a_queue_that_nobody_works_on_says_so_at_once() {
        let idle = |seconds| queue_component(&queue::Standing { running: 0, ..standing(seconds) });
        assert_eq!(idle(2.0), Component::ok());
        let alone = idle(8.0);
        assert_eq!(alone.status, Status::Degraded);
        assert!(alone.detail.unwrap().contains("goto-automation worker"));
    }

    #[test]
    fn a_queue_is_late_after_a_minute() {
        assert_eq!(queue_component(&standing(60.0)), Component::ok());
        let late = queue_component(&standing(61.4));
        assert_eq!(late.status, Status::Degraded);
        assert_eq!(late.detail.unwrap(), "3 jobs are due, the oldest for 61 s. Is a worker running?");
    }

    #[test]
    fn a_pause_says_since_when_and_how_it_ends() {
        let since = "2026-11-17T06:21:00Z".parse().unwrap();
        let paused = vec![queue::Pause { step: "transcribe".to_owned(), since, due: 12 }];
        let component = queue_component(&queue::Standing { paused, ..standing(0.0) });
        assert_eq!(component.status, Status::Degraded);
        assert_eq!(
            component.detail.unwrap(),
            "The step transcribe is paused since 2026-11-17 06:21 UTC and 12 jobs wait. Resume it with \
             `goto-automation jobs resume transcribe`."
        );
    }

    #[test]
    fn only_the_database_takes_everything_down() {
        let all = |database, other| Components {
            database: Component { status: database, detail: None },
            queue: Component::ok(),
            storage: Component { status: other, detail: None },
            goto: Component { status: Status::Off, detail: None },
            transcription: Component::ok(),
            analysis: Component::ok(),
            slack: Component::ok(),
            email: Component::ok(),
        };
        assert_eq!(overall(&all(Status::Ok, Status::Off)), Status::Ok);
        assert_eq!(overall(&all(Status::Ok, Status::Down)), Status::Degraded);
        assert_eq!(overall(&all(Status::Degraded, Status::Ok)), Status::Degraded);
        assert_eq!(overall(&all(Status::Down, Status::Ok)), Status::Down);
    }
}
