//! What paid upstreams cost: prices by model and day, and the cost of what was used. All amounts are micro-units,
//! millionths of a US dollar.

use chrono::{DateTime, NaiveDate, Utc};

use super::Usage;

/// Of all amounts, ISO 4217.
pub const CURRENCY: &str = "USD";

/// Forms of the day that vendors append to a model's name for one version of it: `gpt-4o-mini-2024-07-18`.
const DAYS: [(&str, usize); 2] = [("-%Y-%m-%d", 11), ("-%Y%m%d", 9)];
/// Micro-units per minute times microseconds, and micro-units per million tokens times tokens, meet at this divisor.
const AUDIO_DIVISOR: i128 = 60 * 1_000_000;
const TOKENS_TO_AUDIO: i128 = 60;

/// What a model costs from a day on. At least one of the two ways to pay is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// Whom it is paid to; for people.
    pub vendor: String,
    /// Model as its server names it.
    pub model: String,
    /// First day of this price, in UTC.
    pub from: NaiveDate,
    /// For a minute of audio sent.
    pub per_minute: Option<i64>,
    /// For tokens.
    pub per_million_tokens: Option<TokenPrice>,
}

/// For a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenPrice {
    /// Tokens read.
    pub input: i64,
    /// Of those, the ones that the server had read before.
    pub cached: i64,
    /// Tokens written.
    pub output: i64,
}

/// All prices that are known; any order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PriceList(pub Vec<Price>);

impl PriceList {
    /// The price of a model on a day: the latest that has begun, under the model's own name, else under its name without
    /// the day at its end. Nothing else is guessed.
    pub fn find(&self, model: &str, day: NaiveDate) -> Option<&Price> {
        self.newest(model, Some(day)).or_else(|| self.newest(undated(model)?, Some(day)))
    }

    /// Whether there is a price for the model, on whichever day.
    pub fn lists(&self, model: &str) -> bool {
        self.newest(model, None).or_else(|| self.newest(undated(model)?, None)).is_some()
    }

    fn newest(&self, model: &str, day: Option<NaiveDate>) -> Option<&Price> {
        let begun = |price: &&Price| day.is_none_or(|day| price.from <= day);
        self.0.iter().filter(|price| price.model == model).filter(begun).max_by_key(|price| price.from)
    }
}

/// What was used costs so much at that time, rounded once; nothing used costs nothing. `None` = not known, because a
/// model has no price for what it did, or did not say what it used.
pub fn cost(used: &[Usage], at: DateTime<Utc>, list: &PriceList) -> Option<i64> {
    let parts: Option<i128> = used.iter().map(|usage| part(usage, at, list)).sum();
    i64::try_from((parts? + AUDIO_DIVISOR / 2) / AUDIO_DIVISOR).ok()
}

/// The first model whose use has no known cost.
pub fn unpriced<'a>(used: &'a [Usage], at: DateTime<Utc>, list: &PriceList) -> Option<&'a str> {
    used.iter().find(|usage| part(usage, at, list).is_none())?.model.as_deref()
}

/// In micro-units times [`AUDIO_DIVISOR`].
fn part(usage: &Usage, at: DateTime<Utc>, list: &PriceList) -> Option<i128> {
    let price = list.find(usage.model.as_deref()?, at.date_naive())?;
    let (audio, tokens) = (usage.audio_seconds > 0.0, usage.input_tokens > 0 || usage.output_tokens > 0);
    match (price.per_minute, price.per_million_tokens) {
        // The server knows better than we do, and keeps it to itself.
        _ if usage.unmeasured => None,
        (Some(rate), _) if audio => Some(i128::from((usage.audio_seconds * 1e6).round() as i64) * i128::from(rate)),
        (_, Some(rate)) if tokens => {
            let cached = usage.cached_tokens.clamp(0, usage.input_tokens.max(0));
            let of = |tokens: i64, rate: i64| i128::from(tokens.max(0)) * i128::from(rate);
            let tokens = of(usage.input_tokens - cached, rate.input) + of(cached, rate.cached);
            Some((tokens + of(usage.output_tokens, rate.output)) * TOKENS_TO_AUDIO)
        }
        _ if !audio && !tokens => Some(0),
        _ => None,
    }
}

/// The name without the day at its end, if there is one.
fn undated(model: &str) -> Option<&str> {
    DAYS.iter().find_map(|(form, length)| {
        let (name, day) = model.split_at_checked(model.len().checked_sub(*length)?)?;
        NaiveDate::parse_from_str(day, form).ok().map(|_| name)
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn list() -> PriceList {
        let tokens = |input, cached, output| Some(TokenPrice { input, cached, output });
        let price = |model: &str, from: &str, per_minute, per_million_tokens| Price {
            vendor: "V".into(),
            model: model.into(),
            from: day(from),
            per_minute,
            per_million_tokens,
        };
        PriceList(vec![
            price("ear", "2026-01-01", Some(4_500), None),
            price("ear", "2027-01-01", Some(9_000), None),
            price("mind", "2026-01-01", None, tokens(100_000, 10_000, 500_000)),
            price("mind-2026-02-03", "2026-01-01", None, tokens(1_000_000, 1_000_000, 1_000_000)),
            price("both", "2026-01-01", Some(60_000_000), tokens(1_000_000, 0, 2_000_000)),
            price("gift", "2026-01-01", Some(0), None),
        ])
    }

    fn heard(model: &str, audio_seconds: f64) -> Usage {
        Usage { model: Some(model.into()), audio_seconds, ..Usage::default() }
    }

    fn thought(model: &str, input_tokens: i64, cached_tokens: i64, output_tokens: i64) -> Usage {
        Usage { model: Some(model.into()), input_tokens, cached_tokens, output_tokens, ..Usage::default() }
    }

    #[rstest]
    #[case::nothing(vec![], Some(0))]
    #[case::a_minute(vec![heard("ear", 60.0)], Some(4_500))]
    #[case::rounded(vec![heard("ear", 0.1)], Some(8))]
    #[case::two_models_rounded_once(vec![heard("ear", 0.1), thought("mind", 5, 0, 0)], Some(8))]
    #[case::tokens_of_audio_are_the_audio(vec![Usage { input_tokens: 290, ..heard("ear", 60.0) }], Some(4_500))]
    #[case::tokens(vec![thought("mind", 1_000_000, 0, 2_000)], Some(101_000))]
    #[case::cached(vec![thought("mind", 1_000_000, 400_000, 0)], Some(64_000))]
    #[case::more_cached_than_read(vec![thought("mind", 1_000_000, 2_000_000, 0)], Some(10_000))]
    #[case::dated(vec![thought("mind-2025-12-15", 1_000_000, 0, 0)], Some(100_000))]
    #[case::dated_without_dashes(vec![thought("mind-20251215", 1_000_000, 0, 0)], Some(100_000))]
    #[case::dated_and_listed(vec![thought("mind-2026-02-03", 1_000_000, 0, 0)], Some(1_000_000))]
    #[case::no_day(vec![thought("mind-2025-13-15", 1, 0, 0)], None)]
    #[case::a_longer_name(vec![thought("mind-mini", 1, 0, 0)], None)]
    #[case::a_shorter_name(vec![thought("min", 1, 0, 0)], None)]
    #[case::another_case(vec![thought("Mind", 1, 0, 0)], None)]
    #[case::a_folder(vec![thought("vendor/mind", 1, 0, 0)], None)]
    #[case::a_day_alone(vec![thought("-2026-02-03", 1, 0, 0)], None)]
    #[case::foreign_letters(vec![thought("é-2026-02-0", 1, 0, 0)], None)]
    #[case::one_part_unknown(vec![heard("ear", 60.0), heard("stand-in", 1.0)], None)]
    #[case::unknown_and_nothing(vec![heard("stand-in", 0.0)], None)]
    #[case::known_and_nothing(vec![thought("mind", 0, 0, 0), heard("ear", 0.0)], Some(0))]
    #[case::no_name(vec![Usage { input_tokens: 1, ..Usage::default() }], None)]
    #[case::priced_by_minutes_only(vec![thought("ear", 5, 0, 5)], None)]
    #[case::priced_by_tokens_only(vec![heard("mind", 5.0)], None)]
    #[case::priced_by_tokens_and_told(vec![Usage { audio_seconds: 5.0, ..thought("mind", 1_000_000, 0, 0) }], Some(100_000))]
    #[case::both_ways(vec![heard("both", 1.5), thought("both", 3, 2, 2)], Some(1_500_005))]
    #[case::free(vec![heard("gift", 3_600.0)], Some(0))]
    #[case::not_told(vec![Usage { unmeasured: true, ..thought("mind", 0, 0, 0) }], None)]
    #[case::too_much(vec![thought("mind", i64::MAX, 0, i64::MAX), thought("both", i64::MAX, 0, i64::MAX)], None)]
    #[case::nonsense(vec![thought("mind", -5, -5, -5), heard("ear", f64::NAN)], Some(0))]
    fn costs(#[case] used: Vec<Usage>, #[case] expected: Option<i64>) {
        let at = "2026-06-01T12:00:00Z".parse().unwrap();
        assert_eq!(cost(&used, at, &list()), expected);
    }

    #[test]
    fn the_model_without_a_price_is_named() {
        let at = "2026-06-01T12:00:00Z".parse().unwrap();
        let used = [heard("ear", 60.0), heard("stand-in", 1.0)];
        assert_eq!(unpriced(&used, at, &list()), Some("stand-in"));
        assert_eq!(unpriced(&used[..1], at, &list()), None);
    }

    #[rstest]
    #[case("2025-12-31T23:59:59Z", None)]
    #[case("2026-01-01T00:00:00Z", Some(4_500))]
    #[case("2026-12-31T23:59:59.999Z", Some(4_500))]
    #[case("2027-01-01T00:00:00Z", Some(9_000))]
    fn the_price_of_the_day_counts(#[case] at: DateTime<Utc>, #[case] expected: Option<i64>) {
        assert_eq!(cost(&[heard("ear", 60.0)], at, &list()), expected);
        assert!(list().lists("ear") && list().lists("ear-2026-02-03") && !list().lists("eye"));
    }
}
