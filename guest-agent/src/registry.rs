//! Things by name, some of which are still being made.
//!
//! A name is taken as soon as the making begins. A caller that wants to end a thing waits until
//! it is made, so that nothing escapes that is about to exist.

use std::{collections::BTreeMap, pin::pin, sync::Arc, time::Duration};

use system::sync::{Mutex, MutexGuard};
use tokio::{sync::Notify, time::timeout};

use crate::error::{Error, Result};

/// How long to wait for a thing that is being made: longer than the zygote may take for it and for
/// the request before it.
const TIMEOUT: Duration = Duration::from_secs(100);

/// Things of one kind by name.
#[derive(Debug)]
pub struct Registry<T> {
    kind: &'static str,
    /// `None` while a thing is being made or removed.
    by_name: Mutex<BTreeMap<String, Option<Arc<T>>>>,
    /// Notified when a thing was made or removed, or its making failed.
    changed: Notify,
}

/// A name whose thing is being made or removed.
///
/// When it is dropped, the name belongs to what it belonged to before the making, or is free.
#[derive(Debug)]
pub struct Reservation<'a, T> {
    registry: &'a Registry<T>,
    name: String,
    /// What the name belongs to when this is dropped.
    thing: Option<Arc<T>>,
}

impl<T> Registry<T> {
    /// An empty registry. Errors call its things `kind`.
    pub fn new(kind: &'static str) -> Self {
        Self {
            kind,
            by_name: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Takes a name for a thing that is about to be made. It may be the name of a thing that is
    /// `replaceable`.
    ///
    /// # Errors
    ///
    /// When the name is taken.
    pub fn reserve(
        &self,
        name: &str,
        replaceable: impl Fn(&T) -> bool,
    ) -> Result<Reservation<'_, T>> {
        let mut things = self.things();
        let before = match things.get(name) {
            None => None,
            Some(Some(present)) if replaceable(present) => Some(Arc::clone(present)),
            Some(None | Some(_)) => {
                return Err(Error::Exists {
                    kind: self.kind,
                    id: name.to_owned(),
                });
            }
        };
        things.insert(name.to_owned(), None);
        Ok(Reservation {
            registry: self,
            name: name.to_owned(),
            thing: before,
        })
    }

    /// Begins to remove a thing for which `condition` holds; `None` if there is no such thing. It
    /// is no longer found, and its name is free when the returned value is dropped.
    pub fn begin_removal(
        &self,
        name: &str,
        condition: impl Fn(&T) -> bool,
    ) -> Option<Reservation<'_, T>> {
        let mut things = self.things();
        let present = things.get_mut(name)?;
        present.take_if(|thing| condition(thing))?;
        Some(Reservation {
            registry: self,
            name: name.to_owned(),
            thing: None,
        })
    }

    /// The thing called `name`.
    ///
    /// # Errors
    ///
    /// When there is none, or it is still being made.
    pub fn find(&self, name: &str) -> Result<Arc<T>> {
        let found = self.things().get(name).cloned().flatten();
        found.ok_or_else(|| self.not_found(name))
    }

    /// The thing called `name`; waits for one that is being made.
    ///
    /// # Errors
    ///
    /// When there is none, or making it takes too long.
    pub async fn wait_for(&self, name: &str) -> Result<Arc<T>> {
        let settled = async {
            loop {
                let mut changed = pin!(self.changed.notified());
                changed.as_mut().enable();
                match self.things().get(name) {
                    Some(None) => {}
                    Some(Some(thing)) => return Ok(Arc::clone(thing)),
                    None => return Err(self.not_found(name)),
                }
                changed.await;
            }
        };
        timeout(TIMEOUT, settled)
            .await
            .map_err(|_elapsed| Error::Timeout {
                event: format!("the {} {name:?} to be made", self.kind),
                after: TIMEOUT,
            })?
    }

    /// All names, taken or reserved.
    pub fn names(&self) -> Vec<String> {
        self.things().keys().cloned().collect()
    }

    /// Removes a thing if `condition` holds for it, and returns whether it did.
    pub fn remove_if(&self, name: &str, condition: impl Fn(&T) -> bool) -> bool {
        let mut things = self.things();
        let remove = matches!(things.get(name), Some(Some(thing)) if condition(thing));
        if remove {
            things.remove(name);
        }
        remove
    }

    fn not_found(&self, name: &str) -> Error {
        Error::NotFound {
            kind: self.kind,
            id: name.to_owned(),
        }
    }

    fn things(&self) -> MutexGuard<'_, BTreeMap<String, Option<Arc<T>>>> {
        self.by_name.lock()
    }
}

impl<T> Reservation<'_, T> {
    /// Gives the name to what was made.
    pub fn fill(mut self, thing: T) {
        self.thing = Some(Arc::new(thing));
    }
}

impl<T> Drop for Reservation<'_, T> {
    fn drop(&mut self) {
        let mut things = self.registry.things();
        match self.thing.take() {
            Some(thing) => things.insert(std::mem::take(&mut self.name), Some(thing)),
            None => things.remove(&self.name),
        };
        drop(things);
        self.registry.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use tokio::join;

    use super::*;

    const NEVER: fn(&i32) -> bool = |_| false;

    #[tokio::test]
    async fn a_caller_waits_for_what_is_being_made() {
        let things = Registry::new("number");
        let reservation = things.reserve("a", NEVER).unwrap();
        assert!(things.find("a").is_err());
        assert!(things.reserve("a", NEVER).is_err(), "the name is taken");
        let (found, ()) = join!(things.wait_for("a"), async { reservation.fill(7) });
        assert_eq!(*found.unwrap(), 7);
        assert_eq!(*things.find("a").unwrap(), 7);
    }

    #[test]
    fn what_was_not_replaced_is_still_there() {
        let things = Registry::new("number");
        things.reserve("a", NEVER).unwrap().fill(1);
        let reservation = things.reserve("a", |_| true).unwrap();
        assert!(things.find("a").is_err());
        drop(reservation);
        assert_eq!(*things.find("a").unwrap(), 1);
    }

    #[tokio::test]
    async fn a_name_is_taken_until_the_removal_is_over() {
        let things = Registry::new("number");
        things.reserve("a", NEVER).unwrap().fill(1);
        assert!(things.begin_removal("a", NEVER).is_none());
        assert_eq!(*things.find("a").unwrap(), 1);
        let removal = things.begin_removal("a", |_| true).unwrap();
        assert!(things.begin_removal("a", |_| true).is_none());
        assert!(things.reserve("a", |_| true).is_err() && things.find("a").is_err());
        let (found, ()) = join!(things.wait_for("a"), async { drop(removal) });
        assert_eq!(found.unwrap_err().to_string(), "There is no number \"a\"");
        things.reserve("a", NEVER).unwrap().fill(2);
    }

    #[tokio::test]
    async fn a_failed_making_frees_the_name() {
        let things = Registry::new("number");
        let reservation = things.reserve("a", NEVER).unwrap();
        let (found, ()) = join!(things.wait_for("a"), async { drop(reservation) });
        assert_eq!(found.unwrap_err().to_string(), "There is no number \"a\"");
        things.reserve("a", NEVER).unwrap().fill(1);
        assert!(things.reserve("a", NEVER).is_err());
        things.reserve("a", |number| *number == 1).unwrap().fill(2);
        assert!(!things.remove_if("a", |number| *number == 1));
        assert!(things.remove_if("a", |number| *number == 2));
        assert!(things.names().is_empty());
    }
}
