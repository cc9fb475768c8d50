//! What people do to action items, each act with its row in the audit log.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::model::{Actor, CallBounds};
use crate::store::actions::{self, ActionRow};
use crate::store::audit::{self, Outcome};

/// The state of an item that is to be done.
pub const OPEN: &str = "open";
/// The state of an item that is done.
pub const DONE: &str = "done";

/// Who wants to change which item.
#[derive(Debug, Clone, Copy)]
pub struct Act<'a> {
    /// Who.
    pub actor: &'a Actor,
    /// What: `actions.edit`, `actions.complete`, `actions.reopen`.
    pub name: &'static str,
    /// The item.
    pub id: Uuid,
    /// The calls that the actor sees; an item of another one is not there.
    pub bounds: &'a CallBounds,
    /// The version that the actor has seen; `None` = whatever it is.
    pub version: Option<i32>,
}

/// What is to be changed; `None` = it stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// What to do.
    pub text: Option<String>,
    /// Who does it; `Some(None)` = nobody yet.
    pub owner: Option<Option<String>>,
    /// Until when; `Some(None)` = at any time.
    pub due_at: Option<Option<DateTime<Utc>>>,
    /// [`OPEN`] or [`DONE`].
    pub state: Option<&'static str>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Changed {
    /// It was done; the item as it is now.
    Done(ActionRow),
    /// It was so already.
    Unchanged(ActionRow),
    /// There is no such item, or the actor may not see it.
    NotFound,
    /// The item has another version.
    Conflict,
}

/// Changes an item within the caller's transaction, which has to be committed whatever comes of it: the row of the audit
/// log is a part of it.
pub async fn change(db: &mut PgConnection, act: Act<'_>, change: &Change) -> Result<Changed, sqlx::Error> {
    let changed = match actions::find(db, act.id, act.bounds, true).await? {
        None => Changed::NotFound,
        Some(item) if act.version.is_some_and(|version| version != item.version) => Changed::Conflict,
        Some(item) => {
            let wanted = change.applied(&item);
            if wanted == item {
                Changed::Unchanged(item)
            } else {
                actions::edit(db, &wanted).await?.map_or(Changed::Conflict, Changed::Done)
            }
        }
    };
    let outcome = match changed {
        Changed::Done(_) => Outcome::Done,
        Changed::Unchanged(_) => Outcome::Unchanged,
        Changed::NotFound | Changed::Conflict => Outcome::Refused,
    };
    let affected = i64::from(outcome == Outcome::Done);
    audit::insert(db, act.actor, act.name, &format!("action item {}", act.id), affected, outcome).await?;
    Ok(changed)
}

impl Change {
    fn applied(&self, item: &ActionRow) -> ActionRow {
        let mut item = item.clone();
        if let Some(text) = &self.text {
            item.text.clone_from(text);
        }
        if let Some(owner) = &self.owner {
            item.owner.clone_from(owner);
        }
        if let Some(due_at) = self.due_at.filter(|due_at| *due_at != item.due_at) {
            item.due_at = due_at;
            // They named another time.
            item.due_words = None;
        }
        if let Some(state) = self.state {
            state.clone_into(&mut item.state);
        }
        item
    }
}
