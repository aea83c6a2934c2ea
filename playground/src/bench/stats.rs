//! Percentiles by nearest rank: the p-th of n samples is the one of rank ⌈p·n/100⌉ in ascending
//! order. It is always a sample that was taken, and of 20 the 99th is the largest.

use serde::Serialize;

/// A series in a few numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// Number of samples, at least one.
    pub n: usize,
    /// The smallest of the samples.
    pub min: f64,
    /// The 50th percentile of the samples.
    pub median: f64,
    /// The 95th percentile of the samples.
    pub p95: f64,
    /// The 99th percentile of the samples.
    pub p99: f64,
    /// The largest of the samples.
    pub max: f64,
}

impl Summary {
    /// Of these samples; `None` of none.
    pub fn of(samples: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = samples.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            let rank = (percent * sorted.len()).div_ceil(100).max(1);
            sorted.get(rank - 1).copied()
        };
        Some(Self {
            n: sorted.len(),
            min: *sorted.first()?,
            median: at(50)?,
            p95: at(95)?,
            p99: at(99)?,
            max: *sorted.last()?,
        })
    }
}

/// The median of these samples; `None` of none.
pub fn median(samples: impl IntoIterator<Item = f64>) -> Option<f64> {
    Summary::of(samples).map(|summary| summary.median)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_by_their_rank() {
        let twenty = Summary::of((1..=20).rev().map(f64::from)).unwrap();
        assert_eq!(
            (
                twenty.n,
                twenty.min,
                twenty.median,
                twenty.p95,
                twenty.p99,
                twenty.max
            ),
            (20, 1.0, 10.0, 19.0, 20.0, 20.0)
        );
        let hundred = Summary::of((1..=100).map(f64::from)).unwrap();
        assert_eq!(
            (hundred.median, hundred.p95, hundred.p99),
            (50.0, 95.0, 99.0)
        );
        let one = Summary::of([7.5]).unwrap();
        assert_eq!(
            (one.min, one.median, one.p99, one.max),
            (7.5, 7.5, 7.5, 7.5)
        );
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([]), None);
    }
}
