//! Prices at which every use of the stand-ins is a whole number of micro-units, so that sums can be equal.

use goto_automation::dev::standins::Bill;
use tempfile::NamedTempFile;

/// A dollar for a second, a micro-unit for a token read, two for one written.
pub const PRICES: &str = "
    [[price]]
    vendor = \"Nobody\"
    model = \"stand-in\"
    from = 2020-01-01
    per_minute = 60_000_000
    per_million_tokens = { input = 1_000_000, output = 2_000_000 }
";

/// A file for `PRICE_LIST`.
pub fn price_list(prices: &str) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), prices).unwrap();
    file
}

/// What a bill comes to at [`PRICES`], in micro-units.
pub fn charged(bill: Bill) -> i64 {
    (bill.audio_seconds * 1e6).round() as i64 + bill.input_tokens + 2 * bill.output_tokens
}
