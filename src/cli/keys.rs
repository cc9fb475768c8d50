//! `keys`: API keys. A key is shown once, when it is made; the database keeps a hash of it.

use chrono::{DateTime, TimeDelta, Utc};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde::Serialize;
use uuid::Uuid;

use super::render::{Cell, Column, Ink, Screen, print, print_json, table};
use super::session::{DataDir, Session};
use super::{Failure, Terminal, parse};
use crate::model::{ApiKey, Scope};
use crate::store::keys::{self, KeyRow};

/// Longest life that can be asked for.
const LONGEST: TimeDelta = TimeDelta::days(100 * 366);
const MOST_NAME: usize = 100;

const EXAMPLES: &str = "\
Examples:
  goto-automation keys create --name dashboard
  goto-automation keys create --name report --scope calls:read --expires 90d
  KEY=$(goto-automation keys create --name test)
  goto-automation keys list
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
    /// End a key at once.
    Revoke {
        /// The part of the key between its first and second `_`.
        prefix: String,
    },
}

#[derive(Args)]
struct CreateArgs {
    /// What the key is for, as `keys list` shows it.
    #[arg(long, value_parser = parse_name)]
    name: String,
    /// What the key may do; may be repeated. All reading unless told.
    #[arg(long, value_name = "SCOPE", value_parser = PossibleValuesParser::new(scopes()))]
    scope: Vec<String>,
    /// When the key ends by itself: 12h, 90d, 52w. Never unless told.
    #[arg(long, value_name = "DURATION", value_parser = parse_life)]
    expires: Option<TimeDelta>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// `keys create --json`.
#[derive(Serialize)]
struct CreatedJson<'a> {
    id: Uuid,
    name: &'a str,
    prefix: &'a str,
    /// The whole key. It cannot be shown again.
    key: &'a str,
    scopes: &'a [String],
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
            let keys = keys::list(&session.db).await?;
            let printed =
                if json { print_json(&ListJson { items: &keys }) } else { print(&listed(&session.screen, &keys)) };
            Ok(printed?)
        }
        KeysCommand::Revoke { prefix } => revoke(&session, &prefix).await,
    }
}

async fn make(session: &Session, args: CreateArgs) -> Result<(), Failure> {
    let key = ApiKey::generate();
    let mut scopes = if args.scope.is_empty() { self::scopes().map(str::to_owned).collect() } else { args.scope };
    scopes.sort();
    scopes.dedup();
    let expires_at = args.expires.map(|life| session.screen.now + life);
    let id = keys::insert(&session.db, &args.name, key.prefix(), &key.hash(), &scopes, expires_at).await?;
    if args.json {
        let (name, prefix, key, scopes) = (&args.name, key.prefix(), key.expose(), &scopes);
        print_json(&CreatedJson { id, name, prefix, key, scopes, expires_at })?;
        return Ok(());
    }
    let end = expires_at.map_or_else(|| "never ends".to_owned(), |at| format!("ends {}", session.screen.time(at)));
    eprintln!("Key `{}` ({}), {end}. It is shown this once:", args.name, scopes.join(", "));
    print(&format!("{}\n", key.expose()))?;
    eprintln!("To end it: {}", session.screen.typed(&format!("keys revoke {}", key.prefix())));
    Ok(())
}

async fn revoke(session: &Session, given: &str) -> Result<(), Failure> {
    // A whole key is understood too, since that is what a person finds in a leak.
    let prefix = given.strip_prefix("gta_").unwrap_or(given).split('_').next().unwrap_or_default();
    let Some(at) = keys::revoke(&session.db, prefix).await? else {
        let list = session.screen.typed("keys list");
        return Err(Failure::failed(format!("There is no key with this prefix. `{list}` shows them all.")));
    };
    let since = session.screen.time(at);
    Ok(print(&format!("The key {prefix} is revoked since {since}. Nothing accepts it any more.\n"))?)
}

fn listed(screen: &Screen, keys: &[KeyRow]) -> String {
    const COLUMNS: [Column; 6] = [
        Column::fixed("PREFIX"),
        Column::narrowing("NAME", 10),
        Column::fixed("STATE").expendable(1),
        Column::fixed("LAST USED").expendable(2),
        Column::narrowing("SCOPES", 10).expendable(3),
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
        (None, Some(at)) => (Ink::Plain, format!("Ends {}", screen.day(at))),
        (None, None) => (Ink::Plain, "Valid".to_owned()),
    }
}

fn scopes() -> impl Iterator<Item = &'static str> {
    Scope::ALL.iter().map(|scope| scope.as_str())
}

fn parse_name(text: &str) -> Result<String, String> {
    let name = text.trim();
    let fits = (1..=MOST_NAME).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if fits { Ok(name.to_owned()) } else { Err(format!("a name has 1 to {MOST_NAME} printable characters")) }
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
            scopes: scopes().map(str::to_owned).collect(),
            created_at: "2026-11-01T08:00:00Z".parse().unwrap(),
            expires_at: expires.map(|at| at.parse().unwrap()),
            revoked_at: revoked.then(|| "2026-11-10T08:00:00Z".parse().unwrap()),
            last_used_at: (!revoked).then(|| "2026-11-17T06:59:00Z".parse().unwrap()),
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
            expires_at: Some("2027-02-15T07:04:00Z".parse().unwrap()),
        };
        insta::assert_json_snapshot!("created", created);
        insta::assert_json_snapshot!("list", ListJson { items: &[key("Dashboard", None, false)] });
    }
}
