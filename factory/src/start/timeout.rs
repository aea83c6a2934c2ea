//! Timeouts that are longer on a busy node.
//!
//! If ten threads want each CPU, a step takes ten times as long, and nothing is wrong. To cancel it
//! and boot would only add to the load. So each timeout is multiplied by the load per CPU at the
//! moment when it is over, up to a limit.

use std::{
    fs,
    future::pending,
    time::{Duration, Instant},
};

use nix::unistd::{SysconfVar, sysconf};

/// How long the steps of a start may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a restored VM to be ready, from the start of the VMM on. A restore that takes longer is
    /// cancelled, and the VM booted. A restore that works takes less than 0.1 s, so the default of
    /// 5 s only ends one that hangs.
    pub restore: Duration,
    /// For a booted guest's agent to answer.
    pub agent: Duration,
    /// The largest factor by which a busy node multiplies both. The factor is the number of threads
    /// that want each CPU. 1: the timeouts are never longer.
    pub max_stretch: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            restore: Duration::from_secs(5),
            agent: Duration::from_secs(60),
            max_stretch: 1,
        }
    }
}

/// A timeout that is running.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeout {
    began: Instant,
    within: Duration,
    max_stretch: u32,
}

impl Timeout {
    /// Begins now. The load makes it at most `max_stretch` times as long as `within`.
    pub(super) fn begin(within: Duration, max_stretch: u32) -> Self {
        Self {
            began: Instant::now(),
            within,
            max_stretch,
        }
    }

    /// The longest time that can be left, at the highest load.
    pub(super) fn most(&self) -> Duration {
        let most = self.within.saturating_mul(self.max_stretch.max(1));
        most.saturating_sub(self.began.elapsed())
    }

    /// Waits until the timeout is over.
    pub(super) async fn over(&self) {
        loop {
            let elapsed = self.began.elapsed();
            if elapsed >= self.within && elapsed >= self.allowed(load()) {
                return;
            }
            // The load is read when the time is over, and after each further quarter of it.
            let next = self.within.saturating_sub(elapsed);
            let next = if next.is_zero() {
                self.within / 4
            } else {
                next
            };
            expired(next.min(self.most())).await;
        }
    }

    /// The time since it began, if that is clearly longer than the timeout of an idle node.
    pub(super) fn waited(&self) -> Option<Duration> {
        let elapsed = self.began.elapsed();
        (elapsed > self.within + self.within / 4).then_some(elapsed)
    }

    fn allowed(&self, load: f64) -> Duration {
        let times = load.clamp(1.0, f64::from(self.max_stretch.max(1)));
        self.within.mul_f64(times)
    }
}

async fn expired(after: Duration) {
    // Nothing else can end the wait: the future never completes.
    let _ = tokio::time::timeout(after, pending::<()>()).await;
}

/// How many threads want each CPU of the node now; 1 if that is not known.
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

    const WITHIN: Duration = Duration::from_secs(5);

    #[test]
    fn a_timeout_grows_with_the_load_and_not_without_end() {
        let timeout = Timeout::begin(WITHIN, 12);
        assert_eq!(timeout.allowed(0.1), WITHIN);
        assert_eq!(timeout.allowed(1.0), WITHIN);
        assert_eq!(timeout.allowed(4.0), WITHIN * 4);
        assert_eq!(timeout.allowed(100.0), WITHIN * 12);
        assert!(timeout.most() > WITHIN * 11);
        let firm = Timeout::begin(WITHIN, 1);
        assert_eq!(firm.allowed(100.0), WITHIN);
        assert_eq!(firm.waited(), None);
    }

    #[tokio::test]
    async fn it_ends_and_not_before_its_time() {
        let within = Duration::from_millis(20);
        let timeout = Timeout::begin(within, 3);
        timeout.over().await;
        assert!(timeout.began.elapsed() >= within);
    }

    #[test]
    fn the_load_is_that_of_this_moment() {
        assert_eq!(runnable("0.50 0.40 0.30 12/345 6789\n"), Some(12));
        assert_eq!(runnable("what"), None);
        assert_eq!(runnable(""), None);
        assert!(load() > 0.0);
    }
}
