//! `docs/failures.md` and the code say the same. That each row tells the truth is seen wherever a story looks at
//! attempts ([`assert_told`](crate::support::failures::assert_told)).

use std::fs;
use std::path::Path;

use clap::Parser as _;
use goto_automation::cli::Cli;
use goto_automation::config::VARIABLES;
use goto_automation::http::problem::ProblemCode;
use goto_automation::model::FailureClass;
use goto_automation::pipeline;
use regex::Regex;

use crate::support::failures::{FAILURES, GUIDE, PROBLEMS, Row};

#[test]
fn every_failure_has_one_row_in_the_order_of_the_list() {
    let classes: Vec<&str> = FailureClass::ALL.iter().map(|class| class.as_str()).collect();
    assert_eq!(words(&FAILURES), classes);
    let problems: Vec<&str> = ProblemCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(words(&PROBLEMS), problems);
    for (row, code) in PROBLEMS.iter().zip(ProblemCode::ALL) {
        assert_eq!(row.cells[0], code.status().as_u16().to_string(), "{row:#?}");
    }
}

#[test]
fn every_row_says_where_what_follows_and_what_to_do() {
    for row in FAILURES.iter() {
        let [_, happened, follows, remedy] = row.cells[..] else { panic!("{row:#?}") };
        assert!(happened.ends_with('.') && remedy.len() > 5, "{row:#?}");
        assert!(["tries again", "waits", "fails"].iter().any(|word| follows.starts_with(word)), "{row:#?}");
        assert!(row.cells[0] == "every step" || pipeline::names().any(|step| row.is_about(step)), "{row:#?}");
    }
    for row in PROBLEMS.iter() {
        let [_, happened, remedy] = row.cells[..] else { panic!("{row:#?}") };
        assert!(happened.ends_with('.') && remedy.ends_with('.'), "{row:#?}");
    }
}

#[test]
fn what_the_guide_tells_to_type_and_to_set_exists() {
    let spans: Vec<&str> = GUIDE.split('`').skip(1).step_by(2).collect();
    let commands = spans.iter().filter(|span| span.starts_with("goto-automation "));
    for command in commands {
        let parsed = Cli::try_parse_from(command.split(' ').map(argument));
        assert!(parsed.is_ok(), "`{command}`: {}", parsed.err().unwrap());
    }
    let is_name = |span: &&&str| span.len() > 3 && span.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    for name in spans.iter().filter(is_name) {
        assert!(VARIABLES.iter().any(|variable| variable.name == *name), "`{name}` is no setting");
    }
}

#[test]
fn every_failure_and_every_problem_is_made_somewhere() {
    let code = code_below(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")));
    let is_made = |variant: String| Regex::new(&format!(r"\b{variant}\b")).unwrap().is_match(&code);
    for class in FailureClass::ALL {
        assert!(is_made(format!("FailureClass::{class:?}")), "nobody makes `{class}`: take it out of the list");
    }
    for problem in ProblemCode::ALL {
        assert!(is_made(format!("ProblemCode::{problem:?}")), "nobody makes `{problem}`: take it out of the list");
    }
}

/// What a person types for a word of the guide.
fn argument(word: &str) -> &str {
    match word {
        "ID" => "call-0001",
        "JOB" => "12",
        "NAME" => "team",
        "SCOPE" => "calls:read",
        "PREFIX" => "0a1b2c",
        word => word,
    }
}

fn words(rows: &[Row]) -> Vec<&'static str> {
    rows.iter().map(|row| row.word).collect()
}

/// All sources but their unit tests and the commands, which make no failures.
fn code_below(folder: &Path) -> String {
    let mut code = String::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() && !path.ends_with("cli") {
            code += &code_below(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).unwrap();
            code += text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
        }
    }
    code
}
