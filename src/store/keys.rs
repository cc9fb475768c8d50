//! `api_keys`: who may read. Only a hash of the key is kept.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::bounded;
use crate::model::CallBounds;

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
    /// The calls that it opens.
    pub bounds: CallBounds,
    /// Made.
    pub created_at: DateTime<Utc>,
    /// Ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// Ended by a person.
    pub revoked_at: Option<DateTime<Utc>>,
    /// Last use, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// The key that takes its place.
    pub replaced_by: Option<Uuid>,
}

/// A key that may be used now: its hash, to be compared in constant time, and its rights.
#[derive(Debug, Clone)]
pub struct ActiveKey {
    /// Id.
    pub id: Uuid,
    /// What it is for.
    pub name: String,
    /// The visible part.
    pub prefix: String,
    /// SHA-256 of the whole key.
    pub hash: Vec<u8>,
    /// What it may do.
    pub scopes: Vec<String>,
    /// The calls that it opens.
    pub bounds: CallBounds,
    /// Whether a use of it was noted within the last minute.
    pub is_noted: bool,
}

/// What a new key is to be.
#[derive(Debug, Clone, Copy)]
pub struct NewKey<'a> {
    /// What it is for.
    pub name: &'a str,
    /// The visible part.
    pub prefix: &'a str,
    /// SHA-256 of the whole key.
    pub hash: &'a [u8],
    /// What it may do.
    pub scopes: &'a [String],
    /// The calls that it opens.
    pub bounds: &'a CallBounds,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Keeps a new key.
pub async fn insert(db: &mut PgConnection, key: &NewKey<'_>) -> Result<KeyRow, sqlx::Error> {
    sqlx::query_as!(
        Columns,
        "INSERT INTO api_keys (id, name, prefix, hash, scopes, only_direction, only_number, only_from, only_to, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         RETURNING id, name, prefix, scopes, only_direction, only_number, only_from, only_to, created_at, expires_at,
             revoked_at, last_used_at, replaced_by",
        Uuid::now_v7(),
        key.name,
        key.prefix,
        key.hash,
        key.scopes,
        key.bounds.direction(),
        key.bounds.number_prefix(),
        key.bounds.from,
        key.bounds.to,
        key.expires_at
    )
    .fetch_one(db)
    .await?
    .try_into()
}

/// Keeps a key that may be there already: then it gets these scopes and this end. False if somebody has revoked it,
/// which is final.
pub async fn renew(db: &PgPool, key: &NewKey<'_>) -> Result<bool, sqlx::Error> {
    let kept = sqlx::query!(
        "INSERT INTO api_keys (id, name, prefix, hash, scopes, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (prefix) DO UPDATE
         SET scopes = excluded.scopes, expires_at = excluded.expires_at
         WHERE api_keys.revoked_at IS NULL AND api_keys.hash = excluded.hash",
        Uuid::now_v7(),
        key.name,
        key.prefix,
        key.hash,
        key.scopes,
        key.expires_at
    )
    .execute(db)
    .await?;
    Ok(kept.rows_affected() == 1)
}

/// The key with this prefix, unless it is revoked or has expired.
pub async fn active(db: &mut PgConnection, prefix: &str) -> Result<Option<ActiveKey>, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT id, name, prefix, hash, scopes, only_direction, only_number, only_from, only_to,
               coalesce(last_used_at > now() - interval '1 minute', false) AS "is_noted!"
           FROM api_keys WHERE prefix = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"#,
        prefix
    )
    .fetch_optional(db)
    .await?;
    row.map(|row| {
        let bounds = bounds(row.only_direction, row.only_number, row.only_from, row.only_to)?;
        Ok(ActiveKey {
            id: row.id,
            name: row.name,
            prefix: row.prefix,
            hash: row.hash,
            scopes: row.scopes,
            bounds,
            is_noted: row.is_noted,
        })
    })
    .transpose()
}

/// Whether a key is still good, for whoever has been let in with it.
pub async fn is_active(db: &PgPool, id: Uuid) -> Result<bool, sqlx::Error> {
    bounded(db, async |db| {
        sqlx::query_scalar!(
            r#"SELECT EXISTS (
               SELECT FROM api_keys
               WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
           ) AS "is_active!""#,
            id
        )
        .fetch_one(db)
        .await
    })
    .await
}

/// Notes a use, at most once a minute.
pub async fn touch(db: &PgPool, id: Uuid) -> Result<(), sqlx::Error> {
    bounded(db, async |db| {
        sqlx::query!(
            "UPDATE api_keys SET last_used_at = now()
         WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')",
            id
        )
        .execute(db)
        .await
    })
    .await?;
    Ok(())
}

/// Keys, newest first; those after the key that was made at this time and has this id.
pub async fn list(db: &PgPool, after: Option<(DateTime<Utc>, Uuid)>, limit: i64) -> Result<Vec<KeyRow>, sqlx::Error> {
    let rows = bounded(db, async |db| {
        sqlx::query_as!(
            Columns,
            "SELECT id, name, prefix, scopes, only_direction, only_number, only_from, only_to, created_at, expires_at,
             revoked_at, last_used_at, replaced_by
         FROM api_keys WHERE $1::timestamptz IS NULL OR (created_at, id) < ($1, $2)
         ORDER BY created_at DESC, id DESC LIMIT $3",
            after.map(|(at, _)| at),
            after.map(|(_, id)| id),
            limit
        )
        .fetch_all(db)
        .await
    })
    .await?;
    rows.into_iter().map(KeyRow::try_from).collect()
}

/// One key.
pub async fn get(db: &mut PgConnection, id: Uuid) -> Result<Option<KeyRow>, sqlx::Error> {
    let row = sqlx::query_as!(
        Columns,
        "SELECT id, name, prefix, scopes, only_direction, only_number, only_from, only_to, created_at, expires_at,
             revoked_at, last_used_at, replaced_by
         FROM api_keys WHERE id = $1",
        id
    )
    .fetch_optional(db)
    .await?;
    row.map(KeyRow::try_from).transpose()
}

/// The id of the key with this visible part.
pub async fn find(db: &mut PgConnection, prefix: &str) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar!("SELECT id FROM api_keys WHERE prefix = $1", prefix).fetch_optional(db).await
}

/// Ends a key at once. False = somebody has revoked it before.
pub async fn revoke(db: &mut PgConnection, id: Uuid) -> Result<bool, sqlx::Error> {
    let revoked = sqlx::query!("UPDATE api_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL", id);
    Ok(revoked.execute(db).await?.rows_affected() == 1)
}

/// Whether a key is good and no other has taken its place. What changes it waits for the end of this transaction.
pub async fn hold(db: &mut PgConnection, id: Uuid) -> Result<bool, sqlx::Error> {
    let is_good = sqlx::query_scalar!(
        r#"SELECT replaced_by IS NULL AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AS "is_good!"
           FROM api_keys WHERE id = $1
           -- Two rotations at the same time must not make two successors.
           FOR UPDATE"#,
        id
    );
    Ok(is_good.fetch_optional(db).await?.unwrap_or(false))
}

/// Another key takes this one's place; it ends at this time, if it does not end before.
pub async fn replace(db: &mut PgConnection, id: Uuid, by: Uuid, expires_at: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE api_keys SET replaced_by = $2, expires_at = least(expires_at, $3) WHERE id = $1",
        id,
        by,
        expires_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A key's row as it is in the database.
struct Columns {
    id: Uuid,
    name: String,
    prefix: String,
    scopes: Vec<String>,
    only_direction: Option<String>,
    only_number: Option<String>,
    only_from: Option<DateTime<Utc>>,
    only_to: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
    replaced_by: Option<Uuid>,
}

impl TryFrom<Columns> for KeyRow {
    type Error = sqlx::Error;

    fn try_from(row: Columns) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.id,
            name: row.name,
            prefix: row.prefix,
            scopes: row.scopes,
            bounds: bounds(row.only_direction, row.only_number, row.only_from, row.only_to)?,
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            last_used_at: row.last_used_at,
            replaced_by: row.replaced_by,
        })
    }
}

/// A direction that this program does not know must not become no bound at all.
fn bounds(
    direction: Option<String>,
    number_prefix: Option<String>,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
) -> Result<CallBounds, sqlx::Error> {
    let direction = direction.map(|word| word.parse()).transpose();
    let direction = direction.map_err(|error: String| sqlx::Error::Decode(error.into()))?;
    Ok(CallBounds { direction, number_prefix, from, to })
}
