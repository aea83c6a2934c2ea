//! The wall clock, and the one way to let time pass.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What has passed since the beginning of 1970; nothing where the clock is before that.
#[must_use]
pub fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Lets time pass where no event can be waited for.
///
/// All other ways to do that are banned (`clippy.toml`): what can be waited for is waited for, with a
/// deadline. `why` says to a reader what makes this an exception. There are three kinds: a timeout
/// that has no work of its own to bound, the pause before another attempt at something that tells
/// nobody when it is ready, and the least time between two things that another may cause as often as
/// it likes.
pub async fn pause(why: &'static str, duration: Duration) {
    debug_assert!(!why.is_empty(), "a pause needs a reason");
    #[expect(clippy::disallowed_methods, reason = "this is the place for it")]
    tokio::time::sleep(duration).await;
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
