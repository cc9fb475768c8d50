//! `call_texts`: which calls speak of something, the newest first, and how well they fit.
//!
//! A common word is in most calls, so reading all of its matches is out of the question. The search goes back in time
//! instead, through stretches that are longer each time: a stretch is a word of the index, too (`moments_of` in
//! `migrations/0012_search.sql`), and both together are found in the time that the stretch takes alone. A rare word is
//! looked for at once, and a filter that fewer calls pass than have the word leads to its calls first. Which of the three:
//! `store/leads.rs`; which stretches: `store/stretches.rs`.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgPool, Postgres, QueryBuilder};
use uuid::Uuid;

use super::bounded;
use super::call_list::{self, CallFilter};
use super::leads::{self, Lead};
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
    /// False = names, numbers and summaries only.
    spoken: bool,
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
    db: &PgPool,
    text: &str,
    numbers: &[Vec<String>],
    wanted: &str,
    spoken: bool,
) -> Result<Option<Words>, sqlx::Error> {
    let row = bounded(db, async |db| {
        sqlx::query!(
            r#"SELECT q.query::text AS "query!", numnode(q.query) AS "nodes!",
                   tsvector_to_array(to_tsvector(s.language::regconfig, $2)) AS "marks!"
               FROM search_settings s
               CROSS JOIN LATERAL (SELECT websearch_to_tsquery(s.language::regconfig, $1) AS query) q"#,
            text,
            wanted
        )
        .fetch_one(db)
        .await
    })
    .await?;
    let query = tsquery::with_numbers(&row.query, numbers);
    let query = if spoken { query } else { tsquery::outside_of_transcripts(&query) };
    Ok((row.nodes > 0).then_some(Words { query, marks: row.marks, spoken }))
}

/// The newest calls that fit and pass the filter, at most so many, from this edge on.
pub async fn newest(
    db: &PgPool,
    words: &Words,
    filter: &CallFilter,
    bounds: &CallBounds,
    from: Option<Edge>,
    most: usize,
) -> Result<Matches, sqlx::Error> {
    bounded(db, async |db| {
        let lead = Lead::of(&mut *db, &words.query, filter, bounds).await?;
        if lead != Lead::Time {
            // One more than asked for tells whether there are more.
            let limit = most as i64 + 1;
            let mut query = match lead {
                Lead::Calls => leads::statement(&words.query, filter, bounds, from, limit),
                _ => statement(words, filter, bounds, from, &Stretch::ALL, limit),
            };
            let found = query.build_query_as().persistent(false).fetch_all(&mut *db).await?;
            return Ok(Matches::of(found, most));
        }
        let mut found = Vec::new();
        let mut stretches = Stretches::new(latest(from, filter, bounds), earliest(filter, bounds));
        while let Some(stretch) = stretches.next(db).await? {
            let limit = (most + 1 - found.len()) as i64;
            let mut query = statement(words, filter, bounds, from, &stretch, limit);
            let matches: Vec<Match> = query.build_query_as().persistent(false).fetch_all(&mut *db).await?;
            found.extend(matches);
            if found.len() > most {
                break;
            }
        }
        Ok(Matches::of(found, most))
    })
    .await
}

/// The best of these matches, best first, after the given one.
pub async fn best(
    db: &PgPool,
    words: &Words,
    matches: &[Match],
    after: Option<Match>,
    limit: i64,
) -> Result<Vec<Match>, sqlx::Error> {
    let ids: Vec<Uuid> = matches.iter().map(|found| found.call_id).collect();
    bounded(db, async |db| {
        sqlx::query_as!(
            Match,
            r#"SELECT call_id, occurred_at, rank AS "rank!"
               FROM (SELECT call_id, occurred_at,
                         -- The rank goes by all places of a word, whatever the query says of them, and by the length.
                         ts_rank(CASE WHEN $7 THEN words ELSE ts_filter(words, '{a,b}') END, $2::text::tsquery, 1) AS rank
                     FROM call_texts WHERE call_id = ANY ($1)) ranked
               WHERE $3::real IS NULL OR (rank, occurred_at, call_id) < ($3, $4, $5)
               ORDER BY rank DESC, occurred_at DESC, call_id DESC LIMIT $6"#,
            &ids,
            words.query,
            after.map(|after| after.rank),
            after.map(|after| after.occurred_at),
            after.map(|after| after.call_id),
            limit,
            words.spoken
        )
        .fetch_all(db)
        .await
    })
    .await
}

/// The words of these words, as the index has them: `(word, entry)`. Those that the index leaves out are missing.
pub async fn entries(db: &PgPool, words: &[String]) -> Result<Vec<(String, String)>, sqlx::Error> {
    let rows = bounded(db, async |db| {
        sqlx::query!(
            r#"SELECT word AS "word!", entry AS "entry!"
               FROM search_settings s, unnest($1::text[]) word,
                   unnest(tsvector_to_array(to_tsvector(s.language::regconfig, word))) entry"#,
            words
        )
        .fetch_all(db)
        .await
    })
    .await?;
    Ok(rows.into_iter().map(|row| (row.word, row.entry)).collect())
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

/// Nobody asks for what is newer.
fn latest(from: Option<Edge>, filter: &CallFilter, bounds: &CallBounds) -> Option<DateTime<Utc>> {
    [from.map(|edge| edge.at), filter.to, bounds.to].into_iter().flatten().min()
}

/// Nobody asks for what is older.
fn earliest(filter: &CallFilter, bounds: &CallBounds) -> Option<DateTime<Utc>> {
    filter.from.max(bounds.from)
}

fn statement(
    words: &Words,
    filter: &CallFilter,
    bounds: &CallBounds,
    from: Option<Edge>,
    stretch: &Stretch,
    limit: i64,
) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new("SELECT t.call_id, t.occurred_at, 0::real AS rank FROM call_texts t");
    let narrows = leads::narrows(filter, bounds);
    query.push(if narrows { " JOIN calls c ON c.id = t.call_id" } else { "" });
    query.push(" WHERE t.words @@ (").push_bind(words.query.clone()).push("::text::tsquery");
    // That it is not before the start is said by this, and not again: the planner would ask the index of times, too.
    if let Some(moment) = stretch.moment() {
        query.push(" && ").push_bind(moment).push("::text::tsquery");
    }
    query.push(")");
    if let Some(end) = stretch.end {
        query.push(" AND t.occurred_at < ").push_bind(end);
    }
    if let Some(edge) = from {
        edge.condition(&mut query, "(t.occurred_at, t.call_id)");
    }
    if narrows {
        call_list::conditions(&mut query, filter, bounds);
    }
    query.push(" ORDER BY t.occurred_at DESC, t.call_id DESC LIMIT ").push_bind(limit);
    query
}
