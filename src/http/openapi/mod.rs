//! The OpenAPI document: made from the same functions that answer, kept as a snapshot in `docs/openapi.json`.

use poem_openapi::{OpenApiService, Tags};
use serde_json::Value;

use super::actions::ActionsApi;
use super::calls::{CallsApi, CallsExport};
use super::events::EventsApi;
use super::export::Exports;
use super::keys::KeysApi;
use super::kpi::KpiApi;
use node::Node;
pub use paths::Paths;

mod answers;
mod examples;
mod node;
mod paths;
mod polish;

const TITLE: &str = "goto-automation";
const DESCRIPTION: &str = "Finished GoTo Connect calls: transcripts, summaries, action items and the messages about them. \
                           Every operation needs an API key. Paths answer with and without a trailing slash, times are \
                           UTC, lists are followed by their cursor, answers have an `ETag`, and every error is a problem \
                           (RFC 9457) with a stable `code`.";

/// Collections, whose paths are written with a slash at their end. poem-openapi drops it, and our routes take both forms.
const COLLECTIONS: &[&str] = &["/api/calls", "/api/actions", "/api/keys"];

/// Groups of operations in the document.
#[derive(Tags)]
pub enum Group {
    /// Finished telephone calls and what was made of them.
    Calls,
    /// What somebody has promised in a call.
    Actions,
    /// What the calls come to, each number with the list of what it counts.
    Kpi,
    /// What changes, while it does.
    Events,
    /// API keys, for administrators.
    Keys,
}

/// THE list of operations.
pub type Api = (CallsApi, CallsExport, ActionsApi, KpiApi, EventsApi, KeysApi);

/// All operations of the API.
pub fn service() -> OpenApiService<Api, ()> {
    let exports = Exports::default();
    let (calls, actions) = (CallsExport { exports: exports.clone() }, ActionsApi { exports });
    let api = (CallsApi, calls, actions, KpiApi::default(), EventsApi::default(), KeysApi);
    OpenApiService::new(api, TITLE, env!("CARGO_PKG_VERSION")).description(DESCRIPTION).server("/")
}

/// The document as `/openapi.json` and `goto-automation openapi` give it out.
pub fn document() -> String {
    // Texts and numbers always serialize.
    serde_json::to_string_pretty(&complete()).unwrap_or_default() + "\n"
}

/// The document for a page whose forms are filled with the examples of it: a request tried there begins without any
/// filter, and with no key of an earlier one. What an example is stands in the words of the parameter.
pub fn document_to_try() -> String {
    let mut document = complete();
    let told = |parameter: &mut Node| {
        let of_schema = parameter.get("schema").and_then(|schema| schema.get("example")).cloned();
        let example = parameter.get("example").cloned().or(of_schema);
        parameter.remove("example");
        parameter.entry("schema").remove("example");
        if let (Some(Node::Leaf(example)), Some(text)) = (example, parameter.get("description").and_then(Node::text)) {
            let example = example.as_str().map_or_else(|| example.to_string(), str::to_owned);
            let text = format!("{text}\n\nFor example `{example}`");
            parameter.set("description", Value::from(text));
        }
    };
    for (_, operations) in document.entry("paths").fields_mut() {
        let parameters = operations.fields_mut().iter_mut().flat_map(|(_, operation)| operation.items_of("parameters"));
        parameters.filter(|parameter| parameter.get("$ref").is_none()).for_each(told);
    }
    document.entry("components").entry("parameters").fields_mut().iter_mut().map(|(_, shared)| shared).for_each(told);
    serde_json::to_string(&document).unwrap_or_default()
}

fn complete() -> Node {
    // JSON is UTF-8 by itself (RFC 8259, section 8.1); generators know the bare media type best.
    let spec = service().spec().replace("; charset=utf-8\"", "\"");
    let mut document: Node = serde_json::from_str(&spec).expect("poem-openapi writes JSON");
    for (path, _) in document.entry("paths").fields_mut() {
        if COLLECTIONS.contains(&path.as_str()) {
            path.push('/');
        }
    }
    answers::complete(&mut document);
    examples::complete(&mut document);
    polish::polish(&mut document);
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");

    /// `UPDATE_SNAPSHOTS=1 cargo nextest run openapi` writes it anew.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "tests have no settings")]
    fn the_snapshot_is_the_document() {
        let document = document();
        if std::env::var("UPDATE_SNAPSHOTS").is_ok() {
            std::fs::write(SNAPSHOT, &document).unwrap();
        }
        let snapshot = std::fs::read_to_string(SNAPSHOT).unwrap_or_default();
        assert!(document == snapshot, "docs/openapi.json is not current: UPDATE_SNAPSHOTS=1 cargo nextest run openapi");
    }

    #[test]
    fn every_operation_has_an_id_a_key_and_problems() {
        let document: Value = serde_json::from_str(&document()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        assert!(paths.keys().any(|path| path == "/api/calls/"));
        for (path, operations) in paths {
            for (method, operation) in operations.as_object().unwrap() {
                let of = format!("{method} {path}");
                assert!(operation["operationId"].is_string() && operation["summary"].is_string(), "{of}");
                assert_eq!(operation["security"][0]["ApiKey"], serde_json::json!([]), "{of}");
                let answers = operation["responses"].as_object().unwrap();
                for status in ["400", "401", "403", "429", "500", "503", "default"] {
                    assert!(answers.contains_key(status), "{of}: {status}");
                }
                for reference in answers.values().filter_map(|answer| answer["$ref"].as_str()) {
                    assert!(document.pointer(&reference[1..]).is_some(), "{of}: {reference}");
                }
            }
        }
    }

    #[test]
    fn what_may_be_null_says_so() {
        let document: Value = serde_json::from_str(&document()).unwrap();
        let call = &document["components"]["schemas"]["Call"];
        assert_eq!(call["properties"]["started_at"]["nullable"], true);
        assert!(call["required"].as_array().unwrap().contains(&"started_at".into()));
        assert_eq!(call["properties"]["state"]["enum"][0], "processing");
    }
}
