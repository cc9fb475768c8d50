//! The OpenAPI document: made from the same functions that answer, kept as a snapshot in `docs/openapi.json`.

use poem_openapi::OpenApiService;

use super::calls::CallsApi;

const TITLE: &str = "goto-automation";
const DESCRIPTION: &str = "Finished GoTo Connect calls: transcripts, summaries, action items and the messages about them. \
                           Every operation needs an API key. Paths answer with and without a trailing slash, times are \
                           UTC, lists are followed by their cursor, and every error is a problem (RFC 9457) with a \
                           stable `code`.";

/// Collections, whose paths are written with a slash at their end. poem-openapi drops it, and our routes take both forms.
const COLLECTIONS: &[&str] = &["/api/calls"];

/// All operations of the API.
pub fn service() -> OpenApiService<CallsApi, ()> {
    OpenApiService::new(CallsApi, TITLE, env!("CARGO_PKG_VERSION")).description(DESCRIPTION).server("/")
}

/// The document as `/openapi.json` and `goto-automation openapi` give it out.
pub fn document() -> String {
    // JSON is UTF-8 by itself (RFC 8259, section 8.1); generators know the bare media type best.
    let spec = service().spec().replace("application/json; charset=utf-8", "application/json");
    let with_slash = |spec: String, path: &&str| spec.replace(&format!("\"{path}\": {{"), &format!("\"{path}/\": {{"));
    COLLECTIONS.iter().fold(spec, with_slash) + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

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
                assert!(operation["responses"]["default"]["content"]["application/problem+json"].is_object(), "{of}");
            }
        }
    }

    #[test]
    fn what_may_be_null_says_so() {
        let document: Value = serde_json::from_str(&document()).unwrap();
        let call = &document["components"]["schemas"]["CallItem"];
        assert_eq!(call["properties"]["started_at"]["nullable"], true);
        assert!(call["required"].as_array().unwrap().contains(&"started_at".into()));
        assert_eq!(call["properties"]["state"]["enum"][0], "processing");
    }
}
