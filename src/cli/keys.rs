//! `keys`: API keys. A key is shown once, when it is made; the database keeps a hash of it.

use chrono::{DateTime, TimeDelta, Utc};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use serde::Serialize;
use uuid::Uuid;

use super::parse::{self, Moment};
use super::render::{Cell, Column, Ink, Screen, print, print_json, table};
use super::session::{DataDir, Session};
use super::{Failure, Terminal};
use crate::model::{ApiKey, CallBounds, Direction, Scope};
use crate::pipeline::keys::{self, Rotation, Wanted};
use crate::store;
use crate::store::keys::KeyRow;

/// Longest life that can be asked for.
const LONGEST: TimeDelta = TimeDelta::days(100 * 366);

const EXAMPLES: &str = "\
Examples:
  goto-automation keys create --name dashboard
  goto-automation keys create --name report --scope calls:read --expires 90d
  goto-automation keys create --name berlin --direction inbound --number +4930
  KEY=$(goto-automation keys create --name test)
  goto-automation keys list
  goto-automation keys rotate 4hT0zQ7a --overlap 2d
  goto-automation keys revoke 4hT0zQ7a";

/// Make and revoke API keys.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
    #[command(flatten)]
    data: DataDir,
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Make a key and print it, once and alone, on standard output.
    Create(CreateArgs),
    /// List all keys, newest first.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a key that takes the place of another; for a while both are good.
    Rotate(RotateArgs),
    /// End a key at once.
    Revoke {
        /// The part of the key between its first and second `_`.
        prefix: String,
    },
}

#[derive(Args)]
struct CreateArgs {
    /// What the key is for, as `keys list` shows it.
    #[arg(long)]
    name: String,
    /// What the key may do; may be repeated. All reading unless told.
    #[arg(long, value_name = "SCOPE", value_parser = scope_parser())]
    scope: Vec<Scope>,
    /// Only calls in this direction.
    #[arg(long, value_name = "DIRECTION", value_parser = direction_parser())]
    direction: Option<Direction>,
    /// Only calls whose caller's or called number begins so.
    #[arg(long, value_name = "PREFIX", allow_hyphen_values = true)]
    number: Option<String>,
    /// Only calls of this time or later: 2026-11-17, 2026-11-17T08:00.
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    from: Option<Moment>,
    /// Only calls before this time.
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    to: Option<Moment>,
    /// When the key ends by itself: 12h, 90d, 52w. Never unless told.
    #[arg(long, value_name = "DURATION", value_parser = parse_life)]
    expires: Option<TimeDelta>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct RotateArgs {
    /// The part of the old key between its first and second `_`.
    prefix: String,
    /// How long the old key stays good besides the new one.
    #[arg(long, value_name = "DURATION", value_parser = parse_life, default_value = "24h")]
    overlap: TimeDelta,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// `keys create --json` and `keys rotate --json`.
#[derive(Serialize)]
struct CreatedJson<'a> {
    id: Uuid,
    name: &'a str,
    prefix: &'a str,
    /// The whole key. It cannot be shown again.
    key: &'a str,
    scopes: &'a [String],
    bounds: &'a CallBounds,
    expires_at: Option<DateTime<Utc>>,
}

/// `keys list --json`.
#[derive(Serialize)]
struct ListJson<'a> {
    items: &'a [KeyRow],
}

/// Runs the command.
pub async fn run(args: KeysArgs, terminal: &Terminal) -> Result<(), Failure> {
    let session = Session::open(terminal, &args.data).await?;
    match args.command {
        KeysCommand::Create(create) => make(&session, create).await,
        KeysCommand::List { json } => {
            let keys = store::keys::list(&session.db, None, i64::MAX).await?;
            let printed =
                if json { print_json(&ListJson { items: &keys }) } else { print(&listed(&session.screen, &keys)) };
            Ok(printed?)
        }
        KeysCommand::Rotate(rotate) => replace(&session, rotate).await,
        KeysCommand::Revoke { prefix } => revoke(&session, &prefix).await,
    }
}

async fn make(session: &Session, args: CreateArgs) -> Result<(), Failure> {
    let moment = |moment: Option<Moment>| moment.map(|moment| moment.in_zone(session.screen.zone));
    let wanted = Wanted {
        name: args.name.trim().to_owned(),
        scopes: args.scope,
        bounds: CallBounds {
            direction: args.direction,
            number_prefix: args.number,
            from: moment(args.from),
            to: moment(args.to),
        },
        expires_at: args.expires.map(|life| session.screen.now + life),
    };
    if let Some(unfit) = wanted.check(session.screen.now).first() {
        return Err(Failure::usage(format!("{}: expected {}.", flag(unfit.field), unfit.expected)));
    }
    let key = ApiKey::generate();
    let mut transaction = session.db.begin().await?;
    let row = keys::create(&mut transaction, &session.actor, &key, &wanted).await?;
    transaction.commit().await?;
    show_once(session, &key, &row, args.json)
}

async fn replace(session: &Session, args: RotateArgs) -> Result<(), Failure> {
    let (key, prefix) = (ApiKey::generate(), prefix_of(&args.prefix));
    let mut transaction = session.db.begin().await?;
    let Some(old) = store::keys::find(&mut transaction, prefix).await? else { return Err(no_such_key(session)) };
    let now = session.screen.now;
    let rotation = keys::rotate(&mut transaction, &session.actor, &key, old, now, args.overlap).await?;
    transaction.commit().await?;
    match rotation {
        Rotation::Done(row) => {
            eprintln!("The key {prefix} ends {} at the latest.", session.screen.time(now + args.overlap));
            show_once(session, &key, &row, args.json)
        }
        Rotation::Refused(old) => {
            let why = match (old.revoked_at, old.replaced_by) {
                (Some(_), _) => "is revoked",
                (None, Some(_)) => "has a successor already",
                (None, None) => "has ended",
            };
            let create = session.screen.typed("keys create --name NAME");
            Err(Failure::failed(format!("The key {prefix} {why}. Rotate another, or make a new one: {create}")))
        }
        Rotation::NotFound => Err(no_such_key(session)),
    }
}

fn show_once(session: &Session, key: &ApiKey, row: &KeyRow, json: bool) -> Result<(), Failure> {
    let KeyRow { id, name, prefix, scopes, bounds, expires_at, .. } = row;
    if json {
        let key = key.expose();
        print_json(&CreatedJson { id: *id, name, prefix, key, scopes, bounds, expires_at: *expires_at })?;
        return Ok(());
    }
    let end = expires_at.map_or_else(|| "never ends".to_owned(), |at| format!("ends {}", session.screen.time(at)));
    let limits = limits(&session.screen, bounds).map(|limits| format!(" for calls {limits}")).unwrap_or_default();
    eprintln!("Key `{name}` ({}){limits}, {end}. It is shown this once:", scopes.join(", "));
    print(&format!("{}\n", key.expose()))?;
    eprintln!("To end it: {}", session.screen.typed(&format!("keys revoke {prefix}")));
    Ok(())
}

async fn revoke(session: &Session, given: &str) -> Result<(), Failure> {
    let prefix = prefix_of(given);
    let mut transaction = session.db.begin().await?;
    let Some(id) = store::keys::find(&mut transaction, prefix).await? else { return Err(no_such_key(session)) };
    let row = keys::revoke(&mut transaction, &session.actor, id).await?;
    transaction.commit().await?;
    let since = row.and_then(|row| row.revoked_at).map(|at| session.screen.time(at)).unwrap_or_default();
    Ok(print(&format!("The key {prefix} is revoked since {since}. Nothing accepts it any more.\n"))?)
}

/// A whole key is understood too, since that is what a person finds in a leak.
fn prefix_of(given: &str) -> &str {
    given.strip_prefix("gta_").unwrap_or(given).split('_').next().unwrap_or_default()
}

fn no_such_key(session: &Session) -> Failure {
    let list = session.screen.typed("keys list");
    Failure::failed(format!("There is no key with this prefix. `{list}` shows them all."))
}

/// The option behind a field.
fn flag(field: &str) -> &str {
    match field {
        "name" => "--name",
        "expires_at" => "--expires",
        "bounds.number_prefix" => "--number",
        "bounds.to" => "--to",
        _ => "--direction, --number, --from and --to",
    }
}

/// `inbound, with +4930..., from Mon 1 Feb`; nothing for all calls.
fn limits(screen: &Screen, bounds: &CallBounds) -> Option<String> {
    let parts = [
        bounds.direction.map(|direction| direction.to_string()),
        bounds.number_prefix.as_ref().map(|number| format!("with {number}...")),
        bounds.from.map(|at| format!("from {}", screen.day(at))),
        bounds.to.map(|at| format!("before {}", screen.day(at))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn listed(screen: &Screen, keys: &[KeyRow]) -> String {
    const COLUMNS: [Column; 7] = [
        Column::fixed("PREFIX"),
        Column::narrowing("NAME", 10),
        Column::fixed("STATE").expendable(1),
        Column::fixed("LAST USED").expendable(2),
        Column::narrowing("SCOPES", 10).expendable(3),
        Column::optional("CALLS"),
        Column::optional("MADE"),
    ];
    if keys.is_empty() {
        return format!("No API keys yet. Make one: {}\n", screen.typed("keys create --name NAME"));
    }
    let rows: Vec<_> = keys
        .iter()
        .map(|key| {
            let (ink, state) = state(screen, key);
            let used = key.last_used_at.map_or_else(|| "Never".to_owned(), |at| screen.time(at));
            vec![
                Cell::plain(&key.prefix),
                Cell::plain(&key.name),
                Cell::new(ink, &state),
                Cell::plain(&used),
                Cell::plain(&key.scopes.join(", ")),
                Cell::plain(&limits(screen, &key.bounds).unwrap_or_else(|| "All".to_owned())),
                Cell::plain(&screen.time(key.created_at)),
            ]
        })
        .collect();
    table(screen, &COLUMNS, &rows)
}

fn state(screen: &Screen, key: &KeyRow) -> (Ink, String) {
    match (key.revoked_at, key.expires_at) {
        (Some(_), _) => (Ink::Grey, "Revoked".to_owned()),
        (None, Some(at)) if at <= screen.now => (Ink::Grey, "Ended".to_owned()),
        (None, Some(at)) if key.replaced_by.is_some() => (Ink::Plain, format!("Replaced, ends {}", screen.day(at))),
        (None, Some(at)) => (Ink::Plain, format!("Ends {}", screen.day(at))),
        (None, None) => (Ink::Plain, "Valid".to_owned()),
    }
}

fn scope_parser() -> impl TypedValueParser<Value = Scope> {
    PossibleValuesParser::new(Scope::ALL.iter().map(|scope| scope.as_str())).try_map(|text| text.parse::<Scope>())
}

fn direction_parser() -> impl TypedValueParser<Value = Direction> {
    PossibleValuesParser::new(Direction::ALL.iter().map(|direction| direction.as_str()))
        .try_map(|text| text.parse::<Direction>())
}

fn parse_life(text: &str) -> Result<TimeDelta, String> {
    let life = parse::duration(text)?;
    if life <= LONGEST { Ok(life) } else { Err("a key lives 1s to 100 years".to_owned()) }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn key(name: &str, expires: Option<&str>, revoked: bool) -> KeyRow {
        KeyRow {
            id: Uuid::nil(),
            name: name.to_owned(),
            prefix: "4hT0zQ7a".to_owned(),
            scopes: Scope::READING.iter().map(ToString::to_string).collect(),
            bounds: CallBounds::default(),
            created_at: "2026-11-01T08:00:00Z".parse().unwrap(),
            expires_at: expires.map(|at| at.parse().unwrap()),
            revoked_at: revoked.then(|| "2026-11-10T08:00:00Z".parse().unwrap()),
            last_used_at: (!revoked).then(|| "2026-11-17T06:59:00Z".parse().unwrap()),
            replaced_by: None,
        }
    }

    #[rstest]
    #[case("90d", Some(90 * 86_400))]
    #[case("12h", Some(43_200))]
    #[case("52w", Some(52 * 7 * 86_400))]
    #[case("0d", None)]
    #[case("-1d", None)]
    #[case("90", None)]
    #[case("d", None)]
    #[case("9000000000000000000w", None)]
    #[case("101000d", None)]
    #[case("1é", None)]
    fn lives_are_durations(#[case] text: &str, #[case] seconds: Option<i64>) {
        assert_eq!(parse_life(text).ok(), seconds.map(TimeDelta::seconds));
    }

    #[test]
    fn the_list_fits_80_columns() {
        let keys = [
            key("Dashboard", None, false),
            key("The nightly export of the warehouse", Some("2027-02-01T00:00:00Z"), false),
            key("Old", Some("2026-11-02T00:00:00Z"), false),
            key("Leaked", None, true),
        ];
        let text = listed(&Screen::for_tests(), &keys);
        assert!(text.lines().all(|line| super::super::render::width_of(line) <= 80), "{text}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn json_keeps_its_shape() {
        let scopes = ["calls:read".to_owned()];
        let created = CreatedJson {
            id: Uuid::nil(),
            name: "test",
            prefix: "4hT0zQ7a",
            key: "gta_4hT0zQ7a_...",
            scopes: &scopes,
            bounds: &CallBounds { number_prefix: Some("+4930".to_owned()), ..CallBounds::default() },
            expires_at: Some("2027-02-15T07:04:00Z".parse().unwrap()),
        };
        insta::assert_json_snapshot!("created", created);
        insta::assert_json_snapshot!("list", ListJson { items: &[key("Dashboard", None, false)] });
    }
}
