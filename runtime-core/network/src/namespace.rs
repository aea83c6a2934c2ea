//! A network namespace, and threads that work inside it.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use nix::sched::{CloneFlags, setns, unshare};
use serde::{Deserialize, Serialize};
use tokio::{runtime, sync::oneshot, time::timeout};

use super::{NetworkError, Tap, netlink::Netlink};

/// How long all requests to the kernel of one piece of work may take.
const TIMEOUT: Duration = Duration::from_secs(5);
const OF_THIS_PROCESS: &str = "/proc/self/ns/net";
const OF_THIS_THREAD: &str = "/proc/thread-self/ns/net";

/// Identifies a namespace as long as it exists: the numbers of its file (namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceId {
    /// Device number of the file.
    pub dev: u64,
    /// Inode number of the file.
    pub ino: u64,
}

/// A network namespace. It exists at least as long as this value.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    path: PathBuf,
    id: NamespaceId,
}

impl Namespace {
    /// Opens the namespace at `path`.
    ///
    /// # Errors
    /// There is none, or it is that of this process ([`NetworkError::HostNetwork`]).
    pub fn open(path: &Path) -> Result<Self, NetworkError> {
        let namespace = Self::open_any(path)?;
        let host = fs::metadata(OF_THIS_PROCESS).map_err(failed("Inspecting", path))?;
        if namespace.id == NamespaceId::from(&host) {
            return Err(NetworkError::HostNetwork);
        }
        Ok(namespace)
    }

    /// Makes an empty namespace. It has no name, so it ends with this value and the last process in
    /// it.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn unshared() -> Result<Self, NetworkError> {
        let path = Path::new(OF_THIS_THREAD);
        let made = thread::scope(|scope| {
            let thread = thread::Builder::new()
                .name("netns".into())
                .spawn_scoped(scope, || {
                    unshare(CloneFlags::CLONE_NEWNET)
                        .map_err(|error| failed("Making", Path::new("of the pod"))(error.into()))?;
                    Self::open_any(path)
                });
            thread
                .map_err(failed("Starting a thread for", path))
                .map(thread::ScopedJoinHandle::join)
        });
        // A thread that cannot panic is joined.
        made?.unwrap_or_else(|_| Err(failed("Making", path)(io::ErrorKind::Other.into())))
    }

    /// Opens the namespace at `path`, even if it is that of this process.
    fn open_any(path: &Path) -> Result<Self, NetworkError> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NONBLOCK)
            .open(path)
            .map_err(failed("Opening", path))?;
        let metadata = file.metadata().map_err(failed("Inspecting", path))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            id: NamespaceId::from(&metadata),
        })
    }

    /// Makes a tap in it that is down and not connected. The namespace exists at least as long as
    /// the tap.
    ///
    /// # Errors
    /// The kernel refused.
    pub async fn tap(&self) -> Result<Tap, NetworkError> {
        self.within(async |netlink: &mut Netlink| netlink.tap())
            .await
    }

    /// The numbers that identify it.
    #[must_use]
    pub fn id(&self) -> NamespaceId {
        self.id
    }

    /// The path by which it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path to it that every thread of this process can use as long as this value lives, even if
    /// [`path`](Self::path) is removed.
    #[must_use]
    pub fn descriptor_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// Runs `work` inside the namespace, on a new thread with a netlink connection. Dropping the
    /// future does not cancel the work.
    pub(super) async fn within<T, W>(&self, work: W) -> Result<T, NetworkError>
    where
        T: Send + 'static,
        W: AsyncFnOnce(&mut Netlink) -> Result<T, NetworkError> + Send + 'static,
    {
        let entered = self.try_clone()?;
        let (sender, result) = oneshot::channel();
        thread::Builder::new()
            .name("netns".into())
            .spawn(move || drop(sender.send(entered.enter(work))))
            .map_err(failed("Starting a thread for", &self.path))?;
        // The thread has a timeout of its own.
        result.await.unwrap_or_else(|_| {
            Err(failed("Working in", &self.path)(
                io::ErrorKind::Other.into(),
            ))
        })
    }

    /// As [`within`](Self::within), for a caller without a tokio runtime. Blocks.
    pub(super) fn within_blocking<T, W>(&self, work: W) -> Result<T, NetworkError>
    where
        T: Send + 'static,
        W: AsyncFnOnce(&mut Netlink) -> Result<T, NetworkError> + Send + 'static,
    {
        let entered = self.try_clone()?;
        thread::Builder::new()
            .name("netns".into())
            .spawn(move || entered.enter(work))
            .map_err(failed("Starting a thread for", &self.path))?
            .join()
            .unwrap_or_else(|_| {
                Err(failed("Working in", &self.path)(
                    io::ErrorKind::Other.into(),
                ))
            })
    }

    pub(super) fn try_clone(&self) -> Result<Self, NetworkError> {
        let file = self
            .file
            .try_clone()
            .map_err(failed("Opening", &self.path))?;
        Ok(Self {
            file,
            path: self.path.clone(),
            id: self.id,
        })
    }

    /// Moves the calling thread into the namespace, and runs `work` there. The thread stays in it,
    /// so it must end afterwards.
    fn enter<T, W>(self, work: W) -> Result<T, NetworkError>
    where
        W: AsyncFnOnce(&mut Netlink) -> Result<T, NetworkError>,
    {
        let path = &self.path;
        setns(&self.file, CloneFlags::CLONE_NEWNET)
            .map_err(|error| failed("Entering", path)(error.into()))?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed("Starting a thread for", path))?;
        runtime.block_on(async {
            let mut netlink = Netlink::connect(path)?;
            match timeout(TIMEOUT, work(&mut netlink)).await {
                Ok(done) => done,
                Err(_) => Err(NetworkError::Timeout {
                    path: path.clone(),
                    waited: TIMEOUT,
                }),
            }
        })
    }
}

impl From<&fs::Metadata> for NamespaceId {
    fn from(metadata: &fs::Metadata) -> Self {
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
        }
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> NetworkError {
    let path = path.to_owned();
    move |source| NetworkError::Namespace {
        action,
        path,
        source,
    }
}
