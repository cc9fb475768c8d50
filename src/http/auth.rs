//! Who asks, and may they? API keys in `Authorization: Bearer KEY`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use poem::Request;
use poem_openapi::SecurityScheme;
use poem_openapi::auth::Bearer;
use sqlx::PgPool;
use tokio::time::timeout;

use super::problem::Problem;
use super::query;
use super::tally::Tally;
use super::throttle::Throttle;
use crate::model::{ApiKey, Scope};
use crate::store::{self, keys::ActiveKey};

/// Longest wait for the key's row. Every request of the API asks for it first, so this is also how soon a client hears
/// that the database is away.
const LOOKUP_LIMIT: Duration = Duration::from_millis(1_800);

static REFUSED: Tally = Tally::zero();

/// An API key as `goto-automation keys create` prints it: `gta_<prefix>_<secret>`. A key has scopes: `calls:read`,
/// `transcripts:read`, `recordings:read`.
#[derive(SecurityScheme)]
#[oai(ty = "bearer", bearer_format = "gta_<prefix>_<secret>", rename = "ApiKey", checker = "check")]
pub struct Key(ActiveKey);

impl Key {
    /// The one place that decides whether the holder of a key may do something.
    pub fn require(&self, scope: Scope) -> Result<(), Problem> {
        let allowed = self.0.scopes.iter().any(|held| held == scope.as_str());
        if allowed { Ok(()) } else { Err(Problem::forbidden(scope.as_str())) }
    }
}

/// The key's row, if the key counts. Malformed keys, and those of clients that ask too often, cost no database work.
async fn check(request: &Request, bearer: Bearer) -> poem::Result<ActiveKey> {
    let db = request.data::<PgPool>().ok_or_else(Problem::internal)?;
    let throttle = request.data::<Arc<Throttle>>().ok_or_else(Problem::internal)?;
    let client = request.remote_addr().as_socket_addr().map_or(Ipv4Addr::UNSPECIFIED.into(), SocketAddr::ip);
    if let Some(wait) = throttle.bar(client) {
        return Err(Problem::barred(wait).into());
    }
    let key = ApiKey::parse(&bearer.token).ok_or_else(|| refused(throttle, client))?;
    if let Some(wait) = throttle.wait(client, key.prefix()) {
        return Err(Problem::too_many_requests(wait).into());
    }
    let found = timeout(LOOKUP_LIMIT, find(db, &key)).await.map_err(|_| Problem::database_unavailable())?;
    let active = found.map_err(Problem::from)?.ok_or_else(|| refused(throttle, client))?;
    if query::holds_key(request) {
        return Err(Problem::key_in_query().into());
    }
    note_use(db.clone(), &active);
    Ok(active)
}

fn refused(throttle: &Throttle, client: IpAddr) -> Problem {
    throttle.failed(client);
    if let Some(count) = REFUSED.note() {
        tracing::warn!(count, "Requests were refused for their API key.");
    }
    Problem::unauthorized()
}

async fn find(db: &PgPool, key: &ApiKey) -> Result<Option<ActiveKey>, sqlx::Error> {
    let mut connection = store::Guarded::acquire(db).await?;
    let active = store::keys::active(&mut connection, key.prefix()).await?;
    connection.release();
    Ok(active.filter(|active| key.has_hash(&active.hash)))
}

/// In the background: nobody waits for it, and nobody fails with it.
fn note_use(db: PgPool, key: &ActiveKey) {
    let id = key.id;
    tokio::spawn(async move {
        if let Err(error) = store::keys::touch(&db, id).await {
            tracing::debug!(%error, "The last use of an API key was not noted.");
        }
    });
}
