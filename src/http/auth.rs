//! Who asks, and may they? API keys in `Authorization: Bearer KEY`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use poem::Request;
use poem_openapi::SecurityScheme;
use poem_openapi::auth::Bearer;
use sqlx::PgPool;
use tokio::time::timeout;
use uuid::Uuid;

use super::conventions::QuotaSlot;
use super::envelope::RequestId;
use super::problem::Problem;
use super::query;
use super::tally::Tally;
use super::throttle::Throttle;
use crate::model::{Actor, ApiKey, CallBounds, Scope};
use crate::store::{self, keys::ActiveKey};

/// Longest wait for the key's row. Every request of the API asks for it first, so this is also how soon a client hears
/// that the database is away.
const LOOKUP_LIMIT: Duration = Duration::from_millis(1_800);

static REFUSED: Tally = Tally::zero();

/// An API key as `goto-automation keys create` prints it: `gta_<prefix>_<secret>`. A key has scopes: `calls:read`,
/// `transcripts:read`, `recordings:read`, `actions:write`, `jobs:operate`, and `admin`, which opens everything. It may be
/// bound to calls in one direction, with numbers that begin in one way, or of a time: all others are not there for it.
#[derive(SecurityScheme)]
#[oai(ty = "bearer", bearer_format = "gta_<prefix>_<secret>", rename = "ApiKey", checker = "check")]
pub struct Key(Holder);

/// What is known of whoever has sent a key that counts.
pub struct Holder {
    row: ActiveKey,
    /// As it was sent.
    presented: ApiKey,
}

impl Key {
    /// The one place that decides whether the holder of a key may do something.
    pub fn require(&self, scope: Scope) -> Result<(), Problem> {
        let allowed =
            self.0.row.scopes.iter().filter_map(|held| held.parse().ok()).any(|held: Scope| held.covers(scope));
        if allowed { Ok(()) } else { Err(Problem::forbidden(scope.as_str())) }
    }

    /// The calls that the key opens. Every query that reads calls, or what hangs on them, takes these.
    pub fn bounds(&self) -> &CallBounds {
        &self.0.row.bounds
    }

    /// Its id.
    pub fn id(&self) -> Uuid {
        self.0.row.id
    }

    /// The whole key, as its holder has sent it.
    pub fn presented(&self) -> &ApiKey {
        &self.0.presented
    }

    /// The visible part.
    pub fn prefix(&self) -> &str {
        self.presented().prefix()
    }

    /// Its holder, for the audit log: name and visible part of the key.
    pub fn actor(&self, request: &Request) -> Actor {
        Actor {
            name: format!("{} ({})", self.0.row.name, self.0.row.prefix),
            request_id: request.data::<RequestId>().map(ToString::to_string),
            address: Some(client(request).to_string()),
        }
    }
}

/// The key's row, if the key counts. Malformed keys, and those of clients that ask too often, cost no database work.
async fn check(request: &Request, bearer: Bearer) -> poem::Result<Holder> {
    let db = request.data::<PgPool>().ok_or_else(Problem::internal)?;
    let throttle = request.data::<Arc<Throttle>>().ok_or_else(Problem::internal)?;
    let client = client(request);
    if let Some(wait) = throttle.bar(client) {
        return Err(Problem::barred(wait).into());
    }
    let key = ApiKey::parse(&bearer.token).ok_or_else(|| refused(throttle, client))?;
    let quota = throttle.spend(client, key.prefix());
    if let Some(slot) = request.data::<QuotaSlot>() {
        slot.fill(quota);
    }
    if let Some(wait) = quota.wait {
        return Err(Problem::too_many_requests(wait).into());
    }
    let found = timeout(LOOKUP_LIMIT, find(db, &key)).await.map_err(|_| Problem::database_unavailable())?;
    let row = found.map_err(Problem::from)?.ok_or_else(|| refused(throttle, client))?;
    if query::holds_key(request) {
        return Err(Problem::key_in_query().into());
    }
    if !row.is_noted {
        note_use(db.clone(), &row);
    }
    Ok(Holder { row, presented: key })
}

/// Somebody without a key.
pub fn nobody(request: &Request) -> Actor {
    Actor {
        name: String::new(),
        request_id: request.data::<RequestId>().map(ToString::to_string),
        address: Some(client(request).to_string()),
    }
}

fn client(request: &Request) -> IpAddr {
    request.remote_addr().as_socket_addr().map_or(Ipv4Addr::UNSPECIFIED.into(), SocketAddr::ip)
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

/// The rights of the key with this prefix, as long as it is good: for what was handed out in its name.
pub async fn in_name_of(db: &PgPool, prefix: &str) -> Result<Option<ActiveKey>, sqlx::Error> {
    let mut connection = store::Guarded::acquire(db).await?;
    let active = store::keys::active(&mut connection, prefix).await?;
    connection.release();
    Ok(active)
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
