//! `SEARCH_LANGUAGE`.

use super::words::{Meaning, shown};

/// Text search configurations that every PostgreSQL from version 14 on has.
const SEARCH_LANGUAGES: &[&str] = &[
    "arabic",
    "armenian",
    "basque",
    "catalan",
    "danish",
    "dutch",
    "english",
    "finnish",
    "french",
    "german",
    "greek",
    "hindi",
    "hungarian",
    "indonesian",
    "irish",
    "italian",
    "lithuanian",
    "nepali",
    "norwegian",
    "portuguese",
    "romanian",
    "russian",
    "serbian",
    "simple",
    "spanish",
    "swedish",
    "tamil",
    "turkish",
    "yiddish",
];

/// A language of the search.
pub fn language(value: &str) -> Meaning<&'static str> {
    let known = SEARCH_LANGUAGES.iter().find(|known| known.eq_ignore_ascii_case(value));
    known.copied().ok_or_else(|| format!("{} is none of {}", shown(value), SEARCH_LANGUAGES.join(", ")))
}
