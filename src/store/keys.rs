//! `api_keys`: who may read. Only a hash of the key is kept.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// A key's row, without anything secret.
#[derive(Debug, Clone, serde::Serialize)]
pub struct KeyRow {
    /// Id.
    pub id: Uuid,
    /// What it is for.
    pub name: String,
    /// The visible part.
    pub prefix: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Made.
    pub created_at: DateTime<Utc>,
    /// Ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// Ended by a person.
    pub revoked_at: Option<DateTime<Utc>>,
    /// Last use, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// Keeps a new key.
pub async fn insert(
    db: &PgPool,
    name: &str,
    prefix: &str,
    hash: &[u8],
    scopes: &[String],
    expires_at: Option<DateTime<Utc>>,
) -> Result<Uuid, sqlx::Error> {
    sqlx::query_scalar!(
        "INSERT INTO api_keys (id, name, prefix, hash, scopes, expires_at) VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
        Uuid::now_v7(),
        name,
        prefix,
        hash,
        scopes,
        expires_at
    )
    .fetch_one(db)
    .await
}

/// Keeps a key that may be there already: then it gets these scopes and this end. False if somebody has revoked it,
/// which is final.
pub async fn renew(
    db: &PgPool,
    name: &str,
    prefix: &str,
    hash: &[u8],
    scopes: &[String],
    expires_at: Option<DateTime<Utc>>,
) -> Result<bool, sqlx::Error> {
    let kept = sqlx::query!(
        "INSERT INTO api_keys (id, name, prefix, hash, scopes, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (prefix) DO UPDATE
         SET scopes = excluded.scopes, expires_at = excluded.expires_at
         WHERE api_keys.revoked_at IS NULL AND api_keys.hash = excluded.hash",
        Uuid::now_v7(),
        name,
        prefix,
        hash,
        scopes,
        expires_at
    )
    .execute(db)
    .await?;
    Ok(kept.rows_affected() == 1)
}

/// A key that may be used now: its hash, to be compared in constant time, and its scopes.
#[derive(Debug, Clone)]
pub struct ActiveKey {
    /// Id.
    pub id: Uuid,
    /// What it is for.
    pub name: String,
    /// SHA-256 of the whole key.
    pub hash: Vec<u8>,
    /// What it may do.
    pub scopes: Vec<String>,
}

/// The key with this prefix, unless it is revoked or has expired.
pub async fn active(db: &mut PgConnection, prefix: &str) -> Result<Option<ActiveKey>, sqlx::Error> {
    sqlx::query_as!(
        ActiveKey,
        "SELECT id, name, hash, scopes FROM api_keys
         WHERE prefix = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())",
        prefix
    )
    .fetch_optional(db)
    .await
}

/// Notes a use, at most once a minute.
pub async fn touch(db: &PgPool, id: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE api_keys SET last_used_at = now()
         WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')",
        id
    )
    .execute(db)
    .await?;
    Ok(())
}

/// All keys, newest first.
pub async fn list(db: &PgPool) -> Result<Vec<KeyRow>, sqlx::Error> {
    sqlx::query_as!(
        KeyRow,
        "SELECT id, name, prefix, scopes, created_at, expires_at, revoked_at, last_used_at
         FROM api_keys ORDER BY created_at DESC, id DESC"
    )
    .fetch_all(db)
    .await
}

/// Ends a key at once. `None` = there is no key with this prefix; repeated, it keeps the first time.
pub async fn revoke(db: &PgPool, prefix: &str) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE prefix = $1
           RETURNING revoked_at AS "revoked_at!""#,
        prefix
    )
    .fetch_optional(db)
    .await
}
