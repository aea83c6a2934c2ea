//! Events of a VMM that are waited for. Each event goes to all who began to wait before it came.

use std::time::Duration;

use tokio::{sync::oneshot, time};

/// Those who wait for an event of type `E`.
pub struct Waiters<E> {
    waiters: Vec<Waiter<E>>,
    ended: bool,
}

struct Waiter<E> {
    wanted: Box<dyn Fn(&E) -> bool + Send>,
    sender: oneshot::Sender<E>,
}

/// An event that is waited for from the moment this was made.
#[derive(Debug)]
pub struct Awaited<E>(oneshot::Receiver<E>);

/// Why an event did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoEvent {
    /// There will be no events any more.
    Ended,
    /// It did not come in time.
    TimedOut,
}

impl<E> Default for Waiters<E> {
    fn default() -> Self {
        Self {
            waiters: Vec::new(),
            ended: false,
        }
    }
}

impl<E: Clone> Waiters<E> {
    /// Starts to wait for the first event that `wanted` accepts.
    pub fn wait_for(&mut self, wanted: impl Fn(&E) -> bool + Send + 'static) -> Awaited<E> {
        let (sender, event) = oneshot::channel();
        if !self.ended {
            let wanted = Box::new(wanted);
            self.waiters.push(Waiter { wanted, sender });
        }
        Awaited(event)
    }

    /// Gives an event to those who wait for it, who wait no longer then.
    pub fn deliver(&mut self, event: &E) {
        for waiter in std::mem::take(&mut self.waiters) {
            if waiter.sender.is_closed() {
                continue;
            }
            if (waiter.wanted)(event) {
                drop(waiter.sender.send(event.clone()));
            } else {
                self.waiters.push(waiter);
            }
        }
    }

    /// Ends every wait, now and later.
    pub fn end(&mut self) {
        self.ended = true;
        self.waiters.clear();
    }
}

impl<E> Awaited<E> {
    /// The event, if it comes within `timeout`.
    pub async fn within(self, timeout: Duration) -> Result<E, NoEvent> {
        match time::timeout(timeout, self.0).await {
            Ok(Ok(event)) => Ok(event),
            Ok(Err(_)) => Err(NoEvent::Ended),
            Err(_) => Err(NoEvent::TimedOut),
        }
    }

    /// The event, however long it takes; `None` when there will be none any more.
    pub async fn ever(self) -> Option<E> {
        self.0.await.ok()
    }
}

impl<E> std::fmt::Debug for Waiters<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiters")
            .field("waiters", &self.waiters.len())
            .field("ended", &self.ended)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn an_event_goes_to_all_who_wait_for_it_and_to_no_others() {
        let mut waiters = Waiters::default();
        let (one, other) = (waiters.wait_for(|n| *n == 1), waiters.wait_for(|n| *n == 1));
        let never = waiters.wait_for(|n| *n == 2);
        waiters.deliver(&1);
        assert_eq!(one.within(SECOND).await, Ok(1));
        assert_eq!(other.ever().await, Some(1));
        waiters.end();
        assert_eq!(never.within(SECOND).await, Err(NoEvent::Ended));
        assert_eq!(waiters.wait_for(|_| true).ever().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_has_an_end() {
        let mut waiters = Waiters::<u32>::default();
        let awaited = waiters.wait_for(|_| true);
        assert_eq!(awaited.within(SECOND).await, Err(NoEvent::TimedOut));
    }
}
