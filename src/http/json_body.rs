//! JSON bodies of the API: held against their schema first, so that a client hears of everything that is wrong, field by
//! field. poem-openapi's own payload stops at the first thing and does not name it.

use std::collections::BTreeMap;

use poem::{FromRequest, Request, RequestBody};
use poem_openapi::payload::{Json, Payload};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{ParseFromJSON, ParseFromParameter, Type};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::problem::{FieldError, Problem};
use super::query;
use super::schema::Timestamp;

/// A body of type `T`. One that is not there counts as an object without fields.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<'a, T: ParseFromJSON> ApiExtractor<'a> for JsonBody<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType { content_type: Json::<T>::CONTENT_TYPE, schema: T::schema_ref() }];
        Some(MetaRequest { description: None, content, required: Schemas::of::<T>().needs_fields(&T::schema_ref()) })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let bytes = <Vec<u8> as FromRequest>::from_request(request, body).await?;
        Ok(Self(read(&bytes, request.content_type())?))
    }
}

/// A body as its sender wrote it.
pub fn read<T: ParseFromJSON>(bytes: &[u8], content_type: Option<&str>) -> Result<T, Problem> {
    let value = if bytes.is_empty() {
        Value::Object(Map::new())
    } else if content_type.is_some_and(Json::<T>::check_content_type) {
        serde_json::from_slice(bytes).map_err(|error| Problem::invalid_json(&error))?
    } else {
        return Err(Problem::unsupported_media_type());
    };
    let mut errors = Vec::new();
    Schemas::of::<T>().check(&T::schema_ref(), &value, "", &mut errors);
    if !errors.is_empty() {
        return Err(Problem::invalid_fields(errors));
    }
    T::parse_from_json(Some(value)).map_err(|error| Problem::invalid_body(error.message()))
}

/// The schemas that a type's own one refers to.
struct Schemas(BTreeMap<String, MetaSchema>);

impl Schemas {
    fn of<T: Type>() -> Self {
        let mut registry = Registry::new();
        T::register(&mut registry);
        Self(registry.schemas)
    }

    fn resolve<'a>(&'a self, schema: &'a MetaSchemaRef) -> Option<&'a MetaSchema> {
        match schema {
            MetaSchemaRef::Inline(schema) => Some(schema),
            MetaSchemaRef::Reference(name) => self.0.get(name),
        }
    }

    fn needs_fields(&self, schema: &MetaSchemaRef) -> bool {
        self.resolve(schema).is_some_and(|schema| !schema.required.is_empty())
    }

    /// Adds what is wrong with a value, as long as there is room for it; `path` is where it stands in the body.
    fn check(&self, schema: &MetaSchemaRef, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
        let Some(schema) = self.resolve(schema).filter(|_| has_room(errors)) else { return };
        if value.is_null() && (schema.nullable || is_any(schema)) {
            return;
        }
        for part in &schema.all_of {
            self.check(part, value, path, errors);
        }
        let expected = match (schema.ty, value) {
            _ if !schema.enum_items.is_empty() => wrong_word(schema, value),
            ("string", Value::String(text)) => wrong_text(schema, text),
            ("integer", Value::Number(number)) if number.is_i64() || number.is_u64() => wrong_number(schema, number),
            ("number", Value::Number(number)) => wrong_number(schema, number),
            ("boolean", Value::Bool(_)) => None,
            ("array", Value::Array(items)) => {
                self.check_items(schema, items, path, errors);
                None
            }
            ("object", Value::Object(fields)) => {
                self.check_fields(schema, fields, path, errors);
                None
            }
            ("string", _) => Some("text".to_owned()),
            ("integer", _) => Some("a whole number".to_owned()),
            ("number", _) => Some("a number".to_owned()),
            ("boolean", _) => Some("true or false".to_owned()),
            ("array", _) => Some("a list".to_owned()),
            ("object", _) => Some("an object".to_owned()),
            _ => None,
        };
        if let Some(expected) = expected.filter(|_| has_room(errors)) {
            let field = if path.is_empty() { "body" } else { path };
            errors.push(FieldError { field: field.to_owned(), expected });
        }
    }

    fn check_items(&self, schema: &MetaSchema, items: &[Value], path: &str, errors: &mut Vec<FieldError>) {
        let Some(of_items) = &schema.items else { return };
        for (index, item) in items.iter().enumerate() {
            if !has_room(errors) {
                return;
            }
            self.check(of_items, item, &format!("{path}[{index}]"), errors);
        }
    }

    fn check_fields(&self, schema: &MetaSchema, fields: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
        let inside = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        for &(name, ref of_field) in &schema.properties {
            match fields.get(name) {
                Some(value) => self.check(of_field, value, &inside(name), errors),
                None if schema.required.contains(&name) && has_room(errors) => {
                    errors.push(FieldError { field: inside(name), expected: "a value, and it is missing".to_owned() });
                }
                None => {}
            }
        }
        let known: Vec<&str> = schema.properties.iter().map(|(name, _)| *name).collect();
        let room = query::MOST_ERRORS.saturating_sub(errors.len());
        for name in fields.keys().filter(|name| !known.contains(&name.as_str())).take(room) {
            let shown: String = name.chars().take(64).collect();
            errors.push(FieldError { field: inside(&shown), expected: query::suggestion(name, &known) });
        }
    }
}

fn has_room(errors: &[FieldError]) -> bool {
    errors.len() < query::MOST_ERRORS
}

fn is_any(schema: &MetaSchema) -> bool {
    schema.ty.is_empty() && schema.enum_items.is_empty() && schema.all_of.is_empty()
}

fn wrong_word(schema: &MetaSchema, value: &Value) -> Option<String> {
    let words = schema.enum_items.iter().filter_map(Value::as_str).map(|word| format!("`{word}`"));
    (!schema.enum_items.contains(value)).then(|| format!("one of {}", words.collect::<Vec<_>>().join(", ")))
}

fn wrong_text(schema: &MetaSchema, text: &str) -> Option<String> {
    let length = text.chars().count();
    match (schema.format, schema.min_length, schema.max_length) {
        // PostgreSQL has no such text.
        _ if text.contains('\0') => Some("text without the character NUL".to_owned()),
        (Some("date-time"), ..) if Timestamp::parse_from_parameter(text).is_err() => {
            Some("a time such as 2026-01-05T10:00:00Z".to_owned())
        }
        (Some("uuid"), ..) if Uuid::parse_str(text).is_err() => {
            Some("an id such as 019b8e2c-7c1b-7c3a-9f21-6d1f0c9a4e11".to_owned())
        }
        (_, Some(least), _) if length < least => Some(format!("at least {least} characters")),
        (_, _, Some(most)) if length > most => Some(format!("at most {most} characters")),
        _ => None,
    }
}

fn wrong_number(schema: &MetaSchema, number: &serde_json::Number) -> Option<String> {
    let (least, most) = match schema.format {
        Some("int32") => (f64::from(i32::MIN), f64::from(i32::MAX)),
        _ => (f64::MIN, f64::MAX),
    };
    let (least, most) = (schema.minimum.unwrap_or(least), schema.maximum.unwrap_or(most));
    match number.as_f64() {
        Some(value) if value < least => Some(format!("at least {least}")),
        Some(value) if value > most => Some(format!("at most {most}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use poem_openapi::Object;
    use rstest::rstest;

    use super::super::schema::ActionState;
    use super::*;

    #[derive(Debug, Object)]
    struct Order {
        #[oai(validator(min_length = 1, max_length = 5))]
        name: String,
        state: Option<ActionState>,
        at: Option<Timestamp>,
        #[oai(default, validator(minimum(value = "1"), maximum(value = "9")))]
        count: i32,
        #[oai(default)]
        parts: Vec<Part>,
        #[oai(nullable)]
        owner: Option<String>,
    }

    #[derive(Debug, Object)]
    struct Part {
        id: Uuid,
    }

    fn many_names() -> String {
        (0..100_000).fold(String::new(), |names, i| names + "\"n" + &i.to_string() + "\": 1,")
    }

    fn problem(body: &str) -> String {
        read::<Order>(body.as_bytes(), Some("application/json")).map(|order| order.name).unwrap_err().to_string()
    }

    #[rstest]
    #[case(r#"{"name": "", "count": 0}"#, "`name`: expected at least 1 characters; `count`: expected at least 1")]
    #[case(r#"{"name": "äöüäöü"}"#, "`name`: expected at most 5")]
    #[case(r#"{"name": 7, "count": 1.5}"#, "`name`: expected text; `count`: expected a whole number")]
    #[case(r#"{"name": "a\u0000"}"#, "`name`: expected text without the character NUL")]
    #[case(r#"{"name": "a", "state": "Open"}"#, "`state`: expected one of `open`, `done`")]
    #[case(r#"{"name": "a", "at": "2026-02-30"}"#, "`at`: expected a time such as")]
    #[case(r#"{"name": "a", "parts": [{"id": "x"}, {}]}"#, "`parts[0].id`: expected an id such as")]
    #[case(r#"{"name": "a", "parts": [{}]}"#, "`parts[0].id`: expected a value, and it is missing")]
    #[case(r#"{"name": null}"#, "`name`: expected text")]
    #[case(r#"{"nam": "a"}"#, "`name`: expected a value, and it is missing; `nam`: expected `name`")]
    #[case("[]", "`body`: expected an object")]
    #[case("", "`name`: expected a value")]
    #[case("{", "invalid_json")]
    #[case(r#"{"name": "\ud800"}"#, "invalid_json")]
    fn everything_that_is_wrong_is_told(#[case] body: &str, #[case] expected: &str) {
        let problem = problem(body);
        assert!(problem.contains(expected), "{problem}");
    }

    /// Whoever sends a mebibyte of mistakes, perhaps without any right, costs neither much time nor a long answer.
    #[rstest]
    #[case(format!(r#"{{"name": "a", "parts": [{}1]}}"#, "1,".repeat(100_000)))]
    #[case(format!(r#"{{"name": "a", "parts": [{}{{}}]}}"#, "{},".repeat(100_000)))]
    #[case(format!("{{{}\"name\": 7}}", many_names()))]
    fn twenty_mistakes_are_enough(#[case] body: String) {
        let value: Value = serde_json::from_str(&body).unwrap();
        let mut errors = Vec::new();
        Schemas::of::<Order>().check(&Order::schema_ref(), &value, "", &mut errors);
        assert_eq!(errors.len(), query::MOST_ERRORS);
    }

    #[test]
    fn what_is_right_is_read() {
        let body = br#"{"name": "a", "owner": null, "parts": [{"id": "019b8e2c-7c1b-7c3a-9f21-6d1f0c9a4e11"}]}"#;
        let order = read::<Order>(body, Some("application/vnd.x+json; charset=utf-8")).unwrap();
        assert_eq!((order.name.as_str(), order.parts.len(), order.owner), ("a", 1, None));
        assert_eq!((order.state, order.at, order.count), (None, None, 0));
        assert!(order.parts[0].id.get_version_num() == 7);
        for content_type in [None, Some("text/plain"), Some("application/jsonp")] {
            let refused = read::<Order>(body, content_type).unwrap_err().to_string();
            assert!(refused.starts_with("unsupported_media_type"), "{refused}");
        }
    }
}
