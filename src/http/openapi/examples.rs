//! Examples: one for each field and parameter, from which readers of the document see what an answer looks like. And
//! the forms of what they send.

use serde_json::Value;

use super::node::Node;

/// By `Schema.field`, else by the name of the field or parameter alone; the first that fits counts. Each value is JSON.
const EXAMPLES: &[(&str, &str)] = &[
    ("Problem.type", r#""about:blank""#),
    ("Problem.title", r#""Not Found""#),
    ("Problem.status", "404"),
    ("Problem.detail", r#""There is no call with this id.""#),
    ("Problem.code", r#""call_not_found""#),
    ("Problem.request_id", ID),
    ("FieldError.field", r#""limit""#),
    ("FieldError.expected", r#""at most 200""#),
    ("CallParty.name", r#""Example Caller""#),
    ("CallParty.number", r#""+15550100002""#),
    ("SummaryStatement.text", r#""A charge came twice.""#),
    ("TranscriptSegment.text", r#""Hello, I was charged twice.""#),
    ("TranscriptSegment.index", "1"),
    ("CallStepCost.step", r#""transcribe""#),
    ("ApiKey.name", r#""report""#),
    ("CreatedApiKey.name", r#""report""#),
    ("NewApiKey.name", r#""report""#),
    ("NewApiKey.expires_at", r#""2099-01-01T00:00:00Z""#),
    ("CreatedApiKey.key", r#""gta_4hT0zQ7a_...""#),
    ("ApiKey.prefix", r#""4hT0zQ7a""#),
    ("CreatedApiKey.prefix", r#""4hT0zQ7a""#),
    ("TimelineEntry.name", r#""transcribe""#),
    ("TimelineEntry.outcome", r#""completed""#),
    ("SearchExcerptPiece.text", r#""charged twice""#),
    ("ChangeEvent.state", r#""completed""#),
    ("ChangeEvent.step", r#""analyze""#),
    ("action_id", ID),
    ("Last-Event-ID", r#""1767607500-740-9223372036854775807-0""#),
    ("RerunOrder.from", r#""analyze""#),
    // Whoever tries it out with the example does no harm.
    ("RerunOrder.dry_run", "true"),
    (
        "RecordingLink.path",
        r#""/recordings/019b8e2c-7c1b-7c3a-9f21-6d1f0c9a4e11?expires=1767607800&by=4hT0zQ7a&signature=5c2b...""#,
    ),
    ("Range", r#""bytes=0-1023""#),
    ("scopes", r#"["calls:read"]"#),
    ("number_prefix", r#""+1555""#),
    ("last_used_at", TIME),
    ("expires_at", r#""2027-01-05T00:00:00Z""#),
    ("revoked_at", TIME),
    ("replaced_by", ID),
    ("id", ID),
    ("call_id", ID),
    ("job_id", "4711"),
    ("external_id", r#""call-0001""#),
    ("state_reason", r#""The recording is not ready yet.""#),
    ("waiting_until", TIME),
    ("started_at", r#""2026-01-05T10:00:00Z""#),
    ("ended_at", r#""2026-01-05T10:04:08Z""#),
    ("duration_seconds", "248"),
    ("summary", r#""A charge came twice. Dana refunds it tomorrow.""#),
    ("urgency", "3"),
    ("urgency_at_least", "3"),
    ("topics", r#"["billing"]"#),
    ("topic", r#""billing""#),
    ("evidence", "[1, 3]"),
    ("text", r#""Refund the second charge""#),
    ("owner", r#""Dana""#),
    ("due_at", r#""2026-01-06T17:00:00Z""#),
    ("due_words", r#""tomorrow""#),
    ("due_before", r#""2026-01-07T00:00:00Z""#),
    ("channel", r#""slack""#),
    ("CallDelivery.to", r##""#calls""##),
    ("RerunDestination.to", r##""#calls""##),
    ("to", r#""2026-01-12T00:00:00Z""#),
    ("at", TIME),
    ("micro_units", "5200"),
    ("known_micro_units", "5200"),
    ("waste_micro_units", "100"),
    ("cost_micro_units", "4100"),
    ("currency", r#""USD""#),
    ("unpriced_models", r#"["a-model"]"#),
    ("unmeasured_models", r#"["a-model"]"#),
    ("language", r#""en""#),
    ("start_ms", "4200"),
    ("end_ms", "8900"),
    ("next_cursor", r#""AZ1sPzB4Y2FsbHM""#),
    ("caller", r#""+1 555""#),
    ("called", r#""+1 555""#),
    ("q", r#""refund -urgent""#),
    ("from", r#""2026-01-05T00:00:00Z""#),
    ("version", "3"),
    ("created_at", TIME),
    ("updated_at", TIME),
    ("edited_at", TIME),
    ("completed_at", TIME),
    ("run", "2"),
    ("attempt", "1"),
    ("who", r#""worker-7f3a""#),
    ("error_class", r#""timeout""#),
    ("late_outcome", r#""completed""#),
    ("detail", r#""The server did not answer in time.""#),
    ("upstream_request_id", r#""req_0a1b2c""#),
    ("model", r#""gpt-transcribe""#),
    ("transcription", r#""gpt-transcribe""#),
    ("analysis", r#""gpt-6-luna""#),
    ("transcribed_with", r#""gpt-transcribe""#),
    ("analyzed_with", r#""gpt-6-luna""#),
    ("prompt_version", r#""3""#),
    ("steps", r#"["analyze", "notify"]"#),
    ("segment", "1"),
    ("calls", "42"),
    ("time_zone", r#""Europe/Berlin""#),
    ("day", r#""2026-01-05""#),
    ("first_day", r#""2026-01-05""#),
    ("last_day", r#""2026-01-11""#),
    ("count", "42"),
    ("list", r#""/api/calls/?from=2026-01-05T00:00:00Z""#),
    ("mean_seconds", "191.5"),
    ("total_seconds", "8043"),
    ("mean", "2.4"),
    ("urgent_share", "0.07"),
    ("completion_rate", "0.8"),
    ("p50_seconds", "31"),
    ("p95_seconds", "74"),
    ("unknown_calls", "0"),
];

const ID: &str = r#""019b8e2c-7c1b-7c3a-9f21-6d1f0c9a4e11""#;
const TIME: &str = r#""2026-01-05T10:05:00Z""#;

/// Forms of texts that a handler looks at by itself, by `Schema.field` or by the name of a parameter.
const FORMS: &[(&str, &str)] = &[
    ("ActionItemEdit.text", LINE),
    ("ActionItemEdit.owner", LINE),
    ("NewApiKey.name", WORDS),
    ("NewApiKeyBounds.number_prefix", r#"{"pattern": "^[+]?[0-9]{1,20}$"}"#),
    ("caller", NUMBER),
    ("called", NUMBER),
    ("q", QUESTION),
];

/// No control characters, and not blank, nor blank without what turns the direction of writing.
const LINE: &str = r#"{"pattern": "^[^\\u0000-\\u001F\\u007F-\\u009F]*[^\\s\\u0000-\\u001F\\u007F-\\u009F\\u061C\\u200E\\u200F\\u202A-\\u202E\\u2066-\\u2069][^\\u0000-\\u001F\\u007F-\\u009F]*$"}"#;
/// No control characters, and no blanks at the ends.
const WORDS: &str = r#"{"pattern": "^[^\\s\\u0000-\\u001F\\u007F-\\u009F]([^\\u0000-\\u001F\\u007F-\\u009F]*[^\\s\\u0000-\\u001F\\u007F-\\u009F])?$"}"#;
/// Digits in any notation.
const NUMBER: &str = r#"{"pattern": "^([ +()./-]*[0-9]){1,20}[ +()./-]*$"}"#;
/// Anything but blanks.
const QUESTION: &str = r#"{"minLength": 1, "maxLength": 200, "pattern": "\\S"}"#;

/// Puts them into a document.
pub fn complete(document: &mut Node) {
    for (schema, body) in document.entry("components").entry("schemas").fields_mut() {
        if body.get("properties").is_some() {
            for (field, of_field) in body.entry("properties").fields_mut() {
                put(of_field, &format!("{schema}.{field}"), field);
            }
        }
    }
    for (_, operations) in document.entry("paths").fields_mut() {
        for (_, operation) in operations.fields_mut() {
            for parameter in operation.items_of("parameters") {
                let name = parameter.get("name").and_then(Node::text).unwrap_or_default().to_owned();
                if parameter.get("schema").is_some() {
                    put(parameter.entry("schema"), "", &name);
                }
            }
        }
    }
}

fn put(schema: &mut Node, full: &str, name: &str) {
    let form = FORMS.iter().find(|(known, _)| *known == full || (full.is_empty() && *known == name));
    if let Some((_, form)) = form
        && let Ok(Value::Object(form)) = serde_json::from_str(form)
    {
        form.into_iter().for_each(|(keyword, value)| schema.set(&keyword, value));
    }
    let example = EXAMPLES.iter().find(|(known, _)| *known == full || *known == name);
    if let Some((_, example)) = example.filter(|(known, _)| *known == full || wants_example(schema)) {
        schema.set("example", serde_json::from_str::<Value>(example).unwrap_or_default());
    }
}

/// What readers cannot make up by themselves: text, numbers, and lists of these.
fn wants_example(schema: &Node) -> bool {
    let kind = schema.get("type").and_then(Node::text).unwrap_or_default();
    let of_items = || schema.get("items").is_some_and(|items| items.get("$ref").is_none());
    let is_known = ["enum", "example", "default"].iter().any(|known| schema.get(known).is_some());
    !is_known && (["string", "integer", "number"].contains(&kind) || (kind == "array" && of_items()))
}

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::*;

    #[test]
    fn every_field_has_an_example_and_a_description() {
        let document: Node = serde_json::from_str(&document()).unwrap();
        let mut bare = Vec::new();
        for (schema, body) in document.get("components").unwrap().get("schemas").unwrap().fields() {
            for (field, of_field) in body.get("properties").map_or(&[][..], Node::fields) {
                let is_told = of_field.get("description").is_some() || of_field.get("$ref").is_some();
                if wants_example(of_field) || !is_told {
                    bare.push(format!("{schema}.{field}"));
                }
            }
        }
        assert!(bare.is_empty(), "without an example or a description: {bare:?}");
    }

    #[test]
    fn examples_are_json_and_each_is_used() {
        let document = document();
        for (name, example) in EXAMPLES {
            let value: Value = serde_json::from_str(example).unwrap_or_else(|error| panic!("{name}: {error}"));
            let text = serde_json::to_string(&value).unwrap();
            let is_used = document.contains(&text) || value.is_array();
            assert!(is_used, "nothing is called {name}");
        }
        for (name, form) in FORMS {
            let pattern = &serde_json::from_str::<Value>(form).unwrap()["pattern"];
            assert!(document.contains(&pattern.to_string()), "nothing is called {name}");
        }
    }
}
