//! The numbers that stand for containers on this node.
//!
//! A container's processes are in the guest, yet containerd wants a number of each, and names the
//! container by it where another is to see its processes (`/proc/<pid>/ns/pid`). The main
//! container's is the VMM's. Every other has a thread of this process, which does nothing: no other
//! process has its number as long as it lives, and what is found by it, such as the network
//! namespace, is the pod's.

use std::{
    collections::HashMap,
    fs::File,
    io,
    sync::{Arc, OnceLock, mpsc},
    thread,
};

use nix::{
    sched::{CloneFlags, setns},
    unistd::gettid,
};
use slog::{Logger, info};
use system::sync::{Mutex, MutexGuard};
use tokio::sync::oneshot;

/// It calls three functions.
const STACK: usize = 64 << 10;

/// The numbers of a pod's containers.
pub struct Pids {
    vmm: OnceLock<Vmm>,
    main: String,
    threads: Mutex<HashMap<String, Stand>>,
    log: Logger,
}

/// The process of the VM.
struct Vmm {
    number: u32,
    /// The pod's network namespace, where it could be opened.
    network: Option<Arc<File>>,
}

/// A thread that stands for a container.
struct Stand {
    number: u32,
    /// How often the name was taken: the end of one container may be announced when the next of its
    /// name is there.
    uses: usize,
    /// The thread ends with this.
    _life: mpsc::Sender<()>,
}

impl Pids {
    /// Those of the pod `main`, which has no VM yet.
    #[must_use]
    pub fn new(main: &str, log: &Logger) -> Self {
        Self {
            vmm: OnceLock::new(),
            main: main.to_owned(),
            threads: Mutex::default(),
            log: log.clone(),
        }
    }

    /// The pod has its VM now, in the process of this number.
    pub(crate) fn begin_vmm(&self, number: u32) {
        let path = format!("/proc/{number}/ns/net");
        self.vmm.get_or_init(|| Vmm {
            number,
            network: File::open(path).ok().map(Arc::new),
        });
    }

    /// The number of a container; of one that is not known the VMM's, which is 0 before there is
    /// one.
    #[must_use]
    pub fn of(&self, container: &str) -> u32 {
        match self.threads().get(container) {
            Some(stand) => stand.number,
            None => self.vmm.get().map_or(0, |vmm| vmm.number),
        }
    }

    /// The container that a number stands for.
    pub(crate) fn container(&self, number: u32) -> Option<String> {
        if self.vmm.get().is_some_and(|vmm| vmm.number == number) {
            return Some(self.main.clone());
        }
        let threads = self.threads();
        let mut all = threads.iter();
        all.find(|(_, stand)| stand.number == number)
            .map(|(container, _)| container.clone())
    }

    /// Gives a container a number.
    ///
    /// # Errors
    /// There can be no more threads.
    pub(crate) async fn begin(&self, container: &str) -> io::Result<()> {
        if container == self.main || self.take(container) {
            return Ok(());
        }
        let (life, end) = mpsc::channel::<()>();
        let (started, number) = oneshot::channel();
        let network = self.vmm.get().and_then(|vmm| vmm.network.clone());
        thread::Builder::new()
            .name("container".to_owned())
            .stack_size(STACK)
            .spawn(move || {
                let joined = network.map(|network| setns(&*network, CloneFlags::CLONE_NEWNET));
                let _ = started.send((gettid().as_raw().unsigned_abs(), joined));
                let _closed = end.recv();
            })?;
        let (number, joined) = number.await.map_err(io::Error::other)?;
        if let Some(Err(error)) = joined {
            info!(self.log, "container's number is not in the pod's network"; "error" => %error);
        }
        let stand = Stand {
            number,
            uses: 1,
            _life: life,
        };
        self.threads().insert(container.to_owned(), stand);
        Ok(())
    }

    /// Takes the number back.
    pub fn end(&self, container: &str) {
        let mut threads = self.threads();
        if let Some(stand) = threads.get_mut(container) {
            stand.uses -= 1;
            if stand.uses == 0 {
                threads.remove(container);
            }
        }
    }

    fn take(&self, container: &str) -> bool {
        let mut threads = self.threads();
        let stand = threads.get_mut(container);
        stand.map(|stand| stand.uses += 1).is_some()
    }

    fn threads(&self) -> MutexGuard<'_, HashMap<String, Stand>> {
        self.threads.lock()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use slog::{Discard, o};

    use super::*;

    #[tokio::test]
    async fn each_container_has_a_number_of_its_own_that_ends_with_it() {
        let own = std::process::id();
        let pids = Pids::new("main", &Logger::root(Discard, o!()));
        assert_eq!((pids.of("main"), pids.container(own)), (0, None));
        pids.begin_vmm(own);
        for container in ["main", "web", "db", "web"] {
            pids.begin(container).await.unwrap();
        }
        let (web, db) = (pids.of("web"), pids.of("db"));
        assert_eq!(pids.of("main"), own);
        assert!(web != db && web != own && db != own, "{web} {db} {own}");
        for (number, container) in [(own, "main"), (web, "web"), (db, "db")] {
            assert_eq!(pids.container(number).as_deref(), Some(container));
        }
        assert_eq!(pids.container(1), None);
        let task = format!("/proc/{own}/task/{web}");
        assert!(Path::new(&task).exists());
        pids.end("web");
        assert_eq!(pids.of("web"), web, "the name was taken twice");
        pids.end("web");
        assert_eq!(pids.of("web"), own);
        let begun = std::time::Instant::now();
        while Path::new(&task).exists() {
            assert!(begun.elapsed().as_secs() < 10, "the thread ends");
            thread::yield_now();
        }
    }
}
