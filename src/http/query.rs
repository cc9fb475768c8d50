//! Query strings: only parameters that the resource has, each at most once.

use poem::Request;
use url::form_urlencoded;

use super::problem::{FieldError, Problem};

/// Names that are at most so many edits away are offered as what was meant.
const CLOSE: usize = 3;
/// So many things that are wrong are told of a request: more would only make its answer long.
pub const MOST_ERRORS: usize = 20;

/// Refuses what is not in `known`, what is given twice, and what no text in the database can be.
pub fn only(request: &Request, known: &[&str]) -> Result<(), Problem> {
    check(request.uri().query().unwrap_or_default(), known)
}

/// True if a name or a value, or a part of the path, begins as our keys do.
pub fn holds_key(request: &Request) -> bool {
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    // A segment without a `=` is read as a name.
    path.split('/').chain([query]).any(|part| {
        let mut texts = form_urlencoded::parse(part.as_bytes()).flat_map(|(name, value)| [name, value]);
        texts.any(|text| text.starts_with("gta_"))
    })
}

/// Names and values of all parameters that choose items, in a fixed order: what a cursor is bound to.
pub fn choice(request: &Request) -> Vec<String> {
    let query = request.uri().query().unwrap_or_default();
    let mut pairs: Vec<_> = form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| !matches!(name.as_ref(), "limit" | "cursor"))
        .collect();
    pairs.sort();
    pairs.into_iter().flat_map(|(name, value)| [name.into_owned(), value.into_owned()]).collect()
}

/// Those names of `known` that are given, for the audit log: a filter's value may be somebody's name.
pub fn given(request: &Request, known: &[&str]) -> String {
    let query = request.uri().query().unwrap_or_default();
    let is_given = |name: &&str| form_urlencoded::parse(query.as_bytes()).any(|(given, _)| given == *name);
    known.iter().copied().filter(|name| is_given(name)).collect::<Vec<_>>().join(", ")
}

fn check(query: &str, known: &[&str]) -> Result<(), Problem> {
    let (mut unknown, mut seen) = (Vec::new(), Vec::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let Some(name) = known.iter().find(|known| **known == name) else {
            if unknown.len() < MOST_ERRORS {
                unknown.push(FieldError { field: name.chars().take(64).collect(), expected: suggestion(&name, known) });
            }
            continue;
        };
        if value.contains('\0') {
            return Err(Problem::bad_parameter(name, "text without the character NUL"));
        }
        // What the decoder puts for bytes that are no UTF-8, as those of a lone surrogate.
        if value.contains(char::REPLACEMENT_CHARACTER) {
            return Err(Problem::bad_parameter(name, "text in UTF-8, with %XX for each byte"));
        }
        if seen.contains(name) {
            return Err(Problem::bad_parameter(name, "one value, and it was given twice"));
        }
        seen.push(*name);
    }
    if unknown.is_empty() { Ok(()) } else { Err(Problem::unknown_parameters(unknown)) }
}

/// What was meant by an unknown name: the one that is close to it, else all.
pub fn suggestion(name: &str, known: &[&str]) -> String {
    // Of a name that is no name the beginning is enough, and comparing takes time with the square of its length.
    let name: String = name.chars().take(64).collect();
    let distance = |known: &str| strsim::damerau_levenshtein(&name.to_lowercase(), known);
    match known.iter().min_by_key(|known| distance(known)) {
        None => "no parameters".to_owned(),
        Some(closest) if distance(closest) <= CLOSE.min(closest.len() / 2) => format!("`{closest}`"),
        Some(_) => format!("one of `{}`", known.join("`, `")),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const KNOWN: &[&str] = &["state", "external_id", "from", "to", "limit", "cursor"];

    #[rstest]
    #[case("")]
    #[case("state=failed&limit=3")]
    #[case("%73tate=failed")]
    fn known_parameters_pass(#[case] query: &str) {
        assert!(check(query, KNOWN).is_ok());
    }

    #[rstest]
    #[case("State=x", "did you mean `state`")]
    #[case("status=x", "`state`")]
    #[case("external-id=x", "`external_id`")]
    #[case("page=2", "one of `state`, `external_id`")]
    #[case("limit=1&limit=2", "twice")]
    #[case("external_id=%00", "NUL")]
    #[case("external_id=%ED%A0%80", "UTF-8")]
    fn others_are_refused_with_a_hint(#[case] query: &str, #[case] hint: &str) {
        let hint = hint.trim_start_matches("did you mean ");
        assert!(format!("{:?}", check(query, KNOWN).unwrap_err()).contains(hint), "{query}");
        assert!(format!("{:?}", check("x=1", &[]).unwrap_err()).contains("no parameters"));
    }
}
