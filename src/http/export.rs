//! What all exports have alike: they are read page by page while they are sent, each page only as long as the key is good
//! and written down in the audit log before it leaves, and there are few of them at the same time.

use std::io;

use futures::{Stream, stream};
use poem::Request;
use sqlx::PgPool;
use uuid::Uuid;

use super::auth::Key;
use super::problem::Problem;
use super::seats::{Seat, Seats};
use crate::store::{self, audit};

/// Most exports of one key in this process, and of all keys: each is at work in the database for as long as it takes.
const OF_KEY: usize = 2;
const OF_ALL: usize = 4;

/// The exports that are under way.
#[derive(Clone)]
pub struct Exports(Seats);

impl Default for Exports {
    fn default() -> Self {
        Self(Seats::new(OF_KEY, OF_ALL))
    }
}

impl Exports {
    /// Begins one and writes it down. `action` and `object` are the words of the audit log.
    pub async fn begin(
        &self,
        db: &PgPool,
        key: &Key,
        request: &Request,
        action: &str,
        object: &str,
    ) -> Result<Export, Problem> {
        let seat = self.0.take(key.id()).ok_or_else(Problem::too_many_exports)?;
        let note = audit::note(db, &key.actor(request), action, object, 0).await?;
        Ok(Export { db: db.clone(), key: key.id(), note, _seat: seat })
    }
}

/// An export under way.
pub struct Export {
    db: PgPool,
    key: Uuid,
    /// Its row in the audit log.
    note: i64,
    _seat: Seat,
}

/// What is exported, page by page.
pub trait Pages: Send + 'static {
    /// The next page.
    fn next(&mut self) -> impl Future<Output = Result<Page, Problem>> + Send;
}

/// A page of an export.
pub struct Page {
    /// Its lines.
    pub text: String,
    /// How many they are.
    pub count: i64,
    /// Whether nothing follows.
    pub is_last: bool,
}

impl Export {
    /// The lines, a page at a time: the memory is that of a page, and no transaction is open in between.
    pub fn lines(self, head: String, pages: impl Pages) -> impl Stream<Item = io::Result<String>> + Send {
        stream::try_unfold(Some((self, pages, head)), |state| async move {
            let Some((export, mut pages, mut text)) = state else { return Ok(None) };
            let page = export.page(&mut pages).await.map_err(broken_off)?;
            text.push_str(&page.text);
            Ok(Some((text, (!page.is_last).then_some((export, pages, String::new())))))
        })
    }

    async fn page(&self, pages: &mut impl Pages) -> Result<Page, Problem> {
        if !store::keys::is_active(&self.db, self.key).await? {
            return Err(Problem::unauthorized());
        }
        let page = pages.next().await?;
        audit::note_length(&self.db, self.note, page.count).await?;
        Ok(page)
    }
}

fn broken_off(problem: Problem) -> io::Error {
    tracing::warn!(%problem, "An export was broken off.");
    io::Error::other("the export was broken off")
}
