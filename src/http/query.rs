//! Query strings: only parameters that the resource has, each at most once.

use poem::Request;
use url::form_urlencoded;

use super::problem::{FieldError, Problem};

/// Names that are at most so many edits away are offered as what was meant.
const CLOSE: usize = 3;

/// Refuses what is not in `known`, what is given twice, and what no text in the database can be.
pub fn only(request: &Request, known: &[&str]) -> Result<(), Problem> {
    check(request.uri().query().unwrap_or_default(), known)
}

/// True if a name or a value begins as our keys do.
pub fn holds_key(request: &Request) -> bool {
    let query = request.uri().query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).any(|(name, value)| [name, value].iter().any(|t| t.starts_with("gta_")))
}

fn check(query: &str, known: &[&str]) -> Result<(), Problem> {
    let (mut unknown, mut seen) = (Vec::new(), Vec::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let Some(name) = known.iter().find(|known| **known == name) else {
            unknown.push(FieldError { field: name.chars().take(64).collect(), expected: suggestion(&name, known) });
            continue;
        };
        if value.contains('\0') {
            return Err(Problem::bad_parameter(name, "text without the character NUL"));
        }
        if seen.contains(name) {
            return Err(Problem::bad_parameter(name, "one value, and it was given twice"));
        }
        seen.push(*name);
    }
    if unknown.is_empty() { Ok(()) } else { Err(Problem::unknown_parameters(unknown)) }
}

fn suggestion(name: &str, known: &[&str]) -> String {
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
    fn others_are_refused_with_a_hint(#[case] query: &str, #[case] hint: &str) {
        let hint = hint.trim_start_matches("did you mean ");
        assert!(format!("{:?}", check(query, KNOWN).unwrap_err()).contains(hint), "{query}");
        assert!(format!("{:?}", check("x=1", &[]).unwrap_err()).contains("no parameters"));
    }
}
