//! What the index of words makes of a word: `refund` of `refunds`. Remembered, because the dictionaries of PostgreSQL are far
//! and the words of a language are few.

use std::sync::{Arc, PoisonError, RwLock};

use hashbrown::{HashMap, HashSet};
use sqlx::PgPool;

use super::bounded;
use super::search::Words;

/// So many words are remembered, some megabytes; then the process begins anew.
const MOST: usize = 30_000;

/// The words that a process has met. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Vocabulary(Arc<RwLock<Known>>);

/// Words of a language, in lower case, and their entries in the index. Those that the index leaves out have none.
#[derive(Debug, Default)]
struct Known {
    language: String,
    entries: HashMap<String, Vec<String>>,
}

/// What became of a look at some words.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Those that are looked for.
    pub meant: HashSet<String>,
    /// Those that nobody has met yet: to be learned.
    pub unknown: HashSet<String>,
}

impl Vocabulary {
    /// Which of these, in lower case, are among the words that are looked for.
    pub fn look<W: AsRef<str>>(&self, words: &Words, candidates: impl Iterator<Item = W>) -> Look {
        // Whoever has panicked with it has left it whole.
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let is_of_language = known.language == words.language;
        let mut look = Look::default();
        for word in candidates {
            let word = word.as_ref();
            match known.entries.get(word).filter(|_| is_of_language) {
                Some(entries) if entries.iter().any(|entry| words.marks.contains(entry)) => {
                    look.meant.get_or_insert_with(word, str::to_owned);
                }
                Some(_) => {}
                None => {
                    look.unknown.get_or_insert_with(word, str::to_owned);
                }
            }
        }
        look
    }

    /// Asks the dictionaries about these words and keeps their answers. Tells which of them are looked for.
    pub async fn learn(
        &self,
        db: &PgPool,
        words: &Words,
        unknown: HashSet<String>,
    ) -> Result<HashSet<String>, sqlx::Error> {
        let learned = entries(db, &words.language, unknown.into_iter().collect()).await?;
        let is_meant = |entries: &Vec<String>| entries.iter().any(|entry| words.marks.contains(entry));
        let meant = learned.iter().filter(|(_, entries)| is_meant(entries)).map(|(word, _)| word.clone()).collect();
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.language != words.language || known.entries.len() + learned.len() > MOST {
            *known = Known { language: words.language.clone(), entries: HashMap::new() };
        }
        known.entries.extend(learned);
        Ok(meant)
    }
}

async fn entries(db: &PgPool, language: &str, words: Vec<String>) -> Result<HashMap<String, Vec<String>>, sqlx::Error> {
    let rows = bounded(db, async |db| {
        sqlx::query!(
            r#"SELECT word AS "word!", tsvector_to_array(to_tsvector(l.language, word)) AS "entries!"
               FROM (SELECT $2::text::regconfig AS language OFFSET 0) l, unnest($1::text[]) word"#,
            &words,
            language
        )
        .fetch_all(db)
        .await
    })
    .await?;
    Ok(rows.into_iter().map(|row| (row.word, row.entries)).collect())
}
