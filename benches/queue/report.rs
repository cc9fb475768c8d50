//! What was measured, beside its goals: a line for each figure, and all of them in `target/bench/latest.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

/// Below this many single-row inserts per second a machine is judged by ratios.
const FAST_MACHINE: f64 = 10_000.0;

/// What a figure should be.
#[derive(Clone, Copy)]
enum Goal {
    /// At least so many times `cal`; on a fast machine at least so many.
    Rate(f64, f64),
    AtLeast(f64),
    Below(f64),
    /// Told, not judged.
    None,
}

/// Name, unit and goal of every figure, in the order of the report.
const FIGURES: [(&str, &str, Goal); 31] = [
    ("pipeline_chains_per_s", "1/s", Goal::Rate(0.5, 4_000.0)),
    ("drain_c10_jobs_per_s", "1/s", Goal::Rate(1.0, 10_000.0)),
    ("drain_c50_jobs_per_s", "1/s", Goal::Rate(3.0, 30_000.0)),
    ("drain_2proc_jobs_per_s", "1/s", Goal::None),
    ("drain_2proc_ratio", "of c50", Goal::AtLeast(0.9)),
    ("latency_p50_ms", "ms", Goal::Below(1.0)),
    ("latency_p99_ms", "ms", Goal::Below(10.0)),
    ("latency_local_p50_ms", "ms", Goal::None),
    ("latency_local_p99_ms", "ms", Goal::None),
    ("webhook_calls_per_s", "1/s", Goal::Rate(1.0, 5_000.0)),
    ("webhook_p50_ms", "ms", Goal::None),
    ("webhook_p99_ms", "ms", Goal::Below(25.0)),
    ("webhook_rss_mib", "MiB", Goal::Below(64.0)),
    ("history_1m_ratio", "of none", Goal::AtLeast(0.8)),
    ("history_1m_drain_ratio", "of none", Goal::None),
    ("history_1m_pipeline_ratio", "of none", Goal::None),
    ("backlog_500k_ratio", "of none", Goal::AtLeast(0.8)),
    ("backlog_500k_jobs_per_s", "1/s", Goal::None),
    ("idle_queries_per_s", "1/s", Goal::Below(3.0)),
    ("api_list_p99_ms", "ms", Goal::Below(20.0)),
    ("api_next_page_p99_ms", "ms", Goal::Below(20.0)),
    ("api_call_p99_ms", "ms", Goal::Below(5.0)),
    ("api_search_common_p99_ms", "ms", Goal::Below(150.0)),
    ("api_search_rare_p99_ms", "ms", Goal::Below(150.0)),
    ("api_search_filter_p99_ms", "ms", Goal::Below(150.0)),
    ("api_kpi_p99_ms", "ms", Goal::Below(20.0)),
    ("api_csv_rows_per_s", "rows/s", Goal::AtLeast(20_000.0)),
    ("api_csv_growth_mib", "MiB", Goal::Below(16.0)),
    ("api_webhook_ratio", "of none", Goal::AtLeast(0.9)),
    ("api_webhook_calls_per_s", "1/s", Goal::None),
    ("api_webhook_p99_ms", "ms", Goal::None),
];

pub(crate) struct Report {
    postgres: String,
    cal: Vec<f64>,
    /// `cal` of the measure that is under way.
    cal_now: Vec<f64>,
    values: BTreeMap<&'static str, Vec<f64>>,
    finished: Vec<Line>,
}

struct Line {
    name: &'static str,
    unit: &'static str,
    median: f64,
    min: f64,
    max: f64,
    ratio: Option<f64>,
    goal: String,
}

impl Report {
    pub(crate) fn new(postgres: String) -> Self {
        println!(
            "{:<26} {:>10} {:>10} {:>10}  {:<7} {:>6}  goal",
            "name", "median", "minimum", "maximum", "unit", "of cal"
        );
        Self { postgres, cal: Vec::new(), cal_now: Vec::new(), values: BTreeMap::new(), finished: Vec::new() }
    }

    pub(crate) fn calibrate(&mut self, inserts_per_second: f64) {
        self.cal.push(inserts_per_second);
        self.cal_now.push(inserts_per_second);
    }

    pub(crate) fn add(&mut self, figures: super::Figures) {
        for (name, value) in figures {
            self.values.entry(name).or_default().push(value);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.finished.len()
    }

    /// Prints the figures that have come since the last time.
    pub(crate) fn print_new(&mut self) {
        let cal = self.cal_now.iter().sum::<f64>() / self.cal_now.len() as f64;
        let values = std::mem::take(&mut self.values);
        for (name, unit, goal) in FIGURES {
            let Some(values) = values.get(name) else { continue };
            let (median, min, max) = spread(values);
            let ratio = (unit == "1/s" && !name.starts_with("idle")).then(|| median / cal);
            let line = Line { name, unit, median, min, max, ratio, goal: judged(goal, median, cal) };
            line.print();
            self.finished.push(line);
        }
        println!("{:<26} {:>10}  before and after: {}", "cal", round(cal), joined(&self.cal_now));
        self.cal_now.clear();
    }

    pub(crate) fn write(&self) -> anyhow::Result<PathBuf> {
        let (median, min, max) = spread(&self.cal);
        let figures: Vec<Value> = self.finished.iter().map(Line::json).collect();
        let report = json!({
            "machine": machine(&self.postgres),
            "cal": {"median": median, "min": min, "max": max},
            "figures": figures,
        });
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench");
        fs::create_dir_all(&folder)?;
        let path = folder.join("latest.json");
        fs::write(&path, serde_json::to_string_pretty(&report)?)?;
        Ok(path)
    }
}

impl Line {
    fn print(&self) {
        let ratio = self.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
        let (median, min, max) = (round(self.median), round(self.min), round(self.max));
        println!("{:<26} {median:>10} {min:>10} {max:>10}  {:<7} {ratio:>6}  {}", self.name, self.unit, self.goal);
    }

    fn json(&self) -> Value {
        json!({"name": self.name, "median": self.median, "min": self.min, "max": self.max, "unit": self.unit,
            "ratio": self.ratio.unwrap_or_default(), "goal": self.goal})
    }
}

fn judged(goal: Goal, median: f64, cal: f64) -> String {
    let (met, text) = match goal {
        Goal::Rate(ratio, _) if cal < FAST_MACHINE => (median >= ratio * cal, format!("{ratio} x cal")),
        Goal::Rate(_, least) | Goal::AtLeast(least) => (median >= least, format!("at least {least}")),
        Goal::Below(most) => (median < most, format!("below {most}")),
        Goal::None => return String::new(),
    };
    format!("{text}: {}", if met { "met" } else { "MISSED" })
}

fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) };
    (median, sorted[0], sorted[sorted.len() - 1])
}

/// The value below which so many of a hundred lie.
pub(crate) fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() * percent / 100).min(values.len() - 1)]
}

fn round(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn joined(values: &[f64]) -> String {
    values.iter().map(|value| round(*value)).collect::<Vec<_>>().join(", ")
}

fn machine(postgres: &str) -> Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(':').nth(1)).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    json!({"cores": cores, "cpu": model.trim(), "postgresql": postgres})
}
