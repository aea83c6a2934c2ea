//! A container: its processes, its cgroup, its mounts.

mod process;
mod stream;
mod terminal;

use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use agent_client::oci;
use nix::unistd::Uid;
use serde_json::Value;
use slog::Logger;
use system::sync::Mutex;
use tokio::{
    sync::{RwLock, RwLockReadGuard},
    time,
};

pub use self::process::{Output, Process};
use crate::{
    cgroup::{DeviceRules, Group},
    error::{Doing, Error, Result},
    log, oci as configuration,
    pid_namespace::PidNamespace,
    reaper::Reaper,
    registry::Registry,
    zygote::{Request, Zygote},
};

/// How many ended processes keep their exit code and last output for callers that come later.
const MAX_ENDED: usize = 32;
/// How long killed processes may take to end, unless the caller sets a limit.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// A container that was created.
#[derive(Debug)]
pub struct Container {
    pub id: String,
    pub cgroup: Group,
    /// The mount points of its storages, in the order of mounting.
    pub mount_points: Vec<PathBuf>,
    /// The directory with its configuration and, most often, its root file system.
    pub bundle: PathBuf,
    /// The file of its termination message.
    pub termination_message: Option<PathBuf>,
    /// The first process as requested. Later processes inherit from it.
    process: oci::Process,
    /// Of its user namespace; empty without one.
    uid_mappings: Vec<oci::LinuxIDMapping>,
    first: Arc<Process>,
    /// The processes beside the first one, by their exec IDs.
    others: Registry<Process>,
    /// Exec IDs of processes that have ended, in the order of their end.
    ended: Mutex<VecDeque<String>>,
    started: AtomicBool,
    /// Locked for reading while a process is made: one in a frozen cgroup would never be ready.
    paused: RwLock<bool>,
    /// Numbers the files of processes.
    next_file: AtomicU64,
}

/// What a container is created from; the fields mean what they mean in [`Container`].
pub struct NewContainer {
    pub id: String,
    pub bundle: PathBuf,
    pub process: oci::Process,
    pub uid_mappings: Vec<oci::LinuxIDMapping>,
    /// The content of its `config.json`.
    pub configuration: Value,
    pub cgroup: Group,
    pub device_rules: DeviceRules,
    pub mount_points: Vec<PathBuf>,
    pub termination_message: Option<PathBuf>,
}

impl Container {
    /// Creates a container, up to the point where its program would be executed.
    ///
    /// # Errors
    ///
    /// When libcontainer or the kernel refuses. No process and no cgroup is left then; the bundle
    /// and the mounts are.
    pub async fn create(zygote: &Zygote, log: &Logger, new: NewContainer) -> Result<Self> {
        fs::create_dir_all(&new.bundle).on("create", &new.bundle)?;
        write_json(&new.bundle.join("config.json"), &new.configuration)?;
        let first = match Self::make_first_process(zygote, &new).await {
            Ok(first) => first,
            Err(error) => {
                let request = Request::Delete { id: new.id };
                log::cleanup_failure(log, zygote.request(request).await);
                return Err(error);
            }
        };
        Ok(Self {
            id: new.id,
            cgroup: new.cgroup,
            mount_points: new.mount_points,
            bundle: new.bundle,
            termination_message: new.termination_message,
            process: new.process,
            uid_mappings: new.uid_mappings,
            first: Arc::new(first),
            others: Registry::new("process"),
            ended: Mutex::default(),
            started: AtomicBool::new(false),
            paused: RwLock::new(false),
            next_file: AtomicU64::new(0),
        })
    }

    async fn make_first_process(zygote: &Zygote, new: &NewContainer) -> Result<Process> {
        let request = |console| Request::Create {
            id: new.id.clone(),
            bundle: new.bundle.clone(),
            console,
        };
        let console = new.bundle.join("console.sock");
        let owner = owner(&new.process, &new.uid_mappings);
        let first = Process::make(zygote, &new.process, owner, console, request).await?;
        // Soon enough: the process executes its program later, and is alone in the cgroup.
        new.cgroup.apply_device_rules(&new.device_rules)?;
        Ok(first)
    }

    /// Makes the first process execute its program.
    ///
    /// # Errors
    ///
    /// When the container was started before, or its first process has ended.
    pub async fn start(&self, zygote: &Zygote) -> Result<()> {
        if self.started.swap(true, Ordering::AcqRel) {
            return Err(Error::State(format!(
                "Container {} has been started already",
                self.id
            )));
        }
        let id = self.id.clone();
        let started = zygote.request(Request::Start { id }).await;
        if started.is_err() {
            self.started.store(false, Ordering::Release);
        }
        started
    }

    /// Runs a process beside the first one.
    ///
    /// # Errors
    ///
    /// When `exec_id` is taken, the container is not running, or libcontainer fails.
    pub async fn execute(
        &self,
        zygote: &Zygote,
        exec_id: &str,
        wanted: oci::Process,
    ) -> Result<()> {
        let _not_paused_meanwhile = self.check_running().await?;
        if self.is_first(exec_id) {
            return Err(Error::Exists {
                kind: "process",
                id: exec_id.to_owned(),
            });
        }
        let reservation = self.others.reserve(exec_id, has_ended)?;
        let wanted = configuration::exec_process(wanted, &self.process);
        // Numbered: an exec ID may be any text.
        let number = self.next_file.fetch_add(1, Ordering::Relaxed);
        let file = self.bundle.join(format!("process-{number}.json"));
        let console = self.bundle.join(format!("console-{number}.sock"));
        write_json(&file, &configuration::process(&wanted)?)?;
        let request = |console| Request::Exec {
            id: self.id.clone(),
            process: file.clone(),
            console,
        };
        let owner = owner(&wanted, &self.uid_mappings);
        let made = Process::make(zygote, &wanted, owner, console, request).await;
        let _already_gone = fs::remove_file(&file);
        reservation.fill(made?);
        Ok(())
    }

    async fn check_running(&self) -> Result<RwLockReadGuard<'_, bool>> {
        let paused = self.paused.read().await;
        let why = if !self.started.load(Ordering::Acquire) {
            "has not been started"
        } else if self.first.exit_code().is_some() {
            "has ended"
        } else if *paused {
            "is paused"
        } else {
            return Ok(paused);
        };
        Err(Error::State(format!("Container {} {why}", self.id)))
    }

    /// The process `exec_id`. For the first one that is empty or the container's identifier.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn find(&self, exec_id: &str) -> Result<Arc<Process>> {
        if self.is_first(exec_id) {
            return Ok(Arc::clone(&self.first));
        }
        self.others.find(exec_id)
    }

    /// The pid namespace of the first process.
    ///
    /// # Errors
    ///
    /// When the process has ended.
    pub fn pid_namespace(&self, reaper: &Reaper) -> Result<PidNamespace> {
        PidNamespace::of_container(reaper, &self.id, self.first.pid(), self.first.exit())
    }

    fn is_first(&self, exec_id: &str) -> bool {
        exec_id.is_empty() || exec_id == self.id
    }

    /// Like [`Container::find`], but waits for a process that is being made.
    async fn find_when_made(&self, exec_id: &str) -> Result<Arc<Process>> {
        if self.is_first(exec_id) {
            return Ok(Arc::clone(&self.first));
        }
        self.others.wait_for(exec_id).await
    }

    /// Waits for the end of a process, and returns its exit code. A process stays known for a while
    /// after that, for callers that come later.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub async fn wait(&self, exec_id: &str) -> Result<i32> {
        let process = self.find_when_made(exec_id).await?;
        let code = process.wait().await;
        if !Arc::ptr_eq(&process, &self.first) {
            let mut ended = self.ended.lock();
            if !ended.iter().any(|name| name == exec_id) {
                ended.push_back(exec_id.to_owned());
            }
            while ended.len() > MAX_ENDED {
                // The name may be that of a new process by now.
                if let Some(name) = ended.pop_front() {
                    self.others.remove_if(&name, has_ended);
                }
            }
        }
        Ok(code)
    }

    /// Sends a signal to a process. SIGKILL with an empty `exec_id` goes to all processes.
    ///
    /// The kernel ignores signals without a handler for process 1 of a pid namespace, so a first
    /// process without a handler for SIGTERM lives on. One that was not started has no program yet
    /// that could have a handler: SIGTERM kills it.
    ///
    /// # Errors
    ///
    /// When there is no such process or no such signal. Nothing happens to a process
    /// that has ended.
    pub async fn signal(&self, reaper: &Reaper, exec_id: &str, signal: u32) -> Result<()> {
        let process = self.find_when_made(exec_id).await?;
        let mut signal = i32::try_from(signal)
            .ok()
            .filter(|number| *number <= libc::SIGRTMAX())
            .ok_or_else(|| Error::Invalid(format!("there is no signal {signal}")))?;
        if exec_id.is_empty() && signal == libc::SIGKILL && self.cgroup.kill()? {
            return Ok(());
        }
        let is_waiting =
            Arc::ptr_eq(&process, &self.first) && !self.started.load(Ordering::Acquire);
        if is_waiting && signal == libc::SIGTERM {
            signal = libc::SIGKILL;
        }
        reaper.signal(process.pid(), signal)
    }

    /// Freezes (`true`) or thaws (`false`) all processes.
    ///
    /// # Errors
    ///
    /// When the cgroup does not freeze or thaw in time.
    pub async fn pause(&self, paused: bool) -> Result<()> {
        let mut is_paused = self.paused.write().await;
        self.cgroup.freeze(paused).await?;
        *is_paused = paused;
        Ok(())
    }

    /// Kills the processes that still run, and removes the cgroup.
    ///
    /// # Errors
    ///
    /// When the first process does not end within `timeout`, or libcontainer fails.
    pub async fn delete(
        &self,
        zygote: &Zygote,
        reaper: &Reaper,
        timeout: Option<Duration>,
    ) -> Result<()> {
        if self.first.exit_code().is_none() {
            self.signal(reaper, "", libc::SIGKILL.unsigned_abs())
                .await?;
        }
        let timeout = timeout.unwrap_or(KILL_TIMEOUT);
        time::timeout(timeout, self.first.wait())
            .await
            .map_err(|_elapsed| Error::Timeout {
                event: format!("the killed container {} to end", self.id),
                after: timeout,
            })?;
        let id = self.id.clone();
        zygote.request(Request::Delete { id }).await
    }
}

fn has_ended(process: &Process) -> bool {
    process.exit_code().is_some()
}

/// The user of a process in the agent's user namespace.
fn owner(wanted: &oci::Process, users: &[oci::LinuxIDMapping]) -> Uid {
    let user = wanted.User.get_or_default().UID;
    let mapped = users.iter().find_map(|one| {
        let offset = user.checked_sub(one.ContainerID)?;
        (offset < one.Size).then(|| one.HostID.saturating_add(offset))
    });
    Uid::from_raw(mapped.unwrap_or(user))
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    fs::write(path, value.to_string()).on("write", path)
}
