//! What is asked: random, and of the kinds that people ask.

use futures::future::BoxFuture;
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;

use super::client::Client;
use super::world::World;

/// Makes the path of a request; some have to ask something first.
pub(super) type Question = for<'a> fn(&'a mut Client, World) -> BoxFuture<'a, anyhow::Result<String>>;

/// Two different filters and a page of 50.
pub(super) fn list(_: &mut Client, world: World) -> BoxFuture<'_, anyhow::Result<String>> {
    Box::pin(async move { Ok(random_list(world)) })
}

/// The second page of a list that begins anywhere in time.
pub(super) fn next_page(client: &mut Client, world: World) -> BoxFuture<'_, anyhow::Result<String>> {
    Box::pin(async move {
        loop {
            let path = format!("/api/calls/?limit=50&{}&{}", other_filter(), before(world));
            let page = client.get(&path).await?;
            if let Some((_, cursor)) = page.rsplit_once("\"next_cursor\":\"") {
                let cursor = cursor.split('"').next().unwrap_or_default();
                return Ok(format!("{path}&cursor={cursor}"));
            }
        }
    })
}

/// One call with everything.
pub(super) fn call(_: &mut Client, world: World) -> BoxFuture<'_, anyhow::Result<String>> {
    let number = rand::rng().random_range(1..=world.calls);
    Box::pin(async move {
        let digits = format!("0195{number:028x}");
        let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
        Ok(format!("/api/calls/{}", parts.join("-")))
    })
}

/// A word that is in one of ten calls, or in all of them.
pub(super) fn common_word(_: &mut Client, _: World) -> BoxFuture<'_, anyhow::Result<String>> {
    let word = word(rand::rng().random_range(1..=300));
    Box::pin(async move { Ok(format!("/api/calls/?q={word}")) })
}

/// A word that is in one of two hundred to one of six hundred calls, or two of them.
pub(super) fn rare_word(_: &mut Client, _: World) -> BoxFuture<'_, anyhow::Result<String>> {
    let [one, other] = [0, 0].map(|_: i32| rand::rng().random_range(5_000..=19_999));
    let second = if one % 2 == 0 { String::new() } else { format!("%20{}", word(other)) };
    Box::pin(async move { Ok(format!("/api/calls/?q={}{second}", word(one))) })
}

/// A word of any kind in calls of any kind.
pub(super) fn word_and_filter(_: &mut Client, world: World) -> BoxFuture<'_, anyhow::Result<String>> {
    let word = word(20_000_f64.powf(rand::rng().random::<f64>()) as i32);
    Box::pin(async move { Ok(format!("/api/calls/?q={word}&{}", filter(world))) })
}

/// The numbers of a period.
pub(super) fn numbers(_: &mut Client, _: World) -> BoxFuture<'_, anyhow::Result<String>> {
    let period = ["today", "yesterday", "7d", "30d"][rand::rng().random_range(0..4)];
    Box::pin(async move { Ok(format!("/api/kpi/dashboard?period={period}")) })
}

pub(super) fn random_list(world: World) -> String {
    let (first, mut second) = (filter(world), filter(world));
    while name(&first) == name(&second) {
        second = filter(world);
    }
    format!("/api/calls/?limit=50&{first}&{second}")
}

/// As in `paragraphs.sql`.
fn word(number: i32) -> String {
    const LETTERS: &[u8; 10] = b"bcfghjklmn";
    let letters =
        number.to_string().bytes().map(|digit| LETTERS[usize::from(digit - b'0')] as char).collect::<String>();
    format!("z{letters}")
}

fn name(filter: &str) -> &str {
    filter.split('=').next().unwrap_or_default()
}

fn filter(world: World) -> String {
    if rand::rng().random_range(0..9) == 0 { before(world) } else { other_filter() }
}

fn other_filter() -> String {
    let mut random = rand::rng();
    let pick = |words: &[&str]| (*words.choose(&mut rand::rng()).expect("there are words")).to_owned();
    match random.random_range(0..8) {
        0 => format!("state={}", pick(&["completed", "failed", "no_recording"])),
        1 => format!("direction={}", pick(&["inbound", "outbound"])),
        2 => format!("sentiment={}", pick(&["positive", "neutral", "negative", "mixed"])),
        3 => format!("urgency_at_least={}", random.random_range(2..=5)),
        4 => format!("topic=topic{}", random.random_range(0..300)),
        5 => format!("caller=%2B1555{:04}", random.random_range(0..50)),
        6 => format!("caller=%2B1555{:07}", random.random_range(0..50_000)),
        _ => "has_open_actions=true".to_owned(),
    }
}

fn before(world: World) -> String {
    format!("to={}", world.any_moment().format("%Y-%m-%dT%H:%M:%SZ"))
}
