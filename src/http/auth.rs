//! Who asks, and may they? API keys in `Authorization: Bearer KEY`.

use std::time::Duration;

use poem::Request;
use poem_openapi::SecurityScheme;
use poem_openapi::auth::Bearer;
use sqlx::PgPool;
use tokio::time::timeout;

use super::problem::Problem;
use super::query;
use crate::model::{ApiKey, Scope};
use crate::store::{self, keys::ActiveKey};

/// Longest wait for the key's row. Every request of the API asks for it first, so this is also how soon a client hears
/// that the database is away.
const LOOKUP_LIMIT: Duration = Duration::from_millis(1_800);

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

/// The key's row, if the key counts. Malformed keys cost no database work.
async fn check(request: &Request, bearer: Bearer) -> poem::Result<ActiveKey> {
    let db = request.data::<PgPool>().ok_or_else(Problem::internal)?;
    let key = ApiKey::parse(&bearer.token).ok_or_else(Problem::unauthorized)?;
    let found = timeout(LOOKUP_LIMIT, find(db, &key)).await.map_err(|_| Problem::database_unavailable())?;
    let active = found.map_err(Problem::from)?.ok_or_else(Problem::unauthorized)?;
    if query::holds_key(request) {
        return Err(Problem::key_in_query().into());
    }
    note_use(db.clone(), &active);
    Ok(active)
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
