//! `/api/keys/`: API keys, for those who administer them.

mod view;

use chrono::TimeDelta;
use poem::Request;
use poem::http::StatusCode;
use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use sqlx::PgPool;
use uuid::Uuid;

use super::auth::Key;
use super::cursor::Cursor;
use super::idempotency::{Interruption, Once, secret};
use super::json_body::JsonBody;
use super::openapi::Group;
use super::problem::{FieldError, Problem};
use super::query;
use crate::model::{ApiKey, Scope, clock};
use crate::pipeline::keys::{self, Rotation, Unfit, Wanted};
use crate::store;
use view::{CreatedKey, KeyCreated, KeyItem, KeyPage, KeyRotation, NewKey};

/// The field of an answer that is shown once and kept nowhere.
const SECRET_FIELD: &str = "key";

/// The operations on keys.
pub struct KeysApi;

fn default_limit() -> i64 {
    50
}

#[OpenApi(prefix_path = "/api/keys", tag = "Group::Keys")]
impl KeysApi {
    /// List API keys
    ///
    /// Newest first, revoked and expired ones included. Needs the scope `admin`.
    #[oai(path = "/", method = "get", operation_id = "listKeys")]
    async fn list(
        &self,
        key: Key,
        request: &Request,
        db: Data<&PgPool>,
        /// Most keys of a page.
        #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<i64>,
        /// `next_cursor` of the page before, as it came.
        cursor: Query<Option<String>>,
    ) -> Result<Json<KeyPage>, Problem> {
        key.require(Scope::Admin)?;
        query::only(request, &["limit", "cursor"])?;
        let read = |text: String| Cursor::decode(&text, &[]).ok_or_else(Problem::bad_cursor);
        let after = cursor.0.map(read).transpose()?.map(|cursor| (cursor.at, cursor.id));
        // One more than asked for tells whether there is a next page.
        let mut rows = store::keys::list(&db, after, limit.0 + 1).await?;
        let is_last = rows.len() <= limit.0 as usize;
        rows.truncate(limit.0 as usize);
        let last = rows.last().filter(|_| !is_last);
        let next_cursor = last.map(|row| Cursor { at: row.created_at, id: row.id }.encode(&[])).into();
        let now = clock::now();
        let items = rows.into_iter().map(|row| KeyItem::new(row, now)).collect::<Result<_, _>>()?;
        Ok(Json(KeyPage { items, next_cursor }))
    }

    /// Create an API key
    ///
    /// The answer has the key itself, this once: we keep a hash of it. Needs the scope `admin`.
    #[oai(path = "/", method = "post", operation_id = "createKey")]
    async fn create(
        &self,
        key: Key,
        request: &Request,
        db: Data<&PgPool>,
        new: JsonBody<NewKey>,
    ) -> Result<KeyCreated, Interruption> {
        key.require(Scope::Admin)?;
        query::only(request, &[])?;
        let wanted = Wanted::from(new.0);
        let unfit: Vec<FieldError> = wanted.check(clock::now()).into_iter().map(FieldError::from).collect();
        if !unfit.is_empty() {
            return Err(Problem::invalid_fields(unfit).into());
        }
        let mut once = begin(&db, &key, request).await?;
        let made = ApiKey::from_bits(&once.secret(&key));
        let row = keys::create(once.transaction(), &key.actor(request), &made, &wanted).await?;
        answer(once, row, &made).await
    }

    /// Get an API key
    ///
    /// Without its secret part. Needs the scope `admin`.
    #[oai(path = "/:id", method = "get", operation_id = "getKey")]
    async fn get(
        &self,
        key: Key,
        request: &Request,
        db: Data<&PgPool>,
        /// Id of the key.
        id: Path<Uuid>,
    ) -> Result<Json<KeyItem>, Problem> {
        key.require(Scope::Admin)?;
        query::only(request, &[])?;
        let mut connection = store::Guarded::acquire(&db).await?;
        let row = store::keys::get(&mut connection, id.0).await?;
        connection.release();
        KeyItem::new(row.ok_or_else(Problem::key_not_found)?, clock::now()).map(Json)
    }

    /// Revoke an API key
    ///
    /// At once and for ever; it stays in the list. May be repeated. Needs the scope `admin`.
    #[oai(path = "/:id/revoke", method = "post", operation_id = "revokeKey")]
    async fn revoke(
        &self,
        key: Key,
        request: &Request,
        db: Data<&PgPool>,
        /// Id of the key.
        id: Path<Uuid>,
    ) -> Result<Json<KeyItem>, Interruption> {
        key.require(Scope::Admin)?;
        query::only(request, &[])?;
        let mut once = Once::begin(&db, &key, request).await?;
        let row = keys::revoke(once.transaction(), &key.actor(request), id.0).await?;
        let Some(row) = row else { return Err(once.refuse(Problem::key_not_found()).await.into()) };
        let item = KeyItem::new(row, clock::now())?;
        once.finish(StatusCode::OK, &item).await?;
        Ok(Json(item))
    }

    /// Rotate an API key
    ///
    /// Makes a key with the same name, rights and length of life. The old one stays good for a while, so that its users
    /// can change over; a key that was rotated cannot be rotated again. Needs the scope `admin`.
    #[oai(path = "/:id/rotate", method = "post", operation_id = "rotateKey")]
    async fn rotate(
        &self,
        key: Key,
        request: &Request,
        db: Data<&PgPool>,
        /// Id of the old key.
        id: Path<Uuid>,
        how: JsonBody<KeyRotation>,
    ) -> Result<KeyCreated, Interruption> {
        key.require(Scope::Admin)?;
        query::only(request, &[])?;
        let mut once = begin(&db, &key, request).await?;
        let made = ApiKey::from_bits(&once.secret(&key));
        let (actor, overlap) = (key.actor(request), TimeDelta::hours(how.0.overlap_hours));
        match keys::rotate(once.transaction(), &actor, &made, id.0, clock::now(), overlap).await? {
            Rotation::Done(row) => answer(once, row, &made).await,
            Rotation::Refused(_) => Err(once.refuse(Problem::key_not_rotatable()).await.into()),
            Rotation::NotFound => Err(once.refuse(Problem::key_not_found()).await.into()),
        }
    }
}

/// A repetition gets the same key again, which is made anew from what only its caller has.
async fn begin(db: &PgPool, key: &Key, request: &Request) -> Result<Once, Interruption> {
    let again =
        |answer: &store::idempotent_answers::Answer| ApiKey::from_bits(&secret(key, &answer.nonce)).expose().to_owned();
    Once::begin(db, key, request).await.map_err(|interruption| interruption.with(SECRET_FIELD, again))
}

/// What is kept for repetitions has no secret in it.
async fn answer(once: Once, row: store::keys::KeyRow, made: &ApiKey) -> Result<KeyCreated, Interruption> {
    let item = KeyItem::new(row, clock::now())?;
    once.finish(StatusCode::CREATED, &item).await?;
    Ok(KeyCreated::Created(Json(CreatedKey::new(item, made))))
}

impl From<Unfit> for FieldError {
    fn from(Unfit { field, expected }: Unfit) -> Self {
        Self { field: field.to_owned(), expected: expected.to_owned() }
    }
}
