//! Pages of calls: those that pass a filter, or those that speak of something.

use std::collections::HashMap;

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::super::cursor::{self, Cursor};
use super::super::problem::Problem;
use super::excerpts::{self, Excerpt, Finder, Texts};
use super::filter::Selection;
use super::search::Question;
use super::view::{CallItem, CallPage, ListItem, Ranked};
use crate::model::{CallBounds, Transcript};
use crate::queue;
use crate::store::bounded;
use crate::store::call_list::{self, CallFilter, ListedCall, Place};
use crate::store::search::{self, Edge, Match, Matches, Search, Words};
use crate::store::summaries;
use crate::store::vocabulary::{Look, Vocabulary};

/// Of a common word, so many of the newest matches are compared.
const RANKED: usize = 1_000;
/// Bytes of a place in a list, and of one in a search: how well it fits, where it stands, and which match is the newest,
/// because calls that come later would change what is compared.
const PLACE: usize = 4 + Cursor::PLACE;
const RANK: usize = PLACE + Cursor::PLACE;

/// Who asks for which page.
pub struct Asked<'a> {
    /// The calls that the key opens.
    pub bounds: &'a CallBounds,
    /// Whether it opens transcripts, too.
    pub spoken: bool,
    /// What is known of words.
    pub vocabulary: &'a Vocabulary,
    /// Most calls of the page.
    pub limit: usize,
    /// From the page before.
    pub cursor: Option<String>,
    /// What a cursor is bound to.
    pub choice: Vec<String>,
}

impl Asked<'_> {
    fn choice(&self) -> Vec<Option<&str>> {
        self.choice.iter().map(|text| Some(text.as_str())).collect()
    }

    fn open<const LENGTH: usize>(&self) -> Result<Option<[u8; LENGTH]>, Problem> {
        let opened = |text: &String| cursor::open(text, &self.choice()).ok_or_else(Problem::bad_cursor);
        self.cursor.as_ref().map(opened).transpose()
    }

    fn seal(&self, place: &[u8]) -> String {
        cursor::seal(place, &self.choice())
    }
}

/// A list that is read page by page, in the order of its filter.
pub struct Reading {
    filter: CallFilter,
    words: Option<Words>,
}

/// A page of it.
pub struct ListedPage {
    /// The calls.
    pub items: Vec<CallItem>,
    /// Whether nothing follows.
    pub is_last: bool,
}

impl Reading {
    /// At its start. `spoken` = whether transcripts are looked through, too.
    pub async fn new(db: &PgPool, selection: Selection, spoken: bool) -> Result<Self, Problem> {
        let words = match &selection.question {
            Some(question) => Some(bounded(db, async |db| words_of(db, question, spoken).await).await?),
            None => None,
        };
        Ok(Self { filter: selection.filter, words })
    }
}

/// The next calls, at most so many.
pub async fn next_page(
    db: &PgPool,
    reading: &mut Reading,
    bounds: &CallBounds,
    limit: usize,
) -> Result<ListedPage, Problem> {
    let Reading { filter, words } = reading;
    bounded(db, async |db| read_page(db, filter, words.as_ref(), bounds, limit).await).await
}

async fn read_page(
    db: &mut PgConnection,
    filter: &mut CallFilter,
    words: Option<&Words>,
    bounds: &CallBounds,
    limit: usize,
) -> Result<ListedPage, Problem> {
    let (calls, is_last) = match words {
        None => {
            filter.limit = limit as i64;
            let calls = call_list::list(&mut *db, filter, bounds).await?;
            filter.after = calls.last().map(ListedCall::place);
            let is_last = calls.len() < limit;
            (calls, is_last)
        }
        Some(words) => {
            let edge = filter.after.map(|Place { at, id, .. }| Edge { at, id, inclusive: false });
            let search = Search { words, filter, bounds, from: edge, ranked: false };
            let Matches { newest, more } = search.newest(&mut *db, limit).await?;
            filter.after = newest.last().map(|last| Place { key: 0, at: last.occurred_at, id: last.call_id });
            (calls_of(&mut *db, &newest, bounds).await?, !more)
        }
    };
    Ok(ListedPage { items: items(db, calls).await?, is_last })
}

async fn words_of(db: &mut PgConnection, question: &Question, spoken: bool) -> Result<Words, Problem> {
    let Question { text, numbers, wanted } = question;
    let words = search::words(db, text, numbers, wanted, spoken).await?;
    words.ok_or_else(|| Problem::bad_parameter("q", "more than words that are in every text"))
}

/// The calls of these matches, in their order. That they are within the bounds was found in the index of words, and is held
/// against their rows once more.
async fn calls_of(db: &mut PgConnection, matches: &[Match], bounds: &CallBounds) -> Result<Vec<ListedCall>, Problem> {
    let ids: Vec<Uuid> = matches.iter().map(|found| found.call_id).collect();
    let calls = call_list::these(db, &ids, bounds).await?;
    let mut calls: HashMap<Uuid, ListedCall> = calls.into_iter().map(|listed| (listed.call.id, listed)).collect();
    Ok(ids.iter().filter_map(|id| calls.remove(id)).collect())
}

/// A page. The number of queries does not depend on how long it is.
pub async fn page(db: &PgPool, selection: Selection, asked: &Asked<'_>) -> Result<CallPage, Problem> {
    let Selection { filter, question, by_relevance } = selection;
    match question {
        None => bounded(db, async |db| filtered(db, filter, asked).await).await,
        Some(question) => found(db, filter, &question, by_relevance, asked).await,
    }
}

async fn filtered(db: &mut PgConnection, mut filter: CallFilter, asked: &Asked<'_>) -> Result<CallPage, Problem> {
    filter.after = asked.open()?.map(|place| read_place(place).ok_or_else(Problem::bad_cursor)).transpose()?;
    // One more than asked for tells whether there is a next page.
    filter.limit = asked.limit as i64 + 1;
    let mut calls = call_list::list(&mut *db, &filter, asked.bounds).await?;
    let is_last = calls.len() <= asked.limit;
    calls.truncate(asked.limit);
    let last = calls.last().filter(|_| !is_last).map(|call| asked.seal(&place_bytes(call.place())));
    let items = items(db, calls).await?.into_iter().map(|item| ListItem::new(item, Vec::new())).collect();
    Ok(CallPage { items, next_cursor: last.into(), ranked: None.into() })
}

async fn found(
    db: &PgPool,
    filter: CallFilter,
    question: &Question,
    by_relevance: bool,
    asked: &Asked<'_>,
) -> Result<CallPage, Problem> {
    let (words, found, next, ranked) = bounded(db, async |db| {
        let words = words_of(&mut *db, question, asked.spoken).await?;
        let (matches, next, ranked) = if by_relevance {
            by_rank(&mut *db, &words, &filter, asked).await?
        } else {
            by_time(&mut *db, &words, &filter, asked).await?
        };
        let calls = calls_of(&mut *db, &matches, asked.bounds).await?;
        let ids: Vec<Uuid> = calls.iter().map(|listed| listed.call.id).collect();
        let transcripts = if asked.spoken { summaries::transcripts(&mut *db, &ids).await? } else { Vec::new() };
        let found = Found { items: items(db, calls).await?, transcripts: transcripts.into_iter().collect() };
        Ok::<_, Problem>((words, found, next, ranked))
    })
    .await?;
    let items = excerpts_of(db, asked.vocabulary, found, words, question).await?;
    let items = items.into_iter().map(|(item, excerpts)| ListItem::new(item, excerpts)).collect();
    Ok(CallPage { items, next_cursor: next.into(), ranked: ranked.into() })
}

type Matched = (Vec<Match>, Option<String>, Option<Ranked>);

/// All matches, newest first.
async fn by_time(
    db: &mut PgConnection,
    words: &Words,
    filter: &CallFilter,
    asked: &Asked<'_>,
) -> Result<Matched, Problem> {
    let place = asked.open()?.map(|place| read_place(place).ok_or_else(Problem::bad_cursor)).transpose()?;
    let edge = place.map(|Place { at, id, .. }| Edge { at, id, inclusive: false });
    let search = Search { words, filter, bounds: asked.bounds, from: edge, ranked: false };
    let matches = search.newest(db, asked.limit).await?;
    let last = matches.newest.last().filter(|_| matches.more);
    let next = last.map(|last| asked.seal(&place_bytes(Place { key: 0, at: last.occurred_at, id: last.call_id })));
    Ok((matches.newest, next, None))
}

/// The newest matches, those first that fit best.
async fn by_rank(
    db: &mut PgConnection,
    words: &Words,
    filter: &CallFilter,
    asked: &Asked<'_>,
) -> Result<Matched, Problem> {
    let opened = asked.open::<RANK>()?;
    let place = opened.map(|place| read_rank(place).ok_or_else(Problem::bad_cursor)).transpose()?;
    let edge = place.map(|(_, newest)| Edge { at: newest.at, id: newest.id, inclusive: true });
    let search = Search { words, filter, bounds: asked.bounds, from: edge, ranked: true };
    let matches = search.newest(db, RANKED).await?;
    let mut best = matches.best(place.map(|(after, _)| after), asked.limit + 1);
    let is_last = best.len() <= asked.limit;
    best.truncate(asked.limit);
    let next = best.last().filter(|_| !is_last).zip(matches.newest.first()).map(|(last, newest)| {
        let newest = Cursor { at: newest.occurred_at, id: newest.call_id };
        asked.seal(&rank_bytes(*last, newest))
    });
    let ranked = Ranked { calls: matches.newest.len() as i64, is_all: !matches.more };
    Ok((best, next, Some(ranked)))
}

/// Calls as lists show them.
async fn items(db: &mut PgConnection, calls: Vec<ListedCall>) -> Result<Vec<CallItem>, Problem> {
    let ids: Vec<Uuid> = calls.iter().map(|listed| listed.call.id).collect();
    let mut costs = queue::costs_of_calls(db, &ids).await?;
    let item = |ListedCall { call, brief, .. }: ListedCall| {
        let cost = costs.remove(&call.id).unwrap_or_default();
        CallItem::new(call, brief, cost)
    };
    calls.into_iter().map(item).collect()
}

/// Calls that were found, and what was said in them.
struct Found {
    items: Vec<CallItem>,
    transcripts: HashMap<Uuid, Transcript>,
}

impl Found {
    fn texts(&self) -> impl Iterator<Item = Texts<'_>> {
        let said = |id| self.transcripts.get(&id).map_or(&[][..], |transcript| &transcript.segments);
        self.items.iter().map(move |item| item.texts(said(item.id())))
    }
}

/// Each of these calls with the places where the words stand. The transcripts of a page may have a million words, so they
/// are read aside.
async fn excerpts_of(
    db: &PgPool,
    vocabulary: &Vocabulary,
    found: Found,
    words: Words,
    question: &Question,
) -> Result<Vec<(CallItem, Vec<Excerpt>)>, Problem> {
    let known = vocabulary.clone();
    let (found, words, Look { mut meant, unknown }) = aside(move || {
        let texts: Vec<Texts<'_>> = found.texts().collect();
        let look = known.look(&words, excerpts::candidates(texts.iter().flat_map(Texts::all), &words.marks));
        drop(texts);
        (found, words, look)
    })
    .await?;
    if !unknown.is_empty() {
        meant.extend(vocabulary.learn(db, &words, unknown).await?);
    }
    let finder = Finder::new(meant, &question.numbers);
    aside(move || {
        let excerpts: Vec<_> = found.texts().map(|texts| finder.excerpts(&texts)).collect();
        found.items.into_iter().zip(excerpts).collect()
    })
    .await
}

/// Work that would keep other requests waiting.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    // It fails where the work has panicked, which the panic hook has written down.
    tokio::task::spawn_blocking(work).await.map_err(|_| Problem::internal())
}

fn place_bytes(Place { key, at, id }: Place) -> [u8; PLACE] {
    let mut bytes = [0; PLACE];
    bytes[..4].copy_from_slice(&key.to_be_bytes());
    bytes[4..].copy_from_slice(&Cursor { at, id }.place());
    bytes
}

fn read_place(bytes: [u8; PLACE]) -> Option<Place> {
    let (key, place) = bytes.split_first_chunk()?;
    let Cursor { at, id } = Cursor::of_place(place.try_into().ok()?)?;
    Some(Place { key: i32::from_be_bytes(*key), at, id })
}

fn rank_bytes(last: Match, newest: Cursor) -> [u8; RANK] {
    let mut bytes = [0; RANK];
    bytes[..4].copy_from_slice(&last.rank.to_be_bytes());
    bytes[4..PLACE].copy_from_slice(&Cursor { at: last.occurred_at, id: last.call_id }.place());
    bytes[PLACE..].copy_from_slice(&newest.place());
    bytes
}

fn read_rank(bytes: [u8; RANK]) -> Option<(Match, Cursor)> {
    let (rank, places) = bytes.split_first_chunk()?;
    let (last, newest) = places.split_first_chunk()?;
    let Cursor { at, id } = Cursor::of_place(*last)?;
    let last = Match { call_id: id, occurred_at: at, rank: f32::from_be_bytes(*rank) };
    Some((last, Cursor::of_place(newest.try_into().ok()?)?))
}
