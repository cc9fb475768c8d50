//! The rules of the house that the compiler does not know: who may import whom, and what has one place only.
//!
//! They are read off the text of the sources, without comments, literals and unit tests.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

/// The import rule: a module may use those of later rows, never one of its own row or of an earlier one.
/// (`telemetry` and `shutdown` serve everybody, and are no part of the way of a call.)
const LAYERS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["dev"],
    &["app"],
    &["http", "dashboard"],
    &["pipeline"],
    &["channels", "providers", "queue", "store"],
    &["telemetry", "shutdown"],
    &["config"],
    &["model"],
];

/// Where something has its only place: (what, as a pattern of code; in which folder nobody else may; the place; why).
const ONE_PLACE: &[(&str, &str, &str, &str)] = &[
    (r"\bapalis\w*", "src/", "src/queue/", "only the queue knows the framework under it"),
    (r"\b(Utc|Local)\s*::\s*now\b", "src/", "src/model/clock.rs", "the clock is read in one place"),
    (ERROR_STATUS, "src/http/", "src/http/problem", "one file knows error status codes"),
];

/// Any status by name, and one of the 4xx or 5xx range in an attribute of poem-openapi.
const ERROR_STATUS: &str = r"\bStatusCode\s*::\s*\w+|\bstatus\s*=\s*[45]\d\d\b";

/// The names that are no errors.
const GOOD_STATUS: &[&str] =
    &["OK", "CREATED", "ACCEPTED", "NO_CONTENT", "PARTIAL_CONTENT", "SEE_OTHER", "NOT_MODIFIED", "PERMANENT_REDIRECT"];

const LONGEST_FILE: usize = 400;

#[test]
fn modules_import_only_downwards() {
    assert_holds(sources("src"), imports_upwards);
}

#[test]
fn what_has_one_place_stays_there() {
    assert_holds(sources("src"), out_of_place);
}

#[test]
fn files_are_short() {
    assert_holds(["src", "tests", "benches"].into_iter().flat_map(sources), too_long);
}

#[test]
fn every_module_has_its_row() {
    let library = Source::read(Path::new("src/lib.rs"));
    for (_, [module]) in pattern(r"\bpub mod (\w+)").captures_iter(&library.code).map(|found| found.extract()) {
        assert!(layer(module).is_some(), "`{module}` has no row in the import rule");
    }
}

/// One file of the crate.
struct Source {
    path: String,
    lines: usize,
    /// Without comments, literals and unit tests.
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        // Unit tests stand last in a file, and may use what they like.
        let tested = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
        Self { path: path.to_owned(), lines: text.lines().count(), code: code_of(tested) }
    }

    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        Self::new(path.to_str().unwrap(), &text)
    }

    /// `["http", "calls"]` for `src/http/calls.rs`, `["http"]` for `src/http/mod.rs`.
    fn module(&self) -> Vec<&str> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        path.split('/').collect()
    }

    /// The top-level modules that are named by `crate::`, the crate's own name, or enough `super::`.
    fn imports(&self) -> Vec<&str> {
        let mut found = Vec::new();
        for path in pattern(r"\b(?:crate|goto_automation|super)\s*::\s*").find_iter(&self.code) {
            let before = self.code[..path.start()].trim_end();
            let supers = before.rsplit("::").skip(1).take_while(|part| part.trim_end().ends_with("super")).count();
            let to_root = !path.as_str().starts_with("super") || supers + 1 == self.module().len();
            if to_root {
                found.extend(first_names(&self.code[path.end()..]));
            }
        }
        found
    }
}

/// Complaints about one file.
fn imports_upwards(source: &Source) -> Vec<String> {
    let own = source.module()[0];
    let Some(from) = layer(own) else { return Vec::new() };
    source
        .imports()
        .into_iter()
        .filter(|name| *name != own && layer(name).is_some_and(|to| to <= from))
        .map(|name| format!("`{own}` may not import `{name}`"))
        .collect()
}

fn out_of_place(source: &Source) -> Vec<String> {
    ONE_PLACE
        .iter()
        .filter(|(_, folder, place, _)| source.path.starts_with(folder) && !source.path.starts_with(place))
        .filter_map(|(what, _, place, why)| {
            let is_good = |found: &&str| GOOD_STATUS.iter().any(|name| found.ends_with(&format!("::{name}")));
            let found = pattern(what).find_iter(&source.code).map(|found| found.as_str()).find(|it| !is_good(it))?;
            Some(format!("`{found}` belongs into {place}: {why}"))
        })
        .collect()
}

fn too_long(source: &Source) -> Vec<String> {
    let excess = source.lines > LONGEST_FILE;
    excess.then(|| format!("{} lines, and at most {LONGEST_FILE} are readable", source.lines)).into_iter().collect()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&module))
}

/// The names that a path goes on with: one, or those at the top of a group in braces.
fn first_names(rest: &str) -> Vec<&str> {
    let Some(group) = rest.strip_prefix('{') else {
        return pattern(r"^\w+").find(rest).map(|name| name.as_str()).into_iter().collect();
    };
    let mut depth = 0;
    let mut names = Vec::new();
    let mut starts = true;
    for part in pattern(r"\w+|[{},]").find_iter(group).map(|part| part.as_str()) {
        match part {
            "{" => depth += 1,
            "}" if depth == 0 => break,
            "}" => depth -= 1,
            "," => starts = depth == 0,
            name if starts => {
                names.push(name);
                starts = false;
            }
            _ => {}
        }
    }
    names
}

/// Blanks comments and literals. A lifetime is no character literal: `'a` has no second quote right after.
fn code_of(text: &str) -> String {
    static NO_CODE: LazyLock<Regex> = LazyLock::new(|| {
        let literals = [
            r"//[^\n]*",
            r"(?s:/\*.*?\*/)",
            r##"(?s:\br#+".*?"#+)"##,
            r#"(?s:\br"[^"]*")"#,
            r#"(?s:"(?:\\.|[^"\\])*")"#,
            r"'(?:\\[^']+|\\'|[^'\\])'",
        ];
        pattern(&literals.join("|"))
    });
    NO_CODE.replace_all(text, "\"\"").into_owned()
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap()
}

fn assert_holds(sources: impl Iterator<Item = Source>, rule: fn(&Source) -> Vec<String>) {
    let mut complaints = String::new();
    for source in sources {
        for complaint in rule(&source) {
            writeln!(complaints, "{}: {complaint}", source.path).unwrap();
        }
    }
    assert!(complaints.is_empty(), "the rules of the house are broken:\n{complaints}");
}

/// All Rust files of a folder of the crate.
fn sources(folder: &str) -> impl Iterator<Item = Source> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(&folder)).unwrap().flatten() {
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files.into_iter().filter(|path| path != Path::new("src/lib.rs")).map(|path| Source::read(&path))
}

/// Each rule can fail, and does not fail for what only looks like it.
mod proof {
    use super::*;

    fn imports(path: &str, text: &str) -> usize {
        imports_upwards(&Source::new(path, text)).len()
    }

    fn places(path: &str, text: &str) -> usize {
        out_of_place(&Source::new(path, text)).len()
    }

    #[test]
    fn imports_of_every_form_are_found() {
        assert_eq!(imports("src/model/id.rs", "use crate::store;"), 1);
        assert_eq!(imports("src/store/mod.rs", "use crate::{model::{queue, Id}, queue::{claim, http}, config};"), 1);
        assert_eq!(imports("src/queue/worker.rs", "fn f() { crate :: pipeline::steps() }"), 1);
        assert_eq!(imports("src/http/mod.rs", "use super::app::App;"), 1);
        assert_eq!(imports("src/http/calls.rs", "use super::super::{cli, store};"), 1);
        assert_eq!(imports("src/config.rs", "use super::app::App;"), 1);
        assert_eq!(imports("src/app.rs", "use goto_automation::dev::postgres;"), 1);
        assert_eq!(imports("src/channels/slack.rs", "use crate::providers::speech;"), 1, "the adapters are apart");
    }

    #[test]
    fn what_is_allowed_passes() {
        assert_eq!(imports("src/cli/dev.rs", "use crate::{app::App, dev, model::Id};"), 0);
        assert_eq!(imports("src/http/calls.rs", "use super::app; use crate::store::calls;"), 0, "a sibling");
        assert_eq!(imports("src/config.rs", "// crate::app\nconst A: &str = \"crate::cli\"; use crate::model;"), 0);
        assert_eq!(imports("src/model/id.rs", "struct Id;\n\n#[cfg(test)]\nmod tests { use crate::store; }"), 0);
        assert_eq!(imports("src/queue/mod.rs", "use crate::queue::claim;"), 0, "its own");
    }

    #[test]
    fn what_has_one_place_is_found_elsewhere() {
        assert_eq!(places("src/app.rs", "use apalis::prelude::Monitor;"), 1);
        assert_eq!(places("src/app.rs", "use apalis_core::task;"), 1);
        assert_eq!(places("src/store/calls.rs", "let now = Utc::now();"), 1);
        assert_eq!(places("src/http/calls.rs", "return StatusCode::NOT_FOUND;"), 1);
        assert_eq!(places("src/http/calls.rs", "if ok { StatusCode::OK } else { StatusCode::GONE }"), 1);
        assert_eq!(places("src/http/calls.rs", "#[oai(status = 503)]"), 1);
    }

    #[test]
    fn what_is_in_its_place_passes() {
        assert_eq!(places("src/queue/worker.rs", "use apalis::prelude::Monitor;"), 0);
        assert_eq!(places("src/model/clock.rs", "Utc::now()"), 0);
        assert_eq!(places("src/http/problem.rs", "StatusCode::NOT_FOUND"), 0);
        assert_eq!(places("src/providers/speech.rs", "StatusCode::NOT_FOUND"), 0, "an upstream's answer");
        assert_eq!(places("src/http/calls.rs", "StatusCode::ACCEPTED; // not StatusCode::GONE, nor apalis"), 0);
    }

    #[test]
    fn long_files_are_found() {
        assert_eq!(too_long(&Source::new("src/a.rs", &"line\n".repeat(401))).len(), 1);
        assert_eq!(too_long(&Source::new("src/a.rs", &"line\n".repeat(400))).len(), 0);
    }

    #[test]
    fn literals_are_no_code() {
        let text = "f('\"', \"a \\\" // b\", r#\"say \"crate::x\"\"#, '\\'', &'a str) /* crate::y */ + z // crate::w";
        assert_eq!(code_of(text), r#"f("", "", "", "", &'a str) "" + z """#);
    }
}
