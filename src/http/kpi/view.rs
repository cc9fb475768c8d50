//! Numbers as clients see them, each with the list of what it counts. Field names are a promise: adding is fine, renaming
//! is not.

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use url::form_urlencoded;

use super::super::schema::{Day, Nullable, Period, Timestamp};
use crate::model::kpi::{URGENT, share};
use crate::model::price::CURRENCY;
use crate::model::{DayRange, Days, Numbers};
use crate::pipeline::kpi::Reading;

const CALLS: &str = "/api/calls/";
const ACTIONS: &str = "/api/actions/";

/// The numbers of a period.
#[derive(Debug, Object)]
#[oai(rename = "KpiDashboard")]
pub struct Dashboard {
    /// Which it is.
    period: Period,
    /// Zone of the days.
    time_zone: String,
    /// When the numbers were last added up; null = just now.
    updated_at: Nullable<Timestamp>,
    /// The first day of the period.
    first_day: Day,
    /// Its last day.
    last_day: Day,
    #[oai(flatten)]
    numbers: Kpi,
}

/// The numbers of each day.
#[derive(Debug, Object)]
#[oai(rename = "KpiDays")]
pub struct Daily {
    /// Zone of the days.
    time_zone: String,
    /// When the numbers were last added up; null = just now.
    updated_at: Nullable<Timestamp>,
    /// From the first to the last.
    days: Vec<KpiDay>,
}

/// The numbers of each week.
#[derive(Debug, Object)]
#[oai(rename = "KpiWeeks")]
pub struct Weekly {
    /// Zone of the days.
    time_zone: String,
    /// When the numbers were last added up; null = just now.
    updated_at: Nullable<Timestamp>,
    /// From the first to the last; the last one may not have ended yet.
    weeks: Vec<KpiWeek>,
}

/// The numbers of a day.
#[derive(Debug, Object)]
struct KpiDay {
    /// Day.
    day: Day,
    #[oai(flatten)]
    numbers: Kpi,
}

/// The numbers of a week, which begins on Monday.
#[derive(Debug, Object)]
struct KpiWeek {
    /// Its Monday.
    first_day: Day,
    /// Its Sunday, or the last day that was asked for.
    last_day: Day,
    #[oai(flatten)]
    numbers: Kpi,
}

/// What the calls of a stretch of time come to.
#[derive(Debug, Object)]
struct Kpi {
    /// Its first moment: midnight in the zone of the days.
    from: Timestamp,
    /// The first moment after it.
    to: Timestamp,
    /// Calls that started in it.
    calls: Count,
    /// Inbound calls of 0 seconds.
    missed: Count,
    /// How long they were.
    duration: DurationKpi,
    /// Moods of the customers.
    sentiment: SentimentKpi,
    /// How urgent they are.
    urgency: UrgencyKpi,
    /// What was promised in them.
    action_items: ActionKpi,
    /// How quickly people heard of them.
    notification: NotificationKpi,
    /// What they have cost.
    cost: CostKpi,
}

/// A number, and what it counts.
#[derive(Debug, Object)]
#[oai(rename = "KpiCount")]
struct Count {
    /// So many.
    count: i64,
    /// Path and query of the list that has them.
    list: String,
}

/// Lengths of calls.
#[derive(Debug, Object)]
#[oai(rename = "KpiDuration")]
struct DurationKpi {
    /// Mean of the calls whose length is known, in seconds.
    mean_seconds: Nullable<f64>,
    /// All of them together, in seconds.
    total_seconds: i64,
    /// Path and query of the list that has them.
    list: String,
}

/// Analyzed calls by mood.
#[derive(Debug, Object)]
#[oai(rename = "KpiSentiment")]
struct SentimentKpi {
    /// Pleased customers.
    positive: Count,
    /// Neither pleased nor upset.
    neutral: Count,
    /// Upset customers.
    negative: Count,
    /// Both, at different times.
    mixed: Count,
}

/// Urgency of analyzed calls.
#[derive(Debug, Object)]
#[oai(rename = "KpiUrgency")]
struct UrgencyKpi {
    /// Mean, from 1 (no hurry) to 5 (now).
    mean: Nullable<f64>,
    /// Calls of urgency 4 or 5.
    urgent: Count,
    /// Their share of all analyzed calls, from 0 to 1.
    urgent_share: Nullable<f64>,
}

/// Action items of the calls, as they stand now.
#[derive(Debug, Object)]
#[oai(rename = "KpiActionItems")]
struct ActionKpi {
    /// All of them.
    all: Count,
    /// Those that are to be done.
    open: Count,
    /// Those that are to be done although their time has come.
    overdue: Count,
    /// Those that are done.
    done: Count,
    /// Share of those that are done, from 0 to 1.
    completion_rate: Nullable<f64>,
}

/// From the end of a call to the first message about it.
#[derive(Debug, Object)]
#[oai(rename = "KpiNotification")]
struct NotificationKpi {
    /// So many calls have been told of.
    calls: i64,
    /// Half of them within so many seconds.
    p50_seconds: Nullable<i32>,
    /// 95 of 100 within so many seconds.
    p95_seconds: Nullable<i32>,
    /// Path and query of the list of all calls.
    list: String,
}

/// What the calls have cost so far, in all their runs.
#[derive(Debug, Object)]
#[oai(rename = "KpiCost")]
struct CostKpi {
    /// Millionths of the currency; null = a part of it is not known.
    micro_units: Nullable<i64>,
    /// The same without the parts that are not known.
    known_micro_units: i64,
    /// Calls of whose cost a part is not known.
    unknown_calls: i64,
    /// ISO 4217.
    currency: String,
    /// Path and query of the list of all calls.
    list: String,
}

impl Dashboard {
    /// The numbers of one range.
    pub fn new(period: Period, days: Days, range: DayRange, reading: &Reading) -> Self {
        Self {
            period,
            time_zone: days.zone().to_owned(),
            updated_at: reading.added_up_at.map(Timestamp).into(),
            first_day: Day(range.first),
            last_day: Day(range.last),
            numbers: Kpi::new(
                days,
                range,
                &reading.numbers.iter().fold(Numbers::default(), |mut sum, numbers| {
                    sum.add(numbers);
                    sum
                }),
            ),
        }
    }
}

impl Daily {
    /// The numbers of ranges of one day each.
    pub fn new(days: Days, ranges: &[DayRange], reading: &Reading) -> Self {
        let day = |(range, numbers): (&DayRange, &Numbers)| KpiDay {
            day: Day(range.first),
            numbers: Kpi::new(days, *range, numbers),
        };
        Self {
            time_zone: days.zone().to_owned(),
            updated_at: reading.added_up_at.map(Timestamp).into(),
            days: ranges.iter().zip(&reading.numbers).map(day).collect(),
        }
    }
}

impl Weekly {
    /// The numbers of ranges of a week each.
    pub fn new(days: Days, ranges: &[DayRange], reading: &Reading) -> Self {
        let week = |(range, numbers): (&DayRange, &Numbers)| KpiWeek {
            first_day: Day(range.first),
            last_day: Day(range.last),
            numbers: Kpi::new(days, *range, numbers),
        };
        Self {
            time_zone: days.zone().to_owned(),
            updated_at: reading.added_up_at.map(Timestamp).into(),
            weeks: ranges.iter().zip(&reading.numbers).map(week).collect(),
        }
    }
}

impl Kpi {
    fn new(days: Days, range: DayRange, numbers: &Numbers) -> Self {
        let span = days.moments(range);
        let all = || list(CALLS, span, None);
        let calls = |count, name, value| Count { count, list: list(CALLS, span, Some((name, value))) };
        let items = |count, filter| Count { count, list: list(ACTIONS, span, filter) };
        let analyzed = numbers.analyzed();
        let urgent = URGENT.to_string();
        Self {
            from: Timestamp(span.0),
            to: Timestamp(span.1),
            calls: Count { count: numbers.calls, list: all() },
            missed: calls(numbers.missed, "missed", "true"),
            duration: DurationKpi {
                mean_seconds: share(numbers.duration_seconds, numbers.timed).into(),
                total_seconds: numbers.duration_seconds,
                list: all(),
            },
            sentiment: SentimentKpi {
                positive: calls(numbers.positive, "sentiment", "positive"),
                neutral: calls(numbers.neutral, "sentiment", "neutral"),
                negative: calls(numbers.negative, "sentiment", "negative"),
                mixed: calls(numbers.mixed, "sentiment", "mixed"),
            },
            urgency: UrgencyKpi {
                mean: share(numbers.urgency_sum, analyzed).into(),
                urgent: calls(numbers.urgent, "urgency_at_least", &urgent),
                urgent_share: share(numbers.urgent, analyzed).into(),
            },
            action_items: ActionKpi {
                all: items(numbers.action_items, None),
                open: items(numbers.action_items - numbers.action_items_done, Some(("state", "open"))),
                overdue: items(numbers.overdue, Some(("overdue", "true"))),
                done: items(numbers.action_items_done, Some(("state", "done"))),
                completion_rate: share(numbers.action_items_done, numbers.action_items).into(),
            },
            notification: NotificationKpi::new(numbers, all()),
            cost: CostKpi::new(numbers, all()),
        }
    }
}

impl NotificationKpi {
    fn new(numbers: &Numbers, list: String) -> Self {
        Self {
            calls: numbers.notified.values().sum(),
            p50_seconds: numbers.notified_within(0.5).into(),
            p95_seconds: numbers.notified_within(0.95).into(),
            list,
        }
    }
}

impl CostKpi {
    fn new(numbers: &Numbers, list: String) -> Self {
        Self {
            micro_units: (numbers.costs_unknown == 0).then_some(numbers.cost_micro_units).into(),
            known_micro_units: numbers.cost_micro_units,
            unknown_calls: numbers.costs_unknown,
            currency: CURRENCY.to_owned(),
            list,
        }
    }
}

/// The list of what started in a stretch of time, further filtered.
fn list(path: &str, (from, to): (DateTime<Utc>, DateTime<Utc>), filter: Option<(&str, &str)>) -> String {
    let mut query = form_urlencoded::Serializer::for_suffix(format!("{path}?"), path.len() + 1);
    // Colons need no escape in a query (RFC 3986, section 3.4), and people read them.
    query.append_pair("from", &Timestamp(from).text()).append_pair("to", &Timestamp(to).text());
    query.extend_pairs(filter);
    query.finish().replace("%3A", ":")
}
