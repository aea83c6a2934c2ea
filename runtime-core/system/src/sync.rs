//! Locks that go on after a panic.
//!
//! A lock of the standard library is poisoned if a thread panics while it holds it, and every later
//! caller must decide what that means. Here poison is ignored: product code does not panic, and a
//! test that did has failed already. So the types of the standard library are not used elsewhere
//! (`clippy.toml`).

#![allow(clippy::disallowed_types)]

use std::sync::PoisonError;

/// A lock that is held for as long as its value lives.
pub type MutexGuard<'a, T> = std::sync::MutexGuard<'a, T>;

/// Mutual exclusion between threads. It is not to be held over an `await`.
#[derive(Debug, Default)]
pub struct Mutex<T: ?Sized>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// A lock around this value.
    pub const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    /// Ends the lock and returns its value.
    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Blocks until the lock is free. A thread that holds it already blocks for ever.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn it_is_held_by_one_at_a_time_and_survives_a_panic() {
        static SUM: Mutex<u32> = Mutex::new(0);
        let panicked = thread::spawn(|| {
            let _held = SUM.lock();
            panic!("while it is held");
        });
        assert!(panicked.join().is_err());
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let mut sum = SUM.lock();
                        let now = *sum;
                        thread::yield_now();
                        *sum = now + 1;
                    }
                });
            }
        });
        assert_eq!(*SUM.lock(), 4000);
    }

    #[test]
    fn the_value_comes_back_out_after_a_panic_too() {
        let lock = Mutex::new(7);
        let panicked = thread::scope(|scope| {
            let held = scope.spawn(|| {
                let _held = lock.lock();
                panic!("while it is held");
            });
            held.join().is_err()
        });
        assert!(panicked);
        assert_eq!(lock.into_inner(), 7);
    }
}
