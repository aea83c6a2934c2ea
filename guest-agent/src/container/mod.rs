//! A container: its processes, its group, what was mounted for it.

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
    time::timeout,
};

pub use self::process::{Output, Process};
use crate::{
    cgroup::{Group, Rules},
    error::{Doing, Error, Result},
    log,
    making::Named,
    oci as wire,
    pid_namespace::PidNamespace,
    reaper::Reaper,
    zygote::{Request, Zygote},
};

/// Ended processes whose exit code and last output are kept for callers that come late.
const ENDED_KEPT: usize = 32;
/// How long killed processes may take to end.
const KILL: Duration = Duration::from_secs(10);

/// A container that was created.
#[derive(Debug)]
pub struct Container {
    pub id: String,
    pub group: Group,
    /// What was mounted for it, in order.
    pub mount_points: Vec<PathBuf>,
    /// Its directory, with its configuration and most often its root file system.
    pub bundle: PathBuf,
    /// The file that its termination message is in.
    pub termination: Option<PathBuf>,
    /// As it was asked for; what is executed later inherits from it.
    wanted: oci::Process,
    /// Of its user namespace, if it has one.
    users: Vec<oci::LinuxIDMapping>,
    first: Arc<Process>,
    /// The processes beside the first one, by their names.
    others: Named<Process>,
    /// Names of those that have ended, in the order of their end.
    ended: Mutex<VecDeque<String>>,
    started: AtomicBool,
    /// Read while a process is made: one in a frozen group would never be ready.
    paused: RwLock<bool>,
    next_file: AtomicU64,
}

/// What is needed to create a container.
pub struct Plan {
    pub id: String,
    pub bundle: PathBuf,
    pub wanted: oci::Process,
    pub users: Vec<oci::LinuxIDMapping>,
    pub configuration: Value,
    pub group: Group,
    pub devices: Rules,
    pub mount_points: Vec<PathBuf>,
    pub termination: Option<PathBuf>,
}

impl Container {
    /// Creates it, up to the point where its program would be executed.
    ///
    /// # Errors
    ///
    /// When the runtime refuses; then no process and no group is left, but the bundle is and what
    /// was mounted.
    pub async fn create(zygote: &Zygote, log: &Logger, plan: Plan) -> Result<Self> {
        let Plan {
            id,
            bundle,
            wanted,
            users,
            configuration,
            group,
            devices,
            mount_points,
            termination,
        } = plan;
        fs::create_dir_all(&bundle).on("create", &bundle)?;
        write_json(&bundle.join("config.json"), &configuration)?;
        let request = |console| Request::Create {
            id: id.clone(),
            bundle: bundle.clone(),
            console,
        };
        let (console, owner) = (bundle.join("console.sock"), owner(&wanted, &users));
        let made = Process::make(zygote, &wanted, owner, console, request).await;
        // The first process has no program yet, and no other is in the group.
        let held = made.and_then(|first| group.hold_to(&devices).map(|()| first));
        match held {
            Ok(first) => Ok(Self {
                id,
                group,
                mount_points,
                bundle,
                termination,
                wanted,
                users,
                first: Arc::new(first),
                others: Named::new("process"),
                ended: Mutex::default(),
                started: AtomicBool::new(false),
                paused: RwLock::new(false),
                next_file: AtomicU64::new(0),
            }),
            Err(error) => {
                log::not_undone(log, zygote.request(Request::Delete { id }).await);
                Err(error)
            }
        }
    }

    /// Has it execute its program.
    ///
    /// # Errors
    ///
    /// When it was started before, or its process has ended.
    pub async fn start(&self, zygote: &Zygote) -> Result<()> {
        if self.started.swap(true, Ordering::AcqRel) {
            return Err(Error::State(format!(
                "Container {} was started before",
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

    /// Runs a process beside the first one, under the name `exec_id`.
    ///
    /// # Errors
    ///
    /// When the name is taken, the container is not running, or the runtime refuses.
    pub async fn execute(
        &self,
        zygote: &Zygote,
        exec_id: &str,
        wanted: oci::Process,
    ) -> Result<()> {
        let _not_paused_meanwhile = self.must_run().await?;
        if self.is_first(exec_id) {
            return Err(Error::Exists {
                kind: "process",
                id: exec_id.to_owned(),
            });
        }
        let place = self.others.begin(exec_id, has_ended)?;
        let wanted = wire::exec_process(wanted, &self.wanted);
        // File names are ours: the caller's may be any text.
        let number = self.next_file.fetch_add(1, Ordering::Relaxed);
        let file = self.bundle.join(format!("process-{number}.json"));
        let console = self.bundle.join(format!("console-{number}.sock"));
        write_json(&file, &wire::process(&wanted)?)?;
        let request = |console| Request::Exec {
            id: self.id.clone(),
            process: file.clone(),
            console,
        };
        let owner = owner(&wanted, &self.users);
        let made = Process::make(zygote, &wanted, owner, console, request).await;
        let _already_gone = fs::remove_file(&file);
        place.fill(made?);
        Ok(())
    }

    async fn must_run(&self) -> Result<RwLockReadGuard<'_, bool>> {
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

    /// The process called `exec_id`; the first one has the container's own name, or none.
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

    /// The process namespace of its first process.
    ///
    /// # Errors
    ///
    /// When that has ended.
    pub fn pid_namespace(&self, reaper: &Reaper) -> Result<PidNamespace> {
        PidNamespace::of_container(reaper, &self.id, self.first.pid(), self.first.exit())
    }

    fn is_first(&self, exec_id: &str) -> bool {
        exec_id.is_empty() || exec_id == self.id
    }

    /// As [`Container::find`]; waits for a process that is being made.
    async fn made(&self, exec_id: &str) -> Result<Arc<Process>> {
        if self.is_first(exec_id) {
            return Ok(Arc::clone(&self.first));
        }
        self.others.made(exec_id).await
    }

    /// Waits for the end of a process, and keeps its record a while for callers that come later.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub async fn wait(&self, exec_id: &str) -> Result<i32> {
        let process = self.made(exec_id).await?;
        let code = process.wait().await;
        if !Arc::ptr_eq(&process, &self.first) {
            let mut ended = self.ended.lock();
            if !ended.iter().any(|name| name == exec_id) {
                ended.push_back(exec_id.to_owned());
            }
            while ended.len() > ENDED_KEPT {
                // A name may have been taken again by a process that runs.
                if let Some(name) = ended.pop_front() {
                    self.others.remove_if(&name, has_ended);
                }
            }
        }
        Ok(code)
    }

    /// Sends a signal to one process, or SIGKILL to all of them if `exec_id` is empty.
    ///
    /// A first process that is the init of its pid namespace is spared by the kernel from signals that
    /// it has no handler for, and lives until its grace period is over. One that was not started is the
    /// runtime's yet, and is ended by SIGTERM too.
    ///
    /// # Errors
    ///
    /// When there is no such process, or the signal is none. One that has ended is left alone.
    pub async fn signal(&self, reaper: &Reaper, exec_id: &str, signal: u32) -> Result<()> {
        let process = self.made(exec_id).await?;
        let mut signal = i32::try_from(signal)
            .ok()
            .filter(|number| *number <= libc::SIGRTMAX())
            .ok_or_else(|| Error::Invalid(format!("there is no signal {signal}")))?;
        if exec_id.is_empty() && signal == libc::SIGKILL && self.group.kill()? {
            return Ok(());
        }
        let waits = Arc::ptr_eq(&process, &self.first) && !self.started.load(Ordering::Acquire);
        if waits && signal == libc::SIGTERM {
            signal = libc::SIGKILL;
        }
        reaper.signal(process.pid(), signal)
    }

    /// Stops all its processes from running, or lets them run again.
    ///
    /// # Errors
    ///
    /// When the group does not follow.
    pub async fn pause(&self, paused: bool) -> Result<()> {
        let mut is_paused = self.paused.write().await;
        self.group.freeze(paused).await?;
        *is_paused = paused;
        Ok(())
    }

    /// Kills what is left, and removes its group.
    ///
    /// # Errors
    ///
    /// When its first process does not end, or the runtime does not let go of it.
    pub async fn delete(
        &self,
        zygote: &Zygote,
        reaper: &Reaper,
        patience: Option<Duration>,
    ) -> Result<()> {
        if self.first.exit_code().is_none() {
            self.signal(reaper, "", libc::SIGKILL.unsigned_abs())
                .await?;
        }
        let patience = patience.unwrap_or(KILL);
        timeout(patience, self.first.wait())
            .await
            .map_err(|_late| Error::Timeout {
                event: format!("the end of the killed container {}", self.id),
                after: patience,
            })?;
        zygote
            .request(Request::Delete {
                id: self.id.clone(),
            })
            .await
    }
}

fn has_ended(process: &Process) -> bool {
    process.exit_code().is_some()
}

/// The user of a process, as the agent knows it.
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
