//! The guest's wall clock.

use nix::{
    sys::time::TimeSpec,
    time::{ClockId, clock_settime},
};

use crate::error::{Doing, Error, Result};

/// Steps the wall clock to `seconds` and `microseconds` since the epoch.
///
/// # Errors
///
/// When the time is before the epoch, `microseconds` is a second or more, or the kernel refuses.
pub fn set(seconds: i64, microseconds: i64) -> Result<()> {
    if seconds < 0 || !(0..1_000_000).contains(&microseconds) {
        return Err(Error::Invalid(format!(
            "{seconds} s and {microseconds} us are not a time"
        )));
    }
    clock_settime(
        ClockId::CLOCK_REALTIME,
        TimeSpec::new(seconds, microseconds * 1000),
    )
    .doing(|| "set the clock".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_time_is_refused() {
        for (seconds, microseconds) in [(-1, 0), (0, 1_000_000), (0, -1)] {
            assert!(matches!(set(seconds, microseconds), Err(Error::Invalid(_))));
        }
    }
}
