//! `call_texts`: which calls speak of something, the newest first, and how well they fit.
//!
//! A common word is in most calls, so reading all of its matches is out of the question. The search goes back in time
//! instead, through stretches whose cells are words of the index, too (`moments_of` in `migrations/0012_search.sql`): both
//! together are found in the time that the stretch takes alone. A rare word is looked for at once, and a filter that few calls
//! pass leads to its calls first. Which of the three: `store/leads.rs`; which stretches: `store/stretches.rs`.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, PgExecutor, PgPool, Postgres, QueryBuilder};
use uuid::Uuid;

use super::bounded;
use super::call_list::{self, CallFilter};
use super::facts::Facts;
use super::leads::Lead;
use super::stretches::{Stretch, Stretches};
use super::tsquery;
use crate::model::CallBounds;

/// What somebody looks for.
#[derive(Debug, Clone)]
pub struct Words {
    /// For PostgreSQL's `tsquery`; says itself what of a call it may look at.
    query: String,
    /// The words of the language that are looked for, as the index has them.
    pub marks: Vec<String>,
    /// In which they were read.
    pub language: String,
    /// False = names, numbers and summaries only.
    spoken: bool,
    /// False = they only say what must not be there, for which the index would be read from end to end.
    pub(super) is_indexed: bool,
}

/// A call that fits.
#[derive(Debug, Clone, Copy, PartialEq, FromRow)]
pub struct Match {
    /// Call.
    pub call_id: Uuid,
    /// What lists are ordered by.
    pub occurred_at: DateTime<Utc>,
    /// How well it fits; 0 where nobody has asked yet.
    pub rank: f32,
}

/// The newest calls that fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Matches {
    /// Newest first.
    pub newest: Vec<Match>,
    /// Whether there are older ones.
    pub more: bool,
}

impl Matches {
    /// Of one more than was asked for.
    fn of(mut newest: Vec<Match>, most: usize) -> Self {
        let more = newest.len() > most;
        newest.truncate(most);
        Self { newest, more }
    }
}

/// Reads words in web-search syntax, with a [`tsquery::mark`] in the place of each number. `wanted` are the words that are to
/// be found, without syntax. `None` = nothing of it can be found, because it has only words such as `the`.
pub async fn words(
    db: impl PgExecutor<'_>,
    text: &str,
    numbers: &[Vec<String>],
    wanted: &str,
    spoken: bool,
) -> Result<Option<Words>, sqlx::Error> {
    // As in the index: what begins so is a fact there, and no word.
    let [text, wanted] = [text, wanted].map(|text| text.replace('~', " "));
    let row = sqlx::query!(
        r#"SELECT q.query::text AS "query!", numnode(q.query) AS "nodes!",
               tsvector_to_array(to_tsvector(s.language::regconfig, $2)) AS "marks!", s.language,
               querytree(q.query) NOT IN ('', 'T') AS "is_indexed!"
           FROM search_settings s
           CROSS JOIN LATERAL (SELECT websearch_to_tsquery(s.language::regconfig, $1) AS query) q"#,
        &text,
        &wanted
    )
    .fetch_one(db)
    .await?;
    let query = tsquery::with_numbers(&row.query, numbers);
    let query = if spoken { query } else { tsquery::outside_of_transcripts(&query) };
    let words = Words { query, marks: row.marks, language: row.language, spoken, is_indexed: row.is_indexed };
    Ok((row.nodes > 0).then_some(words))
}

/// A question that is complete.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// What is looked for.
    pub words: &'a Words,
    /// Among which calls; its order, place and limit do not count.
    pub filter: &'a CallFilter,
    /// The calls that may be found.
    pub bounds: &'a CallBounds,
    /// Where it begins.
    pub from: Option<Edge>,
    /// Whether anybody asks how well they fit.
    pub ranked: bool,
}

impl Search<'_> {
    /// The newest calls that fit and pass the filter, at most so many.
    pub async fn newest(&self, db: &mut PgConnection, most: usize) -> Result<Matches, sqlx::Error> {
        // One more than asked for tells whether there are more.
        let wanted = most + 1;
        let need = match Lead::of(&mut *db, self, wanted as f64).await? {
            Lead::Time(need) => need,
            Lead::Words => return Ok(Matches::of(self.fetch(db, self.by_words(None), wanted).await?, most)),
            Lead::Calls => return Ok(Matches::of(self.fetch(db, self.by_calls(), wanted).await?, most)),
        };
        let mut found = Vec::new();
        let mut stretches = Stretches::new(self.latest(), self.earliest(), need, self.words.is_indexed);
        while let Some(stretch) = stretches.next(&mut *db, found.len() as f64).await? {
            found.extend(self.fetch(&mut *db, self.by_words(Some(&stretch)), wanted - found.len()).await?);
            if found.len() > most {
                break;
            }
        }
        Ok(Matches::of(found, most))
    }

    /// Nobody asks for what is newer.
    fn latest(&self) -> Option<DateTime<Utc>> {
        [self.from.map(|edge| edge.at), self.filter.to, self.bounds.to].into_iter().flatten().min()
    }

    /// Nobody asks for what is older.
    fn earliest(&self) -> Option<DateTime<Utc>> {
        self.filter.from.max(self.bounds.from)
    }

    /// What the index knows of the filter.
    pub(super) fn facts(&self) -> Facts {
        Facts::of(self.filter, self.bounds)
    }

    /// The words, and that.
    pub(super) fn tsquery(&self) -> String {
        let (words, facts) = (&self.words.query, self.facts().tsquery());
        if facts.is_empty() { words.clone() } else { format!("( {words} ) & {facts}") }
    }

    /// Whether any call is left out, whatever its words.
    pub(super) fn narrows(&self) -> bool {
        self.filter.narrows() || !self.bounds.is_unbounded()
    }

    /// Whether anybody asks for a time.
    pub(super) fn has_time(&self) -> bool {
        self.latest().is_some() || self.earliest().is_some()
    }

    /// That a text is of the time that is asked for; begins with AND.
    pub(super) fn time(&self, query: &mut QueryBuilder<Postgres>, of: &str) {
        for to in [self.filter.to, self.bounds.to].into_iter().flatten() {
            query.push(format_args!(" AND {of}occurred_at < ")).push_bind(to);
        }
        if let Some(earliest) = self.earliest() {
            query.push(format_args!(" AND {of}occurred_at >= ")).push_bind(earliest);
        }
        if let Some(edge) = self.from {
            edge.condition(query, &format!("({of}occurred_at, {of}call_id)"));
        }
    }

    /// The first matches of these, which are `call_id`, `occurred_at` and the `place` of the row in `call_texts`.
    async fn fetch(
        &self,
        db: &mut PgConnection,
        mut matches: QueryBuilder<Postgres>,
        limit: usize,
    ) -> Result<Vec<Match>, sqlx::Error> {
        matches.push(" ORDER BY occurred_at DESC, call_id DESC LIMIT ").push_bind(limit as i64);
        matches.push(") SELECT m.call_id, m.occurred_at, ");
        if self.ranked {
            // The rank goes by all places of a word, whatever the query says of them, and by the length.
            let words = if self.words.spoken { "t.words" } else { "ts_filter(t.words, '{a,b}')" };
            matches.push(format_args!("ts_rank({words}, ")).push_bind(self.words.query.clone());
            matches.push("::text::tsquery, 1) AS rank FROM m JOIN call_texts t ON t.ctid = m.place");
        } else {
            matches.push("0::real AS rank FROM m");
        }
        matches.push(" ORDER BY m.occurred_at DESC, m.call_id DESC");
        matches.build_query_as().persistent(false).fetch_all(db).await
    }

    /// Those that the index of words finds, within a stretch of time.
    fn by_words(&self, stretch: Option<&Stretch>) -> QueryBuilder<Postgres> {
        // OFFSET 0 keeps the planner from beginning with the newest calls, whatever their words, and from reading the index of
        // times, too, of which the stretch says enough.
        let mut query = QueryBuilder::new(
            "WITH m AS (SELECT t.* FROM (SELECT call_id, occurred_at, ctid AS place FROM call_texts WHERE words @@ ",
        );
        let words = self.tsquery();
        let words = match stretch.and_then(Stretch::moments) {
            Some(moments) => format!("( {words} ) & ( {moments} )"),
            None => words,
        };
        query.push_bind(words).push("::text::tsquery OFFSET 0) t");
        let is_part = self.facts().is_part;
        query.push(if is_part { " JOIN calls c ON c.id = t.call_id WHERE true" } else { " WHERE true" });
        self.time(&mut query, "t.");
        if let Some(before) = stretch.and_then(|stretch| stretch.before) {
            query.push(" AND t.occurred_at < ").push_bind(before);
        }
        if is_part {
            call_list::conditions(&mut query, self.filter, self.bounds);
        }
        query
    }

    /// The newest calls that pass the filter, each asked for the words.
    fn by_calls(&self) -> QueryBuilder<Postgres> {
        let mut query = QueryBuilder::new(
            "WITH m AS (SELECT c.id AS call_id, c.occurred_at, t.place FROM (
                SELECT c.id, c.occurred_at FROM calls c WHERE true",
        );
        call_list::conditions(&mut query, self.filter, self.bounds);
        if let Some(edge) = self.from {
            edge.condition(&mut query, "(c.occurred_at, c.id)");
        }
        // OFFSET 0 keeps the planner from beginning with the words.
        query.push(" ORDER BY c.occurred_at DESC, c.id DESC OFFSET 0) c CROSS JOIN LATERAL (");
        query.push("SELECT ctid AS place FROM call_texts WHERE call_id = c.id AND words @@ ");
        query.push_bind(self.words.query.clone()).push("::text::tsquery OFFSET 0) t");
        query
    }
}

impl Matches {
    /// The best of them, best first, after the given one.
    pub fn best(&self, after: Option<Match>, limit: usize) -> Vec<Match> {
        let mut best: Vec<Match> =
            self.newest.iter().filter(|found| after.is_none_or(|after| after.is_before(found))).copied().collect();
        best.sort_by(Match::by_rank);
        best.truncate(limit);
        best
    }
}

impl Match {
    /// Better first; of equals the newer.
    fn by_rank(&self, other: &Self) -> Ordering {
        let place = |found: &Self| (found.occurred_at, found.call_id);
        other.rank.total_cmp(&self.rank).then_with(|| place(other).cmp(&place(self)))
    }

    fn is_before(&self, other: &Self) -> bool {
        self.by_rank(other) == Ordering::Less
    }
}

/// Says in which language texts are read. Those that were read in another one are read again by [`refresh`].
pub async fn speak(db: &PgPool, language: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE search_settings SET language = $1, stale_after = '00000000-0000-0000-0000-000000000000'
         WHERE language <> $1",
        language
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Reads some texts that are not in the index, or were read in another language. False = there are none left. Several
/// processes may do so at once: one works, the others hear that there is more to do.
pub async fn refresh(db: &PgPool, calls: i64) -> Result<bool, sqlx::Error> {
    let left = bounded(db, async |db| {
        sqlx::query_scalar!(
            r#"WITH setting AS (SELECT stale_after FROM search_settings
                                WHERE stale_after IS NOT NULL FOR UPDATE SKIP LOCKED),
                   batch AS (SELECT id, state FROM calls
                            WHERE id > (SELECT stale_after FROM setting) ORDER BY id LIMIT $1),
                   -- A call that is still on its way has nothing to find; it is read when it has.
                   done AS (SELECT index_calls(array_agg(id)) FROM batch WHERE state <> 'processing'
                            OR EXISTS (SELECT FROM call_summaries s WHERE s.call_id = batch.id))
               UPDATE search_settings SET stale_after = (SELECT id FROM batch ORDER BY id DESC LIMIT 1)
               FROM setting, done
               RETURNING search_settings.stale_after IS NOT NULL AS "left!""#,
            calls
        )
        .fetch_optional(db)
        .await
    })
    .await?;
    match left {
        Some(left) => Ok(left),
        None => is_stale(db).await,
    }
}

async fn is_stale(db: &PgPool) -> Result<bool, sqlx::Error> {
    bounded(db, async |db| {
        sqlx::query_scalar!(r#"SELECT stale_after IS NOT NULL AS "stale!" FROM search_settings"#).fetch_one(db).await
    })
    .await
}

/// Where a search begins, among the newest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Edge {
    /// [`CallRow::occurred_at`](super::calls::CallRow::occurred_at) of the call there.
    pub at: DateTime<Utc>,
    /// Its id, which decides between equals.
    pub id: Uuid,
    /// Whether that call itself is looked for, too.
    pub inclusive: bool,
}

impl Edge {
    /// That a call, whose place is in these columns, is not before it; begins with AND.
    pub(super) fn condition(self, query: &mut QueryBuilder<Postgres>, columns: &str) {
        query.push(format_args!(" AND {columns} {} (", if self.inclusive { "<=" } else { "<" }));
        query.push_bind(self.at).push(", ").push_bind(self.id).push(")");
    }
}
