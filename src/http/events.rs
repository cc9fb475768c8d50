//! `/api/events`: calls, jobs and action items as they change, in a stream that can be taken up again.

mod live;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::{Stream, stream};
use poem::Request;
use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::Header;
use sqlx::PgPool;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::auth::Key;
use super::openapi::Group;
use super::problem::Problem;
use super::query;
use super::schema::EventKind;
use super::seats::{Seat, Seats};
use super::server::Line;
use crate::model::{CallBounds, Scope, clock};
use crate::pipeline::forgetting::KEPT;
use crate::store::changes::{self, Change, Place};
use crate::store::{self, Guarded};
use live::{Event, Live, heartbeat};

/// Between two looks for something new.
const LOOK: Duration = Duration::from_secs(1);
/// Longest silence. Below the minute after which our server, and many a proxy, takes a silent client for gone.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often it is looked whether the key is still good: a revoked one must be of no use after 5 s.
const KEY_LOOK: Duration = Duration::from_secs(3);
/// Rows of changes that are read at a time.
const ROWS: i64 = 20;
/// A transaction that began so long before it was read may still be found again.
const MARGIN: TimeDelta = TimeDelta::minutes(30);

/// Most streams of one key in this process.
const OF_KEY: usize = 5;
/// Most of all keys: each asks the database once a second.
const OF_ALL: usize = 100;

/// The operations on events.
pub struct EventsApi {
    seats: Seats,
}

impl Default for EventsApi {
    fn default() -> Self {
        Self { seats: Seats::new(OF_KEY, OF_ALL) }
    }
}

#[OpenApi(tag = "Group::Events")]
impl EventsApi {
    /// Follow what changes
    ///
    /// Server-sent events. The first is `ready`; then comes one for each change of a call, a job or an action item, about a
    /// second after it, and at least every 15 s a comment. After a break, connect again with the `id` of the last event in
    /// the header `Last-Event-ID`, as every EventSource does: then nothing is missed. After more than 23 hours the first
    /// event is `reset` instead: what you know of the calls is to be asked for again. A key may have five streams. Needs
    /// the scope `calls:read`.
    #[oai(path = "/api/events", method = "get", operation_id = "followEvents")]
    async fn follow(
        &self,
        key: Key,
        request: &Request,
        db: Data<&PgPool>,
        /// `id` of the last event that you have got.
        #[oai(name = "Last-Event-ID")]
        last_event_id: Header<Option<String>>,
    ) -> Result<Live, Problem> {
        key.require(Scope::CallsRead)?;
        query::only(request, &[])?;
        let bad = || Problem::bad_header("Last-Event-ID", "the `id` of an event as it came, or no such header");
        let last: Option<EventId> = last_event_id.0.map(|id| id.parse()).transpose().map_err(|()| bad())?;
        // One that is no text does not come as a parameter. Without it, what it stands for would be missed in silence.
        if last.is_none() && request.headers().contains_key("last-event-id") {
            return Err(bad());
        }
        let seat = self.seats.take(key.id()).ok_or_else(Problem::too_many_streams)?;
        let follower = Follower::new(&db, &key, last, seat).await?;
        Ok(Live::new(Line::of(request).carry_on(follower.texts())))
    }
}

/// Where in the stream an event stands, and of when that place is, in seconds since 1970: what came after it is there as
/// long as the place itself is not too old, whenever it was sent. Opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct EventId {
    at: i64,
    place: Place,
    nth: i64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}-{}", self.at, self.place.transaction, self.place.id, self.nth)
    }
}

impl FromStr for EventId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let numbers: Vec<i64> = text
            .split('-')
            .map(|part| part.parse().ok().filter(|number: &i64| *number >= 0 && !part.starts_with('+')))
            .collect::<Option<_>>()
            .ok_or(())?;
        let [at, transaction, id, nth] = numbers[..] else { return Err(()) };
        Ok(Self { at, place: Place { transaction, id }, nth })
    }
}

impl EventId {
    /// Whether all that came after it is still there. Not so either where it is of another database, whose transactions
    /// have other numbers.
    fn is_known(self, present: Place, now: DateTime<Utc>) -> bool {
        let kept = TimeDelta::from_std(KEPT).unwrap_or_default() - MARGIN;
        let since = now.timestamp() - kept.num_seconds();
        self.at >= since && self.place.transaction <= present.transaction
    }
}

/// One stream.
struct Follower {
    db: PgPool,
    key: Uuid,
    bounds: CallBounds,
    /// How far it has come.
    id: EventId,
    greeting: Option<EventKind>,
    key_seen: Instant,
    spoken: Instant,
    _seat: Seat,
}

impl Follower {
    async fn new(db: &PgPool, key: &Key, last: Option<EventId>, seat: Seat) -> Result<Self, Problem> {
        let mut connection = Guarded::acquire(db).await?;
        let present = changes::present(&mut connection).await?;
        connection.release();
        let known = last.filter(|last| last.is_known(present, clock::now()));
        let greeting = if last.is_some() && known.is_none() { EventKind::Reset } else { EventKind::Ready };
        let id = known.unwrap_or_else(|| EventId { at: clock::now().timestamp(), place: present, nth: 0 });
        Ok(Self {
            db: db.clone(),
            key: key.id(),
            bounds: key.bounds().clone(),
            id,
            greeting: Some(greeting),
            key_seen: Instant::now(),
            spoken: Instant::now(),
            _seat: seat,
        })
    }

    fn texts(self) -> impl Stream<Item = String> + Send {
        stream::unfold(self, |mut follower| async move {
            let text = follower.next().await?;
            follower.spoken = Instant::now();
            Some((text, follower))
        })
    }

    /// What is to be sent next; `None` = the key is not good any more. A database that is away is waited for.
    async fn next(&mut self) -> Option<String> {
        if let Some(greeting) = self.greeting.take() {
            return Some(Event::of_stream(greeting, clock::now()).text(&self.id.to_string()));
        }
        loop {
            if self.key_seen.elapsed() >= KEY_LOOK {
                if let Ok(false) = store::keys::is_active(&self.db, self.key).await {
                    return None;
                }
                self.key_seen = Instant::now();
            }
            match changes::after(&self.db, self.id.place, self.id.nth, &self.bounds, ROWS).await {
                Ok(found) => {
                    let text = self.tell(&found);
                    if !text.is_empty() {
                        return Some(text);
                    }
                    if found.is_empty() {
                        sleep(LOOK).await;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "An event stream waits for the database.");
                    sleep(LOOK).await;
                }
            }
            if self.spoken.elapsed() >= HEARTBEAT {
                return Some(heartbeat(&self.id.to_string()));
            }
        }
    }

    /// The events of these changes, each with its id; the stream has then come to the last of them.
    fn tell(&mut self, found: &[Change]) -> String {
        let mut text = String::new();
        if found.is_empty() {
            // All that came so far is behind this place.
            self.id.at = clock::now().timestamp();
        }
        for change in found {
            self.id = EventId { at: change.at.timestamp(), place: change.place, nth: change.nth };
            if let Some(event) = Event::of_change(change).filter(|_| change.is_within) {
                text.push_str(&event.text(&self.id.to_string()));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn id() -> EventId {
        EventId { at: 1_767_607_200, place: Place { transaction: 740, id: i64::MAX }, nth: 3 }
    }

    #[test]
    fn an_id_reads_back() {
        assert_eq!(id().to_string().parse(), Ok(id()));
    }

    #[rstest]
    #[case("")]
    #[case("1-2-3")]
    #[case("1-2-3-4-5")]
    #[case("1--2-3-4")]
    #[case("1-2-3-x")]
    #[case("1-2-3-+4")]
    #[case("1-2-3-99999999999999999999")]
    fn others_are_none_of_ours(#[case] text: &str) {
        assert_eq!(text.parse::<EventId>(), Err(()));
    }

    #[test]
    fn what_was_forgotten_meanwhile_is_not_pretended_to_be_there() {
        let present = Place { transaction: 740, id: i64::MAX };
        let after = |hours: i64| DateTime::from_timestamp(id().at + hours * 3600, 0).unwrap();
        assert!(id().is_known(present, after(0)));
        assert!(id().is_known(present, after(23)));
        assert!(!id().is_known(present, after(24)));
        assert!(!id().is_known(Place { transaction: 739, id: i64::MAX }, after(0)), "another database");
    }

    /// Also those that a client hears nothing of carry its place on, and no further in time than in the row of changes.
    #[tokio::test]
    async fn a_place_is_as_old_as_what_stands_there() {
        let db = PgPool::connect_lazy("postgres://127.0.0.1:1/none").unwrap();
        let seat = Seats::new(1, 1).take(Uuid::nil()).unwrap();
        let (key, bounds, now) = (Uuid::nil(), CallBounds::default(), Instant::now());
        let mut follower =
            Follower { db, key, bounds, id: id(), greeting: None, key_seen: now, spoken: now, _seat: seat };
        let at = clock::now() - TimeDelta::hours(20);
        let change = Change {
            place: Place { transaction: 750, id: 1 },
            nth: 1,
            at,
            kind: "call".into(),
            call_id: Uuid::nil(),
            state: "completed".into(),
            job_id: None,
            step: None,
            item_id: None,
            is_within: false,
        };
        assert_eq!(follower.tell(&[change]), "");
        assert_eq!((follower.id.at, follower.id.place.transaction), (at.timestamp(), 750));
        follower.tell(&[]);
        assert!(clock::now().timestamp() - follower.id.at < 60, "there is nothing behind it");
        assert_eq!(follower.id.place.transaction, 750);
    }
}
