//! What administrators do to API keys, each act with its row in the audit log and in the caller's transaction.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::model::{Actor, ApiKey, CallBounds, Scope};
use crate::store::audit::{self, Outcome};
use crate::store::keys::{self, KeyRow, NewKey};

/// Most characters of a name.
pub const LONGEST_NAME: usize = 100;
/// Most digits of a bound on numbers: E.164 has 15, and an exchange may put some before them.
const LONGEST_NUMBER: usize = 20;

/// What a new key is to be.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What it is for.
    pub name: String,
    /// What it may do; none = all reading.
    pub scopes: Vec<Scope>,
    /// The calls that it opens.
    pub bounds: CallBounds,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A field of [`Wanted`] that is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfit {
    /// Its name.
    pub field: &'static str,
    /// What should be there.
    pub expected: &'static str,
}

impl Wanted {
    /// Everything that is wrong with it.
    pub fn check(&self, now: DateTime<Utc>) -> Vec<Unfit> {
        let plain = |text: &str, longest| {
            (1..=longest).contains(&text.chars().count()) && !text.chars().any(char::is_control) && text.trim() == text
        };
        let bounds = &self.bounds;
        let checks = [
            (plain(&self.name, LONGEST_NAME), "name", "1 to 100 printable characters, and no blank at the ends"),
            (self.expires_at.is_none_or(|at| at > now), "expires_at", "a time that is not over"),
            (
                bounds.number_prefix.as_deref().is_none_or(begins_number),
                "bounds.number_prefix",
                "the first digits of a number as the telephone system writes it, such as +4930 or 1001",
            ),
            (bounds.from.zip(bounds.to).is_none_or(|(from, to)| from < to), "bounds.to", "a time after `bounds.from`"),
            (
                bounds.is_unbounded() || !self.scopes.contains(&Scope::Admin),
                "bounds",
                "no bounds: a key with the scope `admin` could make itself one without them",
            ),
        ];
        checks.into_iter().filter(|(fits, ..)| !fits).map(|(_, field, expected)| Unfit { field, expected }).collect()
    }

    fn scopes(&self) -> Vec<String> {
        let chosen = if self.scopes.is_empty() { Scope::READING } else { &self.scopes };
        Scope::ALL.iter().filter(|scope| chosen.contains(scope)).map(ToString::to_string).collect()
    }
}

/// Keeps `key` as one that is good from now on. `wanted` was checked.
pub async fn create(
    db: &mut PgConnection,
    actor: &Actor,
    key: &ApiKey,
    wanted: &Wanted,
) -> Result<KeyRow, sqlx::Error> {
    let (prefix, hash, scopes) = (key.prefix(), &key.hash(), &wanted.scopes());
    let Wanted { name, bounds, expires_at, .. } = wanted;
    let row = keys::insert(db, &NewKey { name, prefix, hash, scopes, bounds, expires_at: *expires_at }).await?;
    audit::insert(db, actor, "keys.create", &named(&row), 1, Outcome::Done).await?;
    Ok(row)
}

/// What came of a rotation.
#[derive(Debug)]
pub enum Rotation {
    /// The new key.
    Done(KeyRow),
    /// The old key is not good any more, or its place was taken before: two keys at a time are enough.
    Refused(KeyRow),
    /// There is no such key.
    NotFound,
}

/// Keeps `key` as one with the name and rights of an old one and as long a life, beginning `now`. The old one is good for
/// as long as `overlap`, if it does not end before.
pub async fn rotate(
    db: &mut PgConnection,
    actor: &Actor,
    key: &ApiKey,
    old: Uuid,
    now: DateTime<Utc>,
    overlap: TimeDelta,
) -> Result<Rotation, sqlx::Error> {
    let is_good = keys::hold(db, old).await?;
    let Some(old) = keys::get(db, old).await? else {
        audit::insert(db, actor, "keys.rotate", &format!("key {old}"), 0, Outcome::Refused).await?;
        return Ok(Rotation::NotFound);
    };
    if !is_good {
        audit::insert(db, actor, "keys.rotate", &named(&old), 0, Outcome::Refused).await?;
        return Ok(Rotation::Refused(old));
    }
    let (prefix, hash, scopes) = (key.prefix(), &key.hash(), &old.scopes);
    let (name, bounds) = (&old.name, &old.bounds);
    let expires_at = old.expires_at.map(|at| now + (at - old.created_at));
    let new = keys::insert(db, &NewKey { name, prefix, hash, scopes, bounds, expires_at }).await?;
    keys::replace(db, old.id, new.id, now + overlap).await?;
    audit::insert(db, actor, "keys.rotate", &format!("{} by {}", named(&old), new.prefix), 1, Outcome::Done).await?;
    Ok(Rotation::Done(new))
}

/// Ends a key at once, and for ever. `None` = there is no such key, which is written down all the same: commit. Repeated, it keeps the first time.
pub async fn revoke(db: &mut PgConnection, actor: &Actor, id: Uuid) -> Result<Option<KeyRow>, sqlx::Error> {
    let revoked = keys::revoke(db, id).await?;
    let Some(row) = keys::get(db, id).await? else {
        audit::insert(db, actor, "keys.revoke", &format!("key {id}"), 0, Outcome::Refused).await?;
        return Ok(None);
    };
    let outcome = if revoked { Outcome::Done } else { Outcome::Unchanged };
    audit::insert(db, actor, "keys.revoke", &named(&row), i64::from(revoked), outcome).await?;
    Ok(Some(row))
}

fn named(row: &KeyRow) -> String {
    format!("{} ({})", row.name, row.prefix)
}

/// Anything else begins no number, and a key for it would open nothing.
fn begins_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    (1..=LONGEST_NUMBER).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::model::Direction;

    fn wanted() -> Wanted {
        Wanted { name: "report".to_owned(), scopes: vec![], bounds: CallBounds::default(), expires_at: None }
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[rstest]
    #[case(Wanted { name: String::new(), ..wanted() }, &["name"])]
    #[case(Wanted { name: "a\nb".into(), ..wanted() }, &["name"])]
    #[case(Wanted { name: "x".repeat(101), expires_at: Some(at("2026-11-16T00:00:00Z")), ..wanted() }, &["name", "expires_at"])]
    #[case(Wanted { bounds: CallBounds { number_prefix: Some(" ".into()), ..Default::default() }, ..wanted() },
        &["bounds.number_prefix"])]
    #[case(Wanted { bounds: CallBounds { number_prefix: Some("+49 30".into()), ..Default::default() }, ..wanted() },
        &["bounds.number_prefix"])]
    #[case(Wanted { bounds: CallBounds { number_prefix: Some("+49%".into()), ..Default::default() }, ..wanted() },
        &["bounds.number_prefix"])]
    #[case(Wanted { bounds: CallBounds { number_prefix: Some("1001".into()), ..Default::default() }, ..wanted() }, &[])]
    #[case(Wanted { bounds: CallBounds { from: Some(at("2026-02-01T00:00:00Z")), to: Some(at("2026-02-01T00:00:00Z")),
        ..Default::default() }, ..wanted() }, &["bounds.to"])]
    #[case(Wanted { bounds: CallBounds { direction: Some(Direction::Inbound), ..Default::default() },
        scopes: vec![Scope::Admin], ..wanted() }, &["bounds"])]
    #[case(Wanted { bounds: CallBounds { number_prefix: Some("+1555".into()), from: Some(at("2026-02-01T00:00:00Z")),
        ..Default::default() }, ..wanted() }, &[])]
    fn a_wanted_key_is_checked(#[case] wanted: Wanted, #[case] fields: &[&str]) {
        let unfit = wanted.check(at("2026-11-17T00:00:00Z"));
        assert_eq!(unfit.iter().map(|unfit| unfit.field).collect::<Vec<_>>(), fields);
    }

    #[test]
    fn scopes_are_in_order_and_once() {
        assert_eq!(wanted().scopes(), ["calls:read", "transcripts:read", "recordings:read"]);
        let scopes = vec![Scope::Admin, Scope::CallsRead, Scope::Admin];
        assert_eq!(Wanted { scopes, ..wanted() }.scopes(), ["calls:read", "admin"]);
    }
}
