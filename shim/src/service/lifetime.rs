//! How long the daemon lives: from its pod's first request until it is shut down, or until there is
//! no pod left that a client could ask for.
//!
//! ```text
//!   Empty --Create--> Making --made----------------------------> Up --last Delete--> Over
//!     ^                  |  '--made, but cancelled meanwhile--.                          |
//!     '----------failed--+-----------------------------------'                          |
//!     '--no Create--> Closed, the daemon ends <-------------no Shutdown came-------------'
//! ```
//!
//! containerd shuts a daemon down after a failed Create and after a Delete. Killed in between, or
//! its client with it, it may never: then the daemon ends by itself.

use std::time::Duration;

use slog::{Logger, info, warn};
use tokio::{sync::watch, time::timeout};

use super::TaskService;
use crate::{error::Error, pod::SharedPod};

/// How long the first Create may be away. containerd sends it once it has read the daemon's
/// address, which takes moments on a node that is not overloaded many times over.
const FIRST: Duration = Duration::from_secs(60);

/// How long a daemon without a pod waits to be shut down. containerd asks at once; a daemon that is
/// gone by then is as good to it.
const LAST: Duration = Duration::from_secs(4);

/// What the shim has of its pod.
#[derive(Clone)]
pub(super) enum Slot {
    /// Nothing yet, or no more.
    Empty,
    /// One is being made.
    Making {
        /// Id of its first container.
        id: String,
        /// Whether a client still waits for it.
        wanted: bool,
    },
    /// It runs, or its remains wait to be deleted.
    Up(SharedPod),
    /// All its containers have been deleted.
    Over(SharedPod),
    /// There will be none: the daemon ends.
    Closed,
}

/// Where the pod is kept. Clones are the same place.
#[derive(Clone)]
pub(super) struct Place(watch::Sender<Slot>);

impl Default for Place {
    fn default() -> Self {
        Self(watch::Sender::new(Slot::Empty))
    }
}

impl Place {
    pub(super) fn now(&self) -> watch::Ref<'_, Slot> {
        self.0.borrow()
    }

    /// Takes the place for a pod in the making. Tells whether it was free.
    pub(super) fn begin(&self, id: &str) -> bool {
        self.exchange(|slot| {
            matches!(slot, Slot::Empty).then(|| Slot::Making {
                id: id.to_owned(),
                wanted: true,
            })
        })
    }

    /// No client waits any more for the pod that is being made, if one is: this one or any.
    pub(super) fn cancel(&self, pod: Option<&str>) {
        self.0.send_if_modified(|slot| match slot {
            Slot::Making { id, wanted } if pod.is_none_or(|pod| pod == id) => {
                std::mem::replace(wanted, false)
            }
            _ => false,
        });
    }

    /// Puts the pod into its place, or ends it when it was cancelled.
    pub(super) async fn made(
        &self,
        made: Result<SharedPod, Error>,
        log: &Logger,
    ) -> Result<SharedPod, Error> {
        let pod = match made {
            Ok(pod) => pod,
            Err(error) => {
                self.0.send_replace(Slot::Empty);
                return Err(error);
            }
        };
        let kept = self.exchange(|slot| {
            let wanted = !matches!(slot, Slot::Making { wanted: false, .. });
            wanted.then(|| Slot::Up(pod.clone()))
        });
        if kept {
            return Ok(pod);
        }
        info!(log, "create was cancelled, stopping the pod"; "sandbox" => pod.id());
        pod.end().await;
        self.0.send_replace(Slot::Empty);
        Err(Error::Cancelled)
    }

    /// The last container was deleted.
    pub(super) fn over(&self) {
        self.exchange(|slot| match slot {
            Slot::Up(pod) => Some(Slot::Over(pod.clone())),
            _ => None,
        });
    }

    /// Waits until no pod is being made, and answers the one there is.
    async fn settled(&self) -> Option<SharedPod> {
        let mut slot = self.0.subscribe();
        let settled = slot.wait_for(|slot| !matches!(slot, Slot::Making { .. }));
        match settled.await.as_deref() {
            Ok(Slot::Up(pod) | Slot::Over(pod)) => Some(pod.clone()),
            _ => None,
        }
    }

    /// Waits until there has been no pod for long, and sees to it that there will be none.
    async fn deserted(&self, first: Duration, last: Duration) {
        let vacant = |slot: &Slot| matches!(slot, Slot::Empty | Slot::Over(_));
        let mut slot = self.0.subscribe();
        let mut limit = first;
        loop {
            let taken = timeout(limit, slot.wait_for(|slot| !vacant(slot)));
            let late = taken.await.is_err();
            // Events of a pod that is over are still on their way: it keeps its place.
            let closed = late
                && (self.exchange(|slot| matches!(slot, Slot::Empty).then_some(Slot::Closed))
                    || matches!(&*self.now(), Slot::Over(_)));
            if closed {
                return;
            }
            // Its sender is this place.
            let _ = slot.wait_for(vacant).await;
            limit = last;
        }
    }

    fn exchange(&self, next: impl FnOnce(&Slot) -> Option<Slot>) -> bool {
        self.0.send_if_modified(|slot| match next(slot) {
            Some(next) => {
                *slot = next;
                true
            }
            None => false,
        })
    }
}

/// A client that waits for the pod in the making. Dropped before it is made, it cancels it.
pub(super) struct Awaited<'a>(pub(super) &'a Place);

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.0.cancel(None);
    }
}

impl TaskService {
    /// Ends the daemon, unless containers are left that a client may come back for: none waits for
    /// a pod whose making was still going on. Goes on when the request is cancelled, as containerd
    /// does after seconds.
    pub(super) async fn shut_down(&self, now: bool) {
        self.slot.cancel(None);
        let (place, exit, log) = (self.slot.clone(), self.exit.clone(), self.log.clone());
        let ending = tokio::spawn(async move {
            if let Some(pod) = place.settled().await {
                let left = pod.sandbox.count().await;
                if left > 0 && !now {
                    info!(log, "containers are left, the shim stays"; "containers" => left);
                    return;
                }
                pod.end().await;
            }
            exit.notify_one();
        });
        if let Err(error) = ending.await {
            warn!(self.log, "shutdown was lost"; "error" => %error);
        }
    }

    /// Returns when the daemon has had no pod for so long that no client will shut it down.
    pub async fn deserted(&self) {
        self.slot.deserted(FIRST, LAST).await;
    }

    /// Lets go of the pod and waits until its last events were taken, for as long as the caller
    /// likes.
    pub async fn release(&self) {
        if let Slot::Up(pod) | Slot::Over(pod) = self.slot.0.send_replace(Slot::Closed) {
            let publishing = pod.take_publishing().await;
            drop(pod);
            if let Some(publishing) = publishing {
                let _ = publishing.await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use slog::{Discard, o};

    use super::*;

    const SOON: Duration = Duration::from_millis(10);
    const NEVER: Duration = Duration::from_secs(3600);

    fn failed() -> Result<SharedPod, Error> {
        Err(Error::Lost("The test's pod"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_nobody_asks_for_a_pod_ends() {
        let place = Place::default();
        place.deserted(SOON, NEVER).await;
        assert!(!place.begin("late"), "a daemon that ends takes no pod");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_in_the_making_is_waited_for_and_its_failure_survived_for_a_moment() {
        let place = Place::default();
        assert!(place.begin("pod"));
        assert!(!place.begin("second"));
        let waiting = tokio::spawn({
            let place = place.clone();
            async move { place.deserted(SOON, SOON).await }
        });
        tokio::task::yield_now().await;
        tokio::time::advance(SOON * 10).await;
        assert!(!waiting.is_finished());
        let log = Logger::root(Discard, o!());
        assert!(place.made(failed(), &log).await.is_err());
        assert!(!waiting.is_finished());
        waiting.await.unwrap();
        assert!(matches!(&*place.now(), Slot::Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_try_is_served() {
        let place = Place::default();
        let log = Logger::root(Discard, o!());
        assert!(place.begin("pod"));
        assert!(place.made(failed(), &log).await.is_err());
        assert!(place.begin("pod"));
        assert!(timeout(NEVER, place.deserted(SOON, SOON)).await.is_err());
    }

    #[tokio::test]
    async fn cancelling_is_of_the_pod_that_is_meant() {
        let place = Place::default();
        assert!(place.begin("pod"));
        let wanted = || matches!(&*place.now(), Slot::Making { wanted: true, .. });
        place.cancel(Some("other"));
        assert!(wanted());
        drop(Awaited(&place));
        assert!(!wanted());
    }
}
