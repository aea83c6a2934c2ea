//! Things by name, of which some are still being made.
//!
//! A name is taken when its making begins. Who asks for a thing to end it waits until it is made, so that
//! nothing that comes to be is missed.

use std::{collections::BTreeMap, pin::pin, sync::Arc, time::Duration};

use system::sync::{Mutex, MutexGuard};
use tokio::{sync::Notify, time::timeout};

use crate::error::{Error, Result};

/// How long a making is waited for: longer than the zygote may take for it and for one before it.
const MAKING: Duration = Duration::from_secs(100);

/// Things of one kind by name.
#[derive(Debug)]
pub struct Named<T> {
    kind: &'static str,
    /// `None` while a thing is being made or removed.
    by_name: Mutex<BTreeMap<String, Option<Arc<T>>>>,
    settled: Notify,
}

/// A name whose thing is being made. Dropped, the name is again what it was before.
#[derive(Debug)]
pub struct Place<'a, T> {
    of: &'a Named<T>,
    name: String,
    /// What had the name, or what has it from now on.
    thing: Option<Arc<T>>,
}

impl<T> Named<T> {
    /// None yet. `kind` is what an error calls them.
    pub fn new(kind: &'static str) -> Self {
        Self {
            kind,
            by_name: Mutex::default(),
            settled: Notify::new(),
        }
    }

    /// Takes a name for what is about to be made; one of which `replaceable` holds loses it then.
    ///
    /// # Errors
    ///
    /// When the name is taken.
    pub fn begin(&self, name: &str, replaceable: impl Fn(&T) -> bool) -> Result<Place<'_, T>> {
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
        Ok(Place {
            of: self,
            name: name.to_owned(),
            thing: before,
        })
    }

    /// Begins to remove a thing if `condition` holds for it. Nobody finds it any more; its name is free
    /// when what is returned is dropped.
    pub fn begin_removal(
        &self,
        name: &str,
        condition: impl Fn(&T) -> bool,
    ) -> Option<Place<'_, T>> {
        let mut things = self.things();
        let present = things.get_mut(name)?;
        present.take_if(|thing| condition(thing))?;
        Some(Place {
            of: self,
            name: name.to_owned(),
            thing: None,
        })
    }

    /// The thing of that name.
    ///
    /// # Errors
    ///
    /// When there is none, or it is still being made.
    pub fn find(&self, name: &str) -> Result<Arc<T>> {
        let found = self.things().get(name).cloned().flatten();
        found.ok_or_else(|| self.none(name))
    }

    /// The thing of that name; waits for one that is being made.
    ///
    /// # Errors
    ///
    /// When there is none, or its making takes too long.
    pub async fn made(&self, name: &str) -> Result<Arc<T>> {
        let settled = async {
            loop {
                let mut settled = pin!(self.settled.notified());
                settled.as_mut().enable();
                match self.things().get(name) {
                    Some(None) => {}
                    Some(Some(thing)) => return Ok(Arc::clone(thing)),
                    None => return Err(self.none(name)),
                }
                settled.await;
            }
        };
        timeout(MAKING, settled)
            .await
            .map_err(|_late| Error::Timeout {
                event: format!("the making of the {} {name:?}", self.kind),
                after: MAKING,
            })?
    }

    /// All names.
    pub fn names(&self) -> Vec<String> {
        self.things().keys().cloned().collect()
    }

    /// Forgets a thing if `condition` holds for it, and tells whether it did.
    pub fn remove_if(&self, name: &str, condition: impl Fn(&T) -> bool) -> bool {
        let mut things = self.things();
        let remove = matches!(things.get(name), Some(Some(thing)) if condition(thing));
        if remove {
            things.remove(name);
        }
        remove
    }

    fn none(&self, name: &str) -> Error {
        Error::NotFound {
            kind: self.kind,
            id: name.to_owned(),
        }
    }

    fn things(&self) -> MutexGuard<'_, BTreeMap<String, Option<Arc<T>>>> {
        self.by_name.lock()
    }
}

impl<T> Place<'_, T> {
    /// It was made.
    pub fn fill(mut self, thing: T) {
        self.thing = Some(Arc::new(thing));
    }
}

impl<T> Drop for Place<'_, T> {
    fn drop(&mut self) {
        let mut things = self.of.things();
        match self.thing.take() {
            Some(thing) => things.insert(std::mem::take(&mut self.name), Some(thing)),
            None => things.remove(&self.name),
        };
        drop(things);
        self.of.settled.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use tokio::join;

    use super::*;

    const NEVER: fn(&i32) -> bool = |_| false;

    #[tokio::test]
    async fn who_asks_during_the_making_waits_for_its_outcome() {
        let things = Named::new("number");
        let place = things.begin("a", NEVER).unwrap();
        assert!(things.find("a").is_err());
        assert!(things.begin("a", NEVER).is_err(), "the name is taken");
        let (found, ()) = join!(things.made("a"), async { place.fill(7) });
        assert_eq!(*found.unwrap(), 7);
        assert_eq!(*things.find("a").unwrap(), 7);
    }

    #[test]
    fn what_could_not_be_replaced_is_still_there() {
        let things = Named::new("number");
        things.begin("a", NEVER).unwrap().fill(1);
        let place = things.begin("a", |_| true).unwrap();
        assert!(things.find("a").is_err());
        drop(place);
        assert_eq!(*things.find("a").unwrap(), 1);
    }

    #[tokio::test]
    async fn a_name_is_taken_until_the_removal_is_over() {
        let things = Named::new("number");
        things.begin("a", NEVER).unwrap().fill(1);
        assert!(things.begin_removal("a", NEVER).is_none());
        assert_eq!(*things.find("a").unwrap(), 1);
        let removal = things.begin_removal("a", |_| true).unwrap();
        assert!(things.begin_removal("a", |_| true).is_none());
        assert!(things.begin("a", |_| true).is_err() && things.find("a").is_err());
        let (found, ()) = join!(things.made("a"), async { drop(removal) });
        assert_eq!(found.unwrap_err().to_string(), "No number \"a\"");
        things.begin("a", NEVER).unwrap().fill(2);
    }

    #[tokio::test]
    async fn a_making_that_fails_frees_the_name() {
        let things = Named::new("number");
        let place = things.begin("a", NEVER).unwrap();
        let (found, ()) = join!(things.made("a"), async { drop(place) });
        assert_eq!(found.unwrap_err().to_string(), "No number \"a\"");
        things.begin("a", NEVER).unwrap().fill(1);
        assert!(things.begin("a", NEVER).is_err());
        things.begin("a", |number| *number == 1).unwrap().fill(2);
        assert!(!things.remove_if("a", |number| *number == 1));
        assert!(things.remove_if("a", |number| *number == 2));
        assert!(things.names().is_empty());
    }
}
