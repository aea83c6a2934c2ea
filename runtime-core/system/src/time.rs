//! The wall clock, and the only allowed ways to sleep.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time since the beginning of 1970; zero if the clock is before that.
#[must_use]
pub fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Sleeps where there is no event to wait for.
///
/// All other sleeps are banned (`clippy.toml`): code waits for an event, with a timeout. `why`
/// tells the reader what makes this an exception. There are three kinds: a timeout without work of
/// its own to bound, the pause before another attempt at something that does not report when it is
/// ready, and the least time between two events that another process can cause.
pub async fn pause(why: &'static str, duration: Duration) {
    debug_assert!(!why.is_empty(), "a pause needs a reason");
    #[expect(clippy::disallowed_methods, reason = "this is the place for it")]
    tokio::time::sleep(duration).await;
}

/// As [`pause`], where no task can wait: on a thread of its own, or in a program without a runtime.
pub fn pause_blocking(why: &'static str, duration: Duration) {
    debug_assert!(!why.is_empty(), "a pause needs a reason");
    #[expect(clippy::disallowed_methods, reason = "this is the place for it")]
    std::thread::sleep(duration);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_that_of_the_system() {
        let before = SystemTime::now();
        let now = UNIX_EPOCH + since_epoch();
        assert!(before <= now && now <= SystemTime::now());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_takes_as_long_as_it_says() {
        let begun = tokio::time::Instant::now();
        pause("a test", Duration::from_secs(5)).await;
        let took = begun.elapsed();
        assert!(took >= Duration::from_secs(5) && took < Duration::from_secs(6));
    }

    #[tokio::test]
    #[should_panic(expected = "a pause needs a reason")]
    async fn a_pause_without_a_reason_is_refused() {
        pause("", Duration::ZERO).await;
    }
}
