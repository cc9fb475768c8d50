//! Types of the API that poem-openapi does not have: words, times that end in `Z`, and values that may be null.

use std::borrow::Cow;
use std::str::FromStr;

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, SecondsFormat, Utc};
use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseFromParameter, ParseResult, ToJSON, Type};
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::calls::words::{FirstStep, Format, Happened, Part, Sort};
use super::problem::Problem;
use crate::model::time::parse_iso8601;
use crate::model::{CallState, DeliveryState, Direction, RecordingState, Scope, Sentiment, Speaker, Timing};
use crate::text_enum;

text_enum!(
    /// Where an action item stands.
    ActionState {
        /// To be done.
        Open = "open",
        /// Done.
        Done = "done",
    }
);

text_enum!(
    /// Whether an API key is good.
    KeyState {
        /// It is.
        Valid = "valid",
        /// It has ended by itself.
        Expired = "expired",
        /// Somebody has ended it.
        Revoked = "revoked",
    }
);

text_enum!(
    /// What an event is about.
    EventKind {
        /// The stream has begun, or goes on where it had broken off.
        Ready = "ready",
        /// The stream begins anew: what has changed since the last event is not known any more.
        Reset = "reset",
        /// A call: a new one, or one with another state, a transcript, an analysis.
        Call = "call",
        /// A job: it has ended, or goes back to wait.
        Job = "job",
        /// An action item that a person has changed.
        Action = "action",
    }
);

text_enum!(
    /// A stretch of days that ends with today, or is yesterday.
    Period {
        /// Since midnight.
        Today = "today",
        /// The day before.
        Yesterday = "yesterday",
        /// Today and the six days before.
        SevenDays = "7d",
        /// Today and the 29 days before.
        ThirtyDays = "30d",
    }
);

macro_rules! plain_type {
    ($name:ty, $type_name:literal) => {
        const IS_REQUIRED: bool = true;
        type RawValueType = Self;
        type RawElementValueType = Self;

        fn name() -> Cow<'static, str> {
            $type_name.into()
        }

        fn as_raw_value(&self) -> Option<&Self> {
            Some(self)
        }

        fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
            Box::new(std::iter::once(self))
        }
    };
}

/// Enums that are words in the database are words in the API, and the document lists them.
macro_rules! words {
    ($($name:ident),+) => { $(
        impl Type for $name {
            plain_type!($name, "word");

            fn schema_ref() -> MetaSchemaRef {
                let words = Self::ALL.iter().map(|word| Value::from(word.as_str())).collect();
                MetaSchemaRef::Inline(Box::new(MetaSchema { enum_items: words, ..MetaSchema::new("string") }))
            }
        }

        impl ToJSON for $name {
            fn to_json(&self) -> Option<Value> {
                Some(self.as_str().into())
            }
        }

        impl ParseFromJSON for $name {
            fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
                text(value)
            }
        }

        impl ParseFromParameter for $name {
            fn parse_from_parameter(value: &str) -> ParseResult<Self> {
                value.parse().map_err(|_| {
                    let words: Vec<_> = Self::ALL.iter().map(|word| format!("`{word}`")).collect();
                    ParseError::custom(format!("one of {}", words.join(", ")))
                })
            }
        }
    )+ };
}

words!(
    ActionState,
    CallState,
    DeliveryState,
    Direction,
    EventKind,
    FirstStep,
    Format,
    Happened,
    KeyState,
    Part,
    Period,
    RecordingState,
    Scope,
    Sentiment,
    Sort,
    Speaker,
    Timing
);

/// A word of a row. The database checks these columns, so another word is our mistake.
pub fn word<T: FromStr<Err = String>>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error| {
        tracing::error!(error, "A row holds a word that this program does not know. Is the program older than it?");
        Problem::internal()
    })
}

/// In bodies they are the same texts as in parameters.
fn text<T: ParseFromParameter>(value: Option<Value>) -> ParseResult<T> {
    match value {
        Some(Value::String(text)) => T::parse_from_parameter(&text),
        other => Err(ParseError::expected_type(other.unwrap_or_default())),
    }
}

/// A moment in UTC, `2026-01-05T10:00:00Z`. As a parameter any ISO 8601 time, or a day for its midnight in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp(pub DateTime<Utc>);

impl Timestamp {
    /// As it is written.
    pub fn text(self) -> String {
        self.0.to_rfc3339_opts(SecondsFormat::AutoSi, true)
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(time: DateTime<Utc>) -> Self {
        Self(time)
    }
}

impl Type for Timestamp {
    plain_type!(Timestamp, "timestamp");

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema::new_with_format("string", "date-time")))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl ToJSON for Timestamp {
    fn to_json(&self) -> Option<Value> {
        Some(self.text().into())
    }
}

impl ParseFromJSON for Timestamp {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        text(value)
    }
}

impl ParseFromParameter for Timestamp {
    fn parse_from_parameter(value: &str) -> ParseResult<Self> {
        // A `+` that was not written as `%2B` arrives as a blank.
        let time = parse_iso8601(value).or_else(|| parse_iso8601(&value.replacen(' ', "+", 1)));
        let day = || value.parse::<NaiveDate>().ok().map(|day| day.and_time(NaiveTime::MIN).and_utc());
        let known = time.or_else(day).filter(|time| parse_iso8601(&Self(*time).text()).is_some());
        known.map(Self).ok_or_else(|| ParseError::custom("a time such as 2026-01-05T10:00:00Z"))
    }
}

/// A day of the calendar, `2026-01-05`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day(pub NaiveDate);

impl Type for Day {
    plain_type!(Day, "day");

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema::new_with_format("string", "date")))
    }
}

impl ToJSON for Day {
    fn to_json(&self) -> Option<Value> {
        Some(self.0.to_string().into())
    }
}

impl ParseFromJSON for Day {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        text(value)
    }
}

impl ParseFromParameter for Day {
    fn parse_from_parameter(value: &str) -> ParseResult<Self> {
        // Clocks of zones are known since 1970, and times have years of four digits.
        let known = value.parse::<NaiveDate>().ok().filter(|day| (1970..9999).contains(&day.year()));
        known.map(Self).ok_or_else(|| ParseError::custom("a day such as 2026-01-05, from 1970-01-01 to 9998-12-31"))
    }
}

/// A value that is always there and may be null. poem-openapi's `Option` says that it may be missing, and generated
/// clients then stumble over the null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Nullable<T>(pub Option<T>);

impl<T> Nullable<T> {
    /// Of a row that may lack it.
    pub fn of<S: Into<T>>(value: Option<S>) -> Self {
        Self(value.map(Into::into))
    }
}

impl<T> From<Option<T>> for Nullable<T> {
    fn from(value: Option<T>) -> Self {
        Self(value)
    }
}

impl<T: Type> Type for Nullable<T> {
    const IS_REQUIRED: bool = true;
    type RawValueType = T::RawValueType;
    type RawElementValueType = T::RawElementValueType;

    fn name() -> Cow<'static, str> {
        format!("nullable_{}", T::name()).into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(match T::schema_ref() {
            MetaSchemaRef::Inline(mut schema) => {
                // A list of words that is nullable has null among them (OpenAPI 3.0.3, proposal 003).
                if !schema.enum_items.is_empty() {
                    schema.enum_items.push(Value::Null);
                }
                MetaSchema { nullable: true, ..*schema }
            }
            reference @ MetaSchemaRef::Reference(_) => {
                MetaSchema { all_of: vec![reference], nullable: true, ..MetaSchema::ANY }
            }
        }))
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn as_raw_value(&self) -> Option<&Self::RawValueType> {
        self.0.as_ref()?.as_raw_value()
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self::RawElementValueType> + 'a> {
        self.0.as_ref().map_or_else(|| Box::new(std::iter::empty()) as _, T::raw_element_iter)
    }
}

impl<T: ToJSON> ToJSON for Nullable<T> {
    fn to_json(&self) -> Option<Value> {
        Some(self.0.as_ref().and_then(T::to_json).unwrap_or(Value::Null))
    }
}

impl<T: ParseFromJSON> ParseFromJSON for Nullable<T> {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        let value = value.filter(|value| !value.is_null());
        value.map(|value| T::parse_from_json(Some(value)).map_err(ParseError::propagate)).transpose().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("2026-01-05T10:00:00Z", Some("2026-01-05T10:00:00Z"))]
    #[case("2026-01-05T10:00:00.5+01:00", Some("2026-01-05T09:00:00.500Z"))]
    #[case("2026-01-05T10:00:00 01:00", Some("2026-01-05T09:00:00Z"))]
    #[case("2026-01-05", Some("2026-01-05T00:00:00Z"))]
    #[case("+12026-01-05", None)]
    #[case("today", None)]
    fn times_as_parameters(#[case] text: &str, #[case] expected: Option<&str>) {
        let seen = Timestamp::parse_from_parameter(text).ok().map(Timestamp::text);
        assert_eq!(seen.as_deref(), expected);
    }

    #[rstest]
    #[case("2024-02-29", true)]
    #[case("2026-02-29", false)]
    #[case("2026-02-30", false)]
    #[case("1969-12-31", false)]
    #[case("9999-01-01", false)]
    #[case("2026-01-05T00:00:00Z", false)]
    #[case("today", false)]
    fn days_as_parameters(#[case] text: &str, #[case] is_known: bool) {
        assert_eq!(Day::parse_from_parameter(text).is_ok(), is_known);
    }

    #[test]
    fn words_and_nulls() {
        assert_eq!(CallState::parse_from_parameter("failed").unwrap(), CallState::Failed);
        assert!(CallState::parse_from_parameter("Failed").unwrap_err().message().contains("one of `processing`"));
        assert_eq!(Nullable(Some(Speaker::Agent)).to_json(), Some("agent".into()));
        assert_eq!(Nullable::<Speaker>(None).to_json(), Some(Value::Null));
    }
}
