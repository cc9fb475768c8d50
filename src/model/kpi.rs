//! The numbers of a stretch of time, such that those of several stretches can be added.

use std::collections::BTreeMap;

/// From this urgency on a call is urgent.
pub const URGENT: i16 = 4;

/// What the calls of a stretch of time come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Calls that started in it.
    pub calls: i64,
    /// Inbound ones of 0 seconds.
    pub missed: i64,
    /// Those whose length is known.
    pub timed: i64,
    /// Their lengths together.
    pub duration_seconds: i64,
    /// Analyzed calls by the mood of the customer.
    pub positive: i64,
    /// The same.
    pub neutral: i64,
    /// The same.
    pub negative: i64,
    /// The same.
    pub mixed: i64,
    /// The urgencies of all analyzed calls together.
    pub urgency_sum: i64,
    /// Those of urgency [`URGENT`] or more.
    pub urgent: i64,
    /// Action items of the calls.
    pub action_items: i64,
    /// Those of them that are done.
    pub action_items_done: i64,
    /// Those of them that are open although their time has come.
    pub overdue: i64,
    /// Whole seconds from the end of a call to the first message about it, and how many calls took that long.
    pub notified: BTreeMap<i32, i64>,
    /// What the calls have cost, in millionths of the currency, as far as it is known.
    pub cost_micro_units: i64,
    /// Calls of whose cost a part is not known.
    pub costs_unknown: i64,
}

impl Numbers {
    /// Adds those of another stretch of time.
    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.missed += other.missed;
        self.timed += other.timed;
        self.duration_seconds += other.duration_seconds;
        self.positive += other.positive;
        self.neutral += other.neutral;
        self.negative += other.negative;
        self.mixed += other.mixed;
        self.urgency_sum += other.urgency_sum;
        self.urgent += other.urgent;
        self.action_items += other.action_items;
        self.action_items_done += other.action_items_done;
        self.overdue += other.overdue;
        for (seconds, calls) in &other.notified {
            *self.notified.entry(*seconds).or_default() += calls;
        }
        self.cost_micro_units += other.cost_micro_units;
        self.costs_unknown += other.costs_unknown;
    }

    /// Calls that are analyzed.
    pub fn analyzed(&self) -> i64 {
        self.positive + self.neutral + self.negative + self.mixed
    }

    /// Seconds from the end of a call to the first message about it that the given share of calls (0 to 1) did not
    /// exceed; `None` without any. One that occurred, as PostgreSQL's `percentile_disc` has it.
    pub fn notified_within(&self, share: f64) -> Option<i32> {
        let all: i64 = self.notified.values().sum();
        let wanted = (share * all as f64).ceil().max(1.0) as i64;
        let mut seen = 0;
        let reached = self.notified.iter().find(|(_, calls)| {
            seen += **calls;
            seen >= wanted
        });
        reached.map(|(seconds, _)| *seconds)
    }
}

/// A part of a whole, from 0 to 1; `None` of nothing.
pub fn share(part: i64, whole: i64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notified(seconds: &[i32]) -> Numbers {
        let mut numbers = Numbers::default();
        for seconds in seconds {
            *numbers.notified.entry(*seconds).or_default() += 1;
        }
        numbers
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let numbers = notified(&[30, 10, 20, 40]);
        assert_eq!(numbers.notified_within(0.5), Some(20));
        assert_eq!(numbers.notified_within(0.95), Some(40));
        assert_eq!(numbers.notified_within(0.0), Some(10));
        assert_eq!(notified(&[]).notified_within(0.5), None);
    }

    #[test]
    fn sums_know_the_percentiles_of_the_whole() {
        let mut sum = notified(&[1, 1, 1, 1, 1, 1, 1, 1, 1]);
        sum.add(&notified(&[100]));
        assert_eq!((sum.notified_within(0.5), sum.notified_within(0.95)), (Some(1), Some(100)));
    }

    #[test]
    fn a_share_of_nothing_is_unknown() {
        assert_eq!((share(1, 4), share(0, 0)), (Some(0.25), None));
    }
}
