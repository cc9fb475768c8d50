//! The REST API of a million calls with transcripts, over HTTP to the real `serve`, by eight connections.

mod client;
mod questions;
mod world;

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use goto_automation::model::ApiKey;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::time::interval;
use tokio_util::task::AbortOnDropHandle;

use crate::report::percentile;
use crate::server::Server;
use crate::{Figures, Options, webhook};
use client::Client;
use questions::Question;
use world::World;

/// So many ask at the same time.
const CONNECTIONS: usize = 8;
/// Requests of each kind that are counted, on all connections.
const REQUESTS: usize = 1_000;
/// So long they are asked before, and not counted: a world has a million pages, and 200 requests meet few of them (lists
/// had 28 ms at the 99th percentile then, and 20 some thousand requests later).
const WARM_UP: Duration = Duration::from_secs(10);
/// Time between two requests beside webhooks: 50 each second.
const BESIDE: Duration = Duration::from_millis(20);
/// Webhooks without requests beside them and with some, by turns: the machine is not the same all the time, and what one
/// turn has left to be cleaned up by the database slows down the next, so neither always comes first.
const TURNS: [bool; 4] = [false, true, true, false];
/// So often: single turns of one kind differ by a tenth (an autovacuum, a checkpoint). Together they have to end before
/// nobody believes the numbers of the days any more, because the worker is gone.
const ROUNDS: usize = 4;
/// What people ask beside webhooks: mostly lists and calls.
const MIX: [Question; 10] = [
    questions::list,
    questions::call,
    questions::list,
    questions::call,
    questions::numbers,
    questions::list,
    questions::call,
    questions::rare_word,
    questions::list,
    questions::call,
];
/// Two years are added up in less.
const ADDING_UP: Duration = Duration::from_mins(10);

pub(crate) async fn measure(server: &Server, options: &Options) -> anyhow::Result<Figures> {
    let Some(url) = &options.world else {
        let database = server.database().await?;
        let world = World::make(&database.url, options.calls).await?;
        let figures = measure_in(world, &database.url, &database.pool).await?;
        server.drop(database).await?;
        return Ok(figures);
    };
    let db = PgPool::connect(url).await?;
    measure_in(World::find(&db).await?, url, &db).await
}

async fn measure_in(world: World, url: &str, db: &PgPool) -> anyhow::Result<Figures> {
    let key = make_key(db).await?;
    let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
    let mut serve = webhook::program(&["serve"], url)
        .env("API_PORT", port.to_string())
        .env("API_RATE_LIMIT", "1000000")
        .env("GOTO_WEBHOOK_SECRET", webhook::SECRET)
        .spawn()?;
    // Keeps the numbers of the days, and has nothing else to do.
    let mut worker = webhook::program(&["worker", "--steps", "notify"], url).spawn()?;
    numbers_are_there(db).await?;
    let process = serve.id().context("serve has ended")?;
    let asker = Asker { port, key: key.expose().to_owned(), world };
    let mut figures = asker.answer_times().await?;
    let before = webhook::memory(process, "VmRSS")?;
    let (rows, seconds) = asker.export().await?;
    let most = webhook::memory(process, "VmHWM")?;
    println!("{rows} rows in {seconds:.1} s; resident memory {before:.1} MiB before, at most {most:.1} MiB");
    figures.push(("api_csv_rows_per_s", rows as f64 / seconds));
    figures.push(("api_csv_growth_mib", most - before));
    // As in the measure `webhook`.
    worker.kill().await?;
    figures.extend(webhooks_beside(&asker).await?);
    serve.kill().await?;
    Ok(figures)
}

/// Waits until all days are added up.
async fn numbers_are_there(db: &PgPool) -> anyhow::Result<()> {
    let began = Instant::now();
    let ready = "SELECT count(*) > 0 AND count(stale_since) = 0 FROM kpis";
    while !sqlx::query_scalar::<_, bool>(ready).fetch_one(db).await? {
        ensure!(began.elapsed() < ADDING_UP, "the numbers of the days are not there after {ADDING_UP:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("The days were added up in {:.0} s.", began.elapsed().as_secs_f64());
    Ok(())
}

/// Webhooks without and with requests to the API beside them.
async fn webhooks_beside(asker: &Asker) -> anyhow::Result<Figures> {
    let (mut alone, mut beside, mut asked) = (Vec::new(), Vec::new(), 0);
    for asks in TURNS.repeat(ROUNDS) {
        if !asks {
            alone.push(webhook::pace(asker.port).await?);
            continue;
        }
        let asking = AbortOnDropHandle::new(tokio::spawn(asker.clone().ask_until(Instant::now() + webhook::LASTS)));
        beside.push(webhook::pace(asker.port).await?);
        asked += asking.await??;
    }
    let rate = asked as f64 / (beside.len() as f64 * webhook::LASTS.as_secs_f64());
    let [(alone, alone_p99), (beside, beside_p99)] = [alone, beside].map(together);
    println!(
        "webhooks alone {alone:.0}/s, p99 {alone_p99:.1} ms; beside {rate:.0} requests/s {beside:.0}/s, p99 {beside_p99:.1} ms"
    );
    Ok(vec![
        ("api_webhook_ratio", beside / alone),
        ("api_webhook_calls_per_s", beside),
        ("api_webhook_p99_ms", beside_p99),
    ])
}

/// The rate of all turns, which are of one length, and the median of their times.
fn together(turns: Vec<(f64, f64)>) -> (f64, f64) {
    let (rates, mut times): (Vec<f64>, Vec<f64>) = turns.into_iter().unzip();
    println!("turns of {}", rates.iter().map(|rate| format!("{rate:.0}")).collect::<Vec<_>>().join(", "));
    (rates.iter().sum::<f64>() / rates.len() as f64, percentile(&mut times, 50))
}

async fn make_key(db: &PgPool) -> anyhow::Result<ApiKey> {
    let key = ApiKey::generate();
    sqlx::query(
        "INSERT INTO api_keys (id, name, prefix, hash, scopes)
         VALUES (gen_random_uuid(), 'bench', $1, $2, '{calls:read,transcripts:read}')",
    )
    .bind(key.prefix())
    .bind(key.hash().as_slice())
    .execute(db)
    .await?;
    Ok(key)
}

/// Knows where and as whom to ask, and for what.
#[derive(Clone)]
struct Asker {
    port: u16,
    key: String,
    world: World,
}

impl Asker {
    async fn client(&self) -> anyhow::Result<Client> {
        Client::connect(self.port, &self.key).await
    }

    /// The 99th percentile of each kind of question.
    async fn answer_times(&self) -> anyhow::Result<Figures> {
        let kinds: [(&str, Question); 7] = [
            ("api_list_p99_ms", questions::list),
            ("api_next_page_p99_ms", questions::next_page),
            ("api_call_p99_ms", questions::call),
            ("api_search_common_p99_ms", questions::common_word),
            ("api_search_rare_p99_ms", questions::rare_word),
            ("api_search_filter_p99_ms", questions::word_and_filter),
            ("api_kpi_p99_ms", questions::numbers),
        ];
        let mut figures = Figures::new();
        for (name, question) in kinds {
            let mut asked = self.ask_all(question).await?;
            asked.sort_by(|one, other| one.0.total_cmp(&other.0));
            let slowest = asked.last().map_or("", |(_, path)| path).to_owned();
            let mut times: Vec<f64> = asked.into_iter().map(|(time, _)| time).collect();
            let [middle, longest] = [50, 100].map(|percent| percentile(&mut times, percent));
            println!("{name:<26} p50 {middle:.1} ms, longest {longest:.1} ms: {slowest}");
            figures.push((name, percentile(&mut times, 99)));
        }
        Ok(figures)
    }

    /// Milliseconds of each request that is counted, and its path.
    async fn ask_all(&self, question: Question) -> anyhow::Result<Vec<(f64, String)>> {
        let mut askers = Vec::new();
        for _ in 0..CONNECTIONS {
            askers.push(tokio::spawn(ask(self.client().await?, question, self.world)));
        }
        let mut times = Vec::new();
        for asked in futures::future::join_all(askers).await {
            times.extend(asked??);
        }
        Ok(times)
    }

    /// Lines and seconds of the export of everything.
    async fn export(&self) -> anyhow::Result<(usize, f64)> {
        let began = Instant::now();
        let rows = self.client().await?.count_lines("/api/calls.csv").await? - 1;
        ensure!(rows as i64 >= self.world.calls, "the export has {rows} calls");
        Ok((rows, began.elapsed().as_secs_f64()))
    }

    /// Asks what people ask, at a steady pace; tells how often.
    async fn ask_until(self, end: Instant) -> anyhow::Result<usize> {
        let mut client = self.client().await?;
        let mut ticks = interval(BESIDE);
        let mut asked = 0;
        for question in MIX.iter().cycle() {
            ticks.tick().await;
            if Instant::now() >= end {
                break;
            }
            let path = question(&mut client, self.world).await?;
            client.get(&path).await?;
            asked += 1;
        }
        Ok(asked)
    }
}

async fn ask(mut client: Client, question: Question, world: World) -> anyhow::Result<Vec<(f64, String)>> {
    let mut times = Vec::new();
    let warm = Instant::now() + WARM_UP;
    while times.len() < REQUESTS / CONNECTIONS {
        // What has to be asked first does not count.
        let path = question(&mut client, world).await?;
        let began = Instant::now();
        client.get(&path).await?;
        if began >= warm {
            times.push((began.elapsed().as_secs_f64() * 1_000.0, path));
        }
    }
    Ok(times)
}
