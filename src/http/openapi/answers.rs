//! What poem-openapi cannot say of each operation: the headers that every operation understands or sends, and every
//! problem that it may answer with. Told by rule, so that no operation can be forgotten.

use serde_json::{Value, json};

use super::super::problem::{Problem, ProblemCode};
use super::node::Node;

const PROBLEM: &str = "application/problem+json";

/// An operation as far as the rules look at it.
struct Operation<'a> {
    method: &'a str,
    path: &'a str,
    has_parameters: bool,
    has_cursor: bool,
    names_version: bool,
    has_body: bool,
}

impl Operation<'_> {
    /// Whether it may answer with this problem.
    fn may(&self, code: ProblemCode) -> bool {
        use ProblemCode as P;
        match code {
            P::Unauthorized
            | P::Forbidden
            | P::KeyInQuery
            | P::UnknownParameter
            | P::TooManyFailures
            | P::TooManyRequests
            | P::Internal
            | P::DatabaseUnavailable
            | P::Timeout
            | P::Overloaded
            | P::UriTooLong
            | P::HeadersTooLarge => true,
            P::BadParameter => self.has_parameters,
            P::BadCursor => self.has_cursor,
            P::CallNotFound => self.path.starts_with("/api/calls/{"),
            P::ActionNotFound => self.path.starts_with("/api/actions/{"),
            P::KeyNotFound => self.path.starts_with("/api/keys/{"),
            P::NoTranscript => self.path.ends_with("/transcript"),
            P::NoRecording | P::NoSuchRange => self.path.ends_with("/recording"),
            P::CannotRerun => self.path.ends_with("/rerun"),
            P::KeyNotRotatable => self.path.ends_with("/rotate"),
            P::TooManyStreams => self.path.ends_with("/events"),
            P::TooManyExports => ["/api/calls.csv", "/api/actions.csv"].contains(&self.path),
            P::TooMuchAtOnce => self.path.starts_with("/api/kpi/"),
            P::InvalidBody
            | P::InvalidJson
            | P::UnsupportedMediaType
            | P::BodyTooLarge
            | P::BodyTimeout
            | P::BrokenBody => self.has_body,
            P::PreconditionRequired => self.method == "patch",
            P::PreconditionFailed => self.method == "patch" || self.names_version,
            P::IdempotencyKeyReused | P::RequestInProgress => self.method == "post",
            P::BadHeader => self.method == "post" || self.path.ends_with("/events"),
            _ => false,
        }
    }
}

/// Completes all operations of a document.
pub fn complete(document: &mut Node) {
    let mut told: Vec<ProblemCode> = Vec::new();
    for (path, operations) in document.entry("paths").fields_mut() {
        for (method, operation) in operations.fields_mut() {
            told.extend(complete_operation(method, path, operation));
        }
    }
    close_requests(document);
    let components = document.entry("components");
    components.set("parameters", parameters());
    components.set("headers", headers());
    components.set("responses", responses(&told));
}

/// Bodies have the fields that they are said to have, and no others (`super::super::json_body`).
fn close_requests(document: &mut Node) {
    let mut open: Vec<String> = Vec::new();
    let operations = document.get("paths").map_or(&[][..], Node::fields).iter().flat_map(|(_, path)| path.fields());
    operations.filter_map(|(_, operation)| operation.get("requestBody")).for_each(|body| references(body, &mut open));
    let mut closed: Vec<String> = Vec::new();
    while let Some(name) = open.pop() {
        if closed.contains(&name) {
            continue;
        }
        let schema = document.entry("components").entry("schemas").entry(&name);
        schema.set("additionalProperties", json!(false));
        references(schema, &mut open);
        closed.push(name);
    }
}

/// The names of all schemas that a node refers to.
fn references(node: &Node, names: &mut Vec<String>) {
    for (field, inside) in node.fields() {
        match inside.text().and_then(|text| text.strip_prefix("#/components/schemas/")) {
            Some(name) if field == "$ref" => names.push(name.to_owned()),
            _ => references(inside, names),
        }
    }
    node.items().iter().for_each(|item| references(item, names));
}

/// Completes one, and tells which problems it may answer with.
fn complete_operation(method: &str, path: &str, operation: &mut Node) -> Vec<ProblemCode> {
    let parameters = operation.get("parameters").map_or(&[][..], Node::items);
    let has = |name: &str| parameters.iter().any(|one| one.get("name").and_then(Node::text) == Some(name));
    let rules = Operation {
        method,
        path,
        has_parameters: !parameters.is_empty(),
        has_cursor: has("cursor"),
        names_version: has("If-Match"),
        has_body: operation.get("requestBody").is_some(),
    };
    let answers = operation.entry("responses");
    let mut has_tag = false;
    for (status, answer) in answers.fields_mut().iter_mut().filter(|(status, _)| status.starts_with('2')) {
        // A handler that sets it itself says so, with a name in capitals.
        let is_set = answer.entry("headers").remove("ETAG");
        let is_tagged = is_set || (method == "get" && status == "200" && !is_stream(answer));
        for name in if is_tagged { HEADERS } else { &HEADERS[1..] } {
            answer.entry("headers").set(name, reference("headers", name));
        }
        if method == "post" {
            answer.entry("headers").set(REPLAYED, reference("headers", REPLAYED));
        }
        has_tag |= is_tagged;
    }
    if method == "get" && has_tag {
        answers.set("304", reference("responses", "NotModified"));
    }
    let codes: Vec<ProblemCode> = ProblemCode::ALL.iter().copied().filter(|code| rules.may(*code)).collect();
    for status in codes.iter().map(|code| code.status().as_u16()) {
        answers.set(&status.to_string(), reference("responses", &format!("Problem{status}")));
    }
    // Last, as what remains: no operation has more answers than these by intention.
    answers.set("default", reference("responses", "Problem"));
    if let Node::Object(fields) = answers {
        fields.sort_by_key(|(status, _)| status.parse::<u16>().unwrap_or(u16::MAX));
    }
    let understood = match method {
        "get" if has_tag => Some("IfNoneMatch"),
        "post" => Some("IdempotencyKey"),
        "patch" => Some("IfMatch"),
        _ => None,
    };
    if let Some(name) = understood {
        operation.entry("parameters").push(reference("parameters", name));
    }
    codes
}

/// Whether an answer leaves while it is made: then nothing names its version.
fn is_stream(answer: &Node) -> bool {
    let kinds = answer.get("content").map_or(&[][..], Node::fields);
    kinds.iter().any(|(kind, _)| ["text/csv", "text/event-stream"].contains(&kind.as_str()))
}

fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

fn parameters() -> Value {
    let any = json!({ "type": "string" });
    let version = json!({ "type": "string", "pattern": "^\"[0-9]{1,9}(-overdue)?\"$" });
    let visible = json!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" });
    json!({
        "IfNoneMatch": parameter("If-None-Match", any, "\"5c2b1f0d8e3a4976b1c2d3e4f5061728\"",
            "The `ETag` of the answer that you have. If nothing has changed since, you get 304 without a body."),
        "IfMatch": parameter("If-Match", version, "\"3\"",
            "The `ETag` of what you edit, as you got it. If somebody else has changed it since, you get 412."),
        "IdempotencyKey": parameter("Idempotency-Key", visible, "8e03978e-40d5-43dd-bc93-6894a57f9324",
            "A text of your own for this request, such as a UUID. Sent again with the same one within 24 hours, the \
             request does not act again, and gets the same answer."),
    })
}

fn parameter(name: &str, schema: Value, example: &str, description: &str) -> Value {
    // An edit without a version is refused (428); the other two may be left out.
    let required = name == "If-Match";
    json!({
        "name": name, "in": "header", "required": required, "description": description, "schema": schema,
        "example": example,
    })
}

/// On an answer to a POST.
const REPLAYED: &str = "Idempotent-Replayed";
/// The first one is for what can be had again.
const HEADERS: &[&str] = &["ETag", "RateLimit", "RateLimit-Policy", "X-Request-Id"];

fn headers() -> Value {
    json!({
        "ETag": header("\"5c2b1f0d8e3a4976b1c2d3e4f5061728\"", "Names this version, for `If-None-Match` and `If-Match`."),
        "Idempotent-Replayed": header("true",
            "That the same request, with the same `Idempotency-Key`, was answered before: this is the answer of then."),
        "RateLimit": header("\"key\";r=199;t=1",
            "What the key may still do: `r` requests now, and all of them again in `t` seconds."),
        "RateLimit-Policy": header("\"key\";q=200;w=2", "What the key may do: `q` requests in `w` seconds."),
        "X-Request-Id": header("019b8e2c-7c1b-7c3a-9f21-6d1f0c9a4e11",
            "Names the request in the server's log: your own `X-Request-Id`, or one that was made."),
    })
}

fn header(example: &str, description: &str) -> Value {
    json!({ "description": description, "schema": { "type": "string" }, "example": example })
}

/// One for each status, with its codes.
fn responses(told: &[ProblemCode]) -> Value {
    let schema = json!({ "$ref": "#/components/schemas/Problem" });
    let mut all = json!({
        "NotModified": {
            "description": "Nothing has changed since the answer that `If-None-Match` names.",
            "headers": { "ETag": reference("headers", "ETag") },
        },
        "Problem": {
            "description": "Any other problem (RFC 9457). Branch on `code`.",
            "content": { PROBLEM: { "schema": schema } },
        },
    });
    for code in ProblemCode::ALL.iter().filter(|code| told.contains(code)) {
        let status = code.status();
        let answer = &mut all[format!("Problem{}", status.as_u16())];
        if answer.is_null() {
            let title = status.canonical_reason().unwrap_or_default();
            *answer = json!({
                "description": format!("{title}. Branch on `code`:"),
                "headers": { "X-Request-Id": reference("headers", "X-Request-Id") },
                "content": { PROBLEM: { "schema": schema, "examples": {} } },
            });
        }
        let description = format!("{} `{code}`", answer["description"].as_str().unwrap_or_default());
        answer["description"] = description.into();
        answer["content"][PROBLEM]["examples"][code.as_str()] = json!({ "value": Problem::example(*code) });
    }
    all
}
