//! The price list: the one that is built in, or a file of the same form. `prices.toml` explains the form.

use std::path::Path;
use std::sync::Arc;

use chrono::NaiveDate;
use serde::Deserialize;
use toml::Spanned;
use toml::value::Datetime;

use super::words::Meaning;
use crate::model::PriceList;
use crate::model::price::{Price, TokenPrice};

const BUILT_IN: &str = include_str!("../../prices.toml");
/// A thousand dollars: above it somebody has mistaken the unit.
const MOST: i64 = 1_000_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    price: Vec<Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    vendor: String,
    model: String,
    from: Datetime,
    per_minute: Option<i64>,
    per_million_tokens: Option<Tokens>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tokens {
    input: i64,
    cached: Option<i64>,
    output: i64,
}

/// The list that is compiled into the program.
pub fn built_in() -> Arc<PriceList> {
    Arc::new(parse(BUILT_IN).expect("the built-in list is well written"))
}

/// The list in a file.
pub fn from_file(path: &Path) -> Meaning<Arc<PriceList>> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    parse(&text).map(Arc::new).map_err(|wrong| format!("{} is not a price list: {wrong}", path.display()))
}

fn parse(text: &str) -> Meaning<PriceList> {
    let at = |offset: usize| format!("line {}", text[..offset].matches('\n').count() + 1);
    let file: File = toml::from_str(text).map_err(|error| {
        let place = error.span().map(|span| format!("{}: ", at(span.start))).unwrap_or_default();
        format!("{place}{}", error.message().split_whitespace().collect::<Vec<_>>().join(" "))
    })?;
    let mut prices: Vec<Price> = Vec::new();
    for entry in file.price {
        let place = at(entry.span().start);
        let price = price(entry.into_inner()).map_err(|wrong| format!("{place}: {wrong}"))?;
        if prices.iter().any(|known| (&known.model, known.from) == (&price.model, price.from)) {
            return Err(format!("{place}: {} has another price from {} on", price.model, price.from));
        }
        prices.push(price);
    }
    Ok(PriceList(prices))
}

fn price(entry: Entry) -> Meaning<Price> {
    let Entry { vendor, model, from, per_minute, per_million_tokens } = entry;
    if model.is_empty() || model.trim() != model {
        return Err("`model` is empty, or has blanks around it".to_owned());
    }
    let per_million_tokens = per_million_tokens.map(|Tokens { input, cached, output }| TokenPrice {
        input,
        cached: cached.unwrap_or(input),
        output,
    });
    let tokens = per_million_tokens.iter().flat_map(|price| [price.input, price.cached, price.output]);
    let amounts: Vec<i64> = per_minute.into_iter().chain(tokens).collect();
    if amounts.is_empty() {
        return Err(format!("{model} has neither `per_minute` nor `per_million_tokens`"));
    }
    if let Some(amount) = amounts.iter().find(|amount| !(0..=MOST).contains(*amount)) {
        return Err(format!("{amount} is not between 0 and {MOST} millionths of a US dollar"));
    }
    let from = day(from).ok_or_else(|| "`from` is not a day such as 2026-01-31".to_owned())?;
    Ok(Price { vendor, model, from, per_minute, per_million_tokens })
}

fn day(from: Datetime) -> Option<NaiveDate> {
    let day = from.date.filter(|_| from.time.is_none() && from.offset.is_none())?;
    NaiveDate::from_ymd_opt(day.year.into(), day.month.into(), day.day.into())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::Values;
    use super::*;

    #[rstest]
    #[case("gpt-transcribe", Some(4_500), None)]
    #[case("whisper-large-v3-turbo", Some(670), None)]
    #[case("gpt-4o-mini-transcribe-2025-12-15", Some(3_000), None)]
    #[case("gpt-6-luna", None, Some((100_000, 10_000, 500_000)))]
    #[case("gpt-4o-2024-11-20", None, Some((2_500_000, 1_250_000, 10_000_000)))]
    #[case("gpt-4o-mini-2024-07-18", None, Some((150_000, 75_000, 600_000)))]
    fn the_built_in_list(
        #[case] model: &str,
        #[case] per_minute: Option<i64>,
        #[case] per_million_tokens: Option<(i64, i64, i64)>,
    ) {
        let list = built_in();
        let price = list.find(model, "2026-11-22".parse().unwrap()).unwrap();
        let tokens = price.per_million_tokens.map(|price| (price.input, price.cached, price.output));
        assert_eq!((price.per_minute, tokens), (per_minute, per_million_tokens));
        assert!(!list.lists("stand-in"));
    }

    const GOOD: &str = "[[price]]\nvendor = \"V\"\nmodel = \"m\"\nfrom = 2026-01-01\nper_minute = 5\n";

    #[rstest]
    #[case::no_toml("[[price]]\nmodel = m", "line 2: string values must be quoted, expected literal string")]
    #[case::empty("", "line 1: missing field `price`")]
    #[case::dollars(&GOOD.replace("= 5", "= 0.0045"), "line 5: invalid type: floating point `0.0045`, expected i64")]
    #[case::misspelt(
        &GOOD.replace("per_minute", "per_hour"),
        "line 5: unknown field `per_hour`, expected one of `vendor`, `model`, `from`, `per_minute`, `per_million_tokens`"
    )]
    #[case::negative(&GOOD.replace("= 5", "= -5"), "line 1: -5 is not between 0 and 1000000000 millionths of a US dollar")]
    #[case::a_time(&GOOD.replace("-01-01", "-01-01T00:00:00Z"), "line 1: `from` is not a day such as 2026-01-31")]
    #[case::no_day(&GOOD.replace("2026-01-01", "2026-02-30"), "line 4: invalid date, expected day between 01 and 28")]
    #[case::a_blank(&GOOD.replace("\"m\"", "\" m\""), "line 1: `model` is empty, or has blanks around it")]
    #[case::nothing_to_pay(
        &GOOD.replace("per_minute = 5", ""),
        "line 1: m has neither `per_minute` nor `per_million_tokens`"
    )]
    #[case::twice(&format!("{GOOD}\n{GOOD}"), "line 7: m has another price from 2026-01-01 on")]
    fn wrong_lists_are_told_by_line(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(parse(text).unwrap_err(), expected);
    }

    #[test]
    fn a_file_takes_the_place_of_the_built_in_list() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prices.toml");
        let mut values = Values::default();
        values.set("PRICE_LIST", path.to_str().unwrap());
        let told = values.read().unwrap_err().to_string();
        assert!(told.contains("PRICE_LIST: ") && told.contains("prices.toml cannot be read: No such file"), "{told}");

        std::fs::write(&path, GOOD.replace("per_minute", "per_hour")).unwrap();
        values.set("API_PORT", "many");
        let told = values.read().unwrap_err().to_string();
        assert!(told.contains("API_PORT: ") && told.contains("prices.toml is not a price list: line 5: "), "{told}");

        std::fs::write(&path, GOOD).unwrap();
        values.set("API_PORT", "0");
        let config = values.read().unwrap();
        assert!(config.prices.list.lists("m") && !config.prices.list.lists("gpt-transcribe"));
        assert_eq!(config.prices.file, Some(path));
    }
}
