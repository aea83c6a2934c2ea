//! Trying again while a guest boots, on channels that have no event for it.

use std::{io, time::Duration};

use system::time::pause;
use tokio::time::timeout;

/// First and longest pause between two attempts.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));
/// First and longest time one attempt is given. An attempt made while a guest resumes may never be
/// answered, so the first ones are short.
const ATTEMPT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Repeats `attempt` until it succeeds or fails for good, with pauses that double.
///
/// The caller bounds the whole. `last` keeps the most recent passing failure, for its error.
pub async fn until_up<S, A: Future<Output = io::Result<S>>>(
    attempt: impl Fn() -> A,
    is_worth_another_try: impl Fn(&io::Error) -> bool,
    last: &mut Option<io::Error>,
) -> io::Result<S> {
    let (mut next, mut limit) = (PAUSE.0, ATTEMPT.0);
    loop {
        match timeout(limit, attempt()).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) if is_worth_another_try(&error) => *last = Some(error),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                *last = Some(io::ErrorKind::TimedOut.into());
                limit = (limit * 2).min(ATTEMPT.1);
            }
        }
        let why = "neither the kernel nor the VMM announces when a guest begins to listen";
        pause(why, next).await;
        next = (next * 2).min(PAUSE.1);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn passing_failures_and_silence_are_outlasted() {
        let tries = Cell::new(0);
        let attempt = || async {
            tries.set(tries.get() + 1);
            match tries.get() {
                1..=3 => Err(io::ErrorKind::ConnectionReset.into()),
                4 => std::future::pending().await,
                n => Ok(n),
            }
        };
        let mut last = None;
        let started = tokio::time::Instant::now();
        let up = until_up(attempt, |_| true, &mut last).await.unwrap();
        assert_eq!(up, 5);
        assert_eq!(last.unwrap().kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() < Duration::from_millis(130));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lasting_failure_is_told_at_once() {
        let attempt = || async { io::Result::<()>::Err(io::ErrorKind::PermissionDenied.into()) };
        let error = until_up(attempt, |_| false, &mut None).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
