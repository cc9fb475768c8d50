//! API keys as clients see them, and as they ask for them.

use chrono::{DateTime, Utc};
use poem_openapi::{ApiResponse, Object, payload::Json};
use uuid::Uuid;

use super::super::problem::Problem;
use super::super::schema::{KeyState, Nullable, Timestamp, word};
use crate::model::{self, ApiKey, Direction, Scope};
use crate::pipeline::keys::Wanted;
use crate::store::keys::KeyRow;

/// A page of the list.
#[derive(Debug, Object)]
#[oai(rename = "ApiKeyPage")]
pub struct KeyPage {
    /// Newest first.
    pub items: Vec<KeyItem>,
    /// Send it as `cursor` to get the next page; null on the last one.
    pub next_cursor: Nullable<String>,
}

/// An API key, without its secret part.
#[derive(Debug, Object)]
#[oai(rename = "ApiKey")]
pub struct KeyItem {
    /// Its id.
    id: Uuid,
    /// What it is for.
    name: String,
    /// The visible part: what stands between the first and the second `_` of the key.
    prefix: String,
    /// What it may do.
    scopes: Vec<Scope>,
    /// The calls that it opens.
    bounds: Bounds,
    /// Whether it is good.
    state: KeyState,
    /// When it was made.
    created_at: Timestamp,
    /// When it ends by itself; null = never.
    expires_at: Nullable<Timestamp>,
    /// When somebody has ended it.
    revoked_at: Nullable<Timestamp>,
    /// When it was used last, to the minute.
    last_used_at: Nullable<Timestamp>,
    /// The key that takes its place since a rotation.
    replaced_by: Nullable<Uuid>,
}

/// The calls that a key opens: those that are within all of these; null is no bound. All others are not there for it.
#[derive(Debug, Object)]
#[oai(rename = "ApiKeyBounds")]
struct Bounds {
    /// Which way they went.
    direction: Nullable<Direction>,
    /// What the caller's or the called number begins with, as the telephone system writes it.
    number_prefix: Nullable<String>,
    /// They occurred at this time or later.
    from: Nullable<Timestamp>,
    /// They occurred before this time.
    to: Nullable<Timestamp>,
}

/// A new API key. It is shown this once.
#[derive(Debug, Object)]
#[oai(rename = "CreatedApiKey")]
pub struct CreatedKey {
    #[oai(flatten)]
    item: KeyItem,
    /// The whole key, for the header `Authorization: Bearer KEY`. It cannot be shown again.
    key: String,
}

/// A key that is to be made.
#[derive(Debug, Object)]
#[oai(rename = "NewApiKey", deny_unknown_fields)]
pub struct NewKey {
    /// What it is for: 1 to 100 printable characters.
    #[oai(validator(min_length = 1, max_length = 100))]
    name: String,
    /// What it may do; all reading if there are none.
    #[oai(default)]
    scopes: Vec<Scope>,
    /// The calls that it opens; all if there are no bounds. None for a key with the scope `admin`.
    bounds: Option<NewBounds>,
    /// When it ends by itself; never if there is no time.
    expires_at: Option<Timestamp>,
}

/// The calls that a key is to open: those that are within all of these.
#[derive(Debug, Object)]
#[oai(rename = "NewApiKeyBounds", deny_unknown_fields)]
struct NewBounds {
    /// Which way they went.
    direction: Option<Direction>,
    /// What the caller's or the called number begins with, as the telephone system writes it: digits, and with a country a `+`
    /// in front of them.
    #[oai(validator(min_length = 1, max_length = 21))]
    number_prefix: Option<String>,
    /// They occurred at this time or later.
    from: Option<Timestamp>,
    /// They occurred before this time.
    to: Option<Timestamp>,
}

/// How a key is to be rotated.
#[derive(Debug, Object)]
#[oai(rename = "ApiKeyRotation", deny_unknown_fields)]
pub struct KeyRotation {
    /// How many hours the old key stays good besides the new one; it never outlives its own end.
    #[oai(default = "overlap_hours", validator(minimum(value = "0"), maximum(value = "720")))]
    pub overlap_hours: i64,
}

fn overlap_hours() -> i64 {
    24
}

/// A key was made.
#[derive(Debug, ApiResponse)]
pub enum KeyCreated {
    /// The new key, which is shown this once.
    #[oai(status = 201)]
    Created(Json<CreatedKey>),
}

impl KeyItem {
    /// A key's row as of `now`.
    pub fn new(row: KeyRow, now: DateTime<Utc>) -> Result<Self, Problem> {
        let state = match (row.revoked_at, row.expires_at) {
            (Some(_), _) => KeyState::Revoked,
            (None, Some(at)) if at <= now => KeyState::Expired,
            _ => KeyState::Valid,
        };
        Ok(Self {
            id: row.id,
            name: row.name,
            prefix: row.prefix,
            scopes: row.scopes.iter().map(|scope| word(scope)).collect::<Result<_, _>>()?,
            bounds: row.bounds.into(),
            state,
            created_at: row.created_at.into(),
            expires_at: Nullable::of(row.expires_at),
            revoked_at: Nullable::of(row.revoked_at),
            last_used_at: Nullable::of(row.last_used_at),
            replaced_by: row.replaced_by.into(),
        })
    }
}

impl CreatedKey {
    /// A key that was made just now.
    pub fn new(item: KeyItem, key: &ApiKey) -> Self {
        Self { item, key: key.expose().to_owned() }
    }
}

impl From<model::CallBounds> for Bounds {
    fn from(model::CallBounds { direction, number_prefix, from, to }: model::CallBounds) -> Self {
        let (from, to) = (Nullable::of(from), Nullable::of(to));
        Self { direction: direction.into(), number_prefix: number_prefix.into(), from, to }
    }
}

impl From<NewKey> for Wanted {
    fn from(NewKey { name, scopes, bounds, expires_at }: NewKey) -> Self {
        let bounds = bounds.map_or_else(model::CallBounds::default, |bounds| model::CallBounds {
            direction: bounds.direction,
            number_prefix: bounds.number_prefix,
            from: bounds.from.map(|time| time.0),
            to: bounds.to.map(|time| time.0),
        });
        Self { name, scopes, bounds, expires_at: expires_at.map(|time| time.0) }
    }
}
