//! How long a step may take, also on a node that has too much to do.
//!
//! A budget is meant for a machine that gets round to it. Where each CPU has ten threads that want
//! it, a step takes ten times as long and nothing is wrong: giving it up for a boot would only add
//! to the load. So a budget that is over is measured against the load of that moment.

use std::{
    fs,
    future::pending,
    time::{Duration, Instant},
};

use nix::unistd::{SysconfVar, sysconf};

/// A budget that has begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    began: Instant,
    budget: Duration,
    stretch: u32,
}

impl Patience {
    /// Begins now; no load makes it longer than `stretch` times the budget.
    pub(super) fn begin(budget: Duration, stretch: u32) -> Self {
        Self {
            began: Instant::now(),
            budget,
            stretch,
        }
    }

    /// The longest that can be left.
    pub(super) fn most(&self) -> Duration {
        let most = self.budget.saturating_mul(self.stretch.max(1));
        most.saturating_sub(self.began.elapsed())
    }

    /// Returns when it is over.
    pub(super) async fn over(&self) {
        loop {
            let elapsed = self.began.elapsed();
            if elapsed >= self.budget && elapsed >= self.allowed(load()) {
                return;
            }
            // The load is looked at again when the budget is over, and after each further part of it.
            let next = self.budget.saturating_sub(elapsed);
            let next = if next.is_zero() {
                self.budget / 4
            } else {
                next
            };
            expired(next.min(self.most())).await;
        }
    }

    /// What has passed, told where it is more than the budget.
    pub(super) fn waited(&self) -> Option<Duration> {
        let elapsed = self.began.elapsed();
        (elapsed > self.budget + self.budget / 4).then_some(elapsed)
    }

    fn allowed(&self, load: f64) -> Duration {
        let times = load.clamp(1.0, f64::from(self.stretch.max(1)));
        self.budget.mul_f64(times)
    }
}

async fn expired(after: Duration) {
    // Nothing else can end the wait: the future never completes.
    let _ = tokio::time::timeout(after, pending::<()>()).await;
}

/// How many threads want each CPU of the node now; 1 where that cannot be told.
fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cpus = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
    let cpus = cpus.and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or(1);
    runnable(&text).map_or(1.0, |threads| f64::from(threads) / f64::from(cpus.max(1)))
}

/// From `/proc/loadavg`, as in `0.50 0.40 0.30 12/345 6789`: 12.
fn runnable(text: &str) -> Option<u32> {
    let (runnable, _) = text.split(' ').nth(3)?.split_once('/')?;
    runnable.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Duration = Duration::from_secs(5);

    #[test]
    fn a_budget_grows_with_the_load_and_not_without_end() {
        let patience = Patience::begin(BUDGET, 12);
        assert_eq!(patience.allowed(0.1), BUDGET);
        assert_eq!(patience.allowed(1.0), BUDGET);
        assert_eq!(patience.allowed(4.0), BUDGET * 4);
        assert_eq!(patience.allowed(100.0), BUDGET * 12);
        assert!(patience.most() > BUDGET * 11);
        let firm = Patience::begin(BUDGET, 1);
        assert_eq!(firm.allowed(100.0), BUDGET);
        assert_eq!(firm.waited(), None);
    }

    #[tokio::test]
    async fn it_ends_and_not_before_its_budget() {
        let budget = Duration::from_millis(20);
        let patience = Patience::begin(budget, 3);
        patience.over().await;
        assert!(patience.began.elapsed() >= budget);
    }

    #[test]
    fn the_load_is_that_of_this_moment() {
        assert_eq!(runnable("0.50 0.40 0.30 12/345 6789\n"), Some(12));
        assert_eq!(runnable("what"), None);
        assert_eq!(runnable(""), None);
        assert!(load() > 0.0);
    }
}
