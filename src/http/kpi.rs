//! `/api/kpi/`: what the calls come to, by day, week and period.

mod view;

use chrono::{Datelike, NaiveDate};
use poem::Request;
use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use sqlx::PgPool;

use super::auth::Key;
use super::openapi::Group;
use super::problem::Problem;
use super::query;
use super::schema::{Day, Period};
use crate::model::{DayRange, Days, Scope, clock};
use crate::pipeline::kpi::{Reader, Reading};
use view::{Daily, Dashboard, Weekly};

/// The operations on numbers.
#[derive(Default)]
pub struct KpiApi {
    reader: Reader,
}

fn today() -> Period {
    Period::Today
}

fn seven() -> u32 {
    7
}

fn four() -> u32 {
    4
}

#[OpenApi(prefix_path = "/api/kpi", tag = "Group::Kpi")]
impl KpiApi {
    /// Get the numbers of a period
    ///
    /// Days begin and end at midnight in the server's time zone. Numbers of a key that is limited to some calls are those
    /// of these calls. Needs the scope `calls:read`.
    #[oai(path = "/dashboard", method = "get", operation_id = "getDashboard")]
    async fn dashboard(
        &self,
        key: Key,
        request: &Request,
        db: Data<&PgPool>,
        days: Data<&Days>,
        /// The period.
        #[oai(default = "today")]
        period: Query<Period>,
    ) -> Result<Json<Dashboard>, Problem> {
        key.require(Scope::CallsRead)?;
        query::only(request, &["period"])?;
        let today = days.of(clock::now());
        let range = match period.0 {
            Period::Today => days.until(today, 1),
            Period::Yesterday => days.until(today.pred_opt().unwrap_or(today), 1),
            Period::SevenDays => days.until(today, 7),
            Period::ThirtyDays => days.until(today, 30),
        };
        let reading = self.ask(&db, **days, &[range], &key).await?;
        Ok(Json(Dashboard::new(period.0, **days, range, &reading)))
    }

    /// List the numbers of days
    ///
    /// One entry for each day, with or without calls. Needs the scope `calls:read`.
    #[oai(path = "/daily", method = "get", operation_id = "listDailyNumbers")]
    async fn daily(
        &self,
        key: Key,
        request: &Request,
        db: Data<&PgPool>,
        days: Data<&Days>,
        /// How many days.
        #[oai(name = "days", default = "seven", validator(minimum(value = "1"), maximum(value = "366")))]
        count: Query<u32>,
        /// The last of them; today, if it is left out.
        last_day: Query<Option<Day>>,
    ) -> Result<Json<Daily>, Problem> {
        key.require(Scope::CallsRead)?;
        query::only(request, &["days", "last_day"])?;
        let range = days.until(last(**days, last_day.0), count.0);
        let ranges: Vec<DayRange> = range.days().map(|day| DayRange { first: day, last: day }).collect();
        let reading = self.ask(&db, **days, &ranges, &key).await?;
        Ok(Json(Daily::new(**days, &ranges, &reading)))
    }

    /// List the numbers of weeks
    ///
    /// Weeks begin on Monday. Needs the scope `calls:read`.
    #[oai(path = "/weekly", method = "get", operation_id = "listWeeklyNumbers")]
    async fn weekly(
        &self,
        key: Key,
        request: &Request,
        db: Data<&PgPool>,
        days: Data<&Days>,
        /// How many weeks; that of the last day counts as one, however little of it has passed.
        #[oai(name = "weeks", default = "four", validator(minimum(value = "1"), maximum(value = "53")))]
        count: Query<u32>,
        /// The last day of the last week; today, if it is left out.
        last_day: Query<Option<Day>>,
    ) -> Result<Json<Weekly>, Problem> {
        key.require(Scope::CallsRead)?;
        query::only(request, &["weeks", "last_day"])?;
        let last = last(**days, last_day.0);
        let since_monday = last.weekday().num_days_from_monday();
        let ranges = days.until(last, (count.0 - 1) * 7 + since_monday + 1).weeks();
        let reading = self.ask(&db, **days, &ranges, &key).await?;
        Ok(Json(Weekly::new(**days, &ranges, &reading)))
    }
}

fn last(days: Days, given: Option<Day>) -> NaiveDate {
    given.map_or_else(|| days.of(clock::now()), |day| day.0)
}

impl KpiApi {
    async fn ask(&self, db: &PgPool, days: Days, ranges: &[DayRange], key: &Key) -> Result<Reading, Problem> {
        Ok(self.reader.read(db, days, ranges, key.bounds(), clock::now()).await?)
    }
}
