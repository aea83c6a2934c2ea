//! A network namespace, and work done inside of it by a thread of its own.

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

/// How long all that is asked of the kernel in one go may take.
const DEADLINE: Duration = Duration::from_secs(5);
const OF_THIS_PROCESS: &str = "/proc/self/ns/net";
const OF_THIS_THREAD: &str = "/proc/thread-self/ns/net";

/// What tells one namespace from another, as long as either exists: the file behind it
/// (namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceId {
    /// Device.
    pub dev: u64,
    /// Inode.
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
        let namespace = Self::look(path)?;
        let host = fs::metadata(OF_THIS_PROCESS).map_err(failed("Looking at", path))?;
        if namespace.id == NamespaceId::of(&host) {
            return Err(NetworkError::HostNetwork);
        }
        Ok(namespace)
    }

    /// Makes a namespace with nothing in it. It has no name, so it is gone with the last process
    /// in it and with this value, however they end.
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
                    Self::look(path)
                });
            thread
                .map_err(failed("Starting a thread for", path))
                .map(thread::ScopedJoinHandle::join)
        });
        // A thread that cannot panic is joined.
        made?.unwrap_or_else(|_| Err(failed("Making", path)(io::ErrorKind::Other.into())))
    }

    fn look(path: &Path) -> Result<Self, NetworkError> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NONBLOCK)
            .open(path)
            .map_err(failed("Opening", path))?;
        let metadata = file.metadata().map_err(failed("Looking at", path))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            id: NamespaceId::of(&metadata),
        })
    }

    /// Makes a tap in it that is down and connected to nothing. The namespace exists at least as long
    /// as the tap.
    ///
    /// # Errors
    /// The kernel refused.
    pub async fn tap(&self) -> Result<Tap, NetworkError> {
        self.within(async |netlink: &mut Netlink| netlink.tap())
            .await
    }

    /// What tells it from others.
    #[must_use]
    pub fn id(&self) -> NamespaceId {
        self.id
    }

    /// Its path, as it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path that leads every thread of this process to it, whatever becomes of its own, as long
    /// as this value lives.
    #[must_use]
    pub fn descriptor_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// Does `work` inside: on a thread of its own with a netlink connection, both gone when it is
    /// done. Dropping the future does not end the work.
    pub(super) async fn within<T, W>(&self, work: W) -> Result<T, NetworkError>
    where
        T: Send + 'static,
        W: AsyncFnOnce(&mut Netlink) -> Result<T, NetworkError> + Send + 'static,
    {
        let entered = self.try_clone()?;
        let (tell, told) = oneshot::channel();
        thread::Builder::new()
            .name("netns".into())
            .spawn(move || drop(tell.send(entered.enter(work))))
            .map_err(failed("Starting a thread for", &self.path))?;
        // The thread bounds its own time.
        told.await.unwrap_or_else(|_| {
            Err(failed("Working in", &self.path)(
                io::ErrorKind::Other.into(),
            ))
        })
    }

    /// The same for a caller without a runtime.
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

    /// The calling thread is of no use for anything else afterwards.
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
            match timeout(DEADLINE, work(&mut netlink)).await {
                Ok(done) => done,
                Err(_) => Err(NetworkError::Timeout {
                    path: path.clone(),
                    waited: DEADLINE,
                }),
            }
        })
    }
}

impl NamespaceId {
    fn of(metadata: &fs::Metadata) -> Self {
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
