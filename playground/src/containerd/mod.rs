//! A containerd of our own: own root, state, socket, configuration and CNI directory.

mod config;
mod release;

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

pub use config::{PAUSE, SANDBOX_HANDLER};
pub use release::Release;
use rustix::process::Signal;

use crate::{
    Error, Result,
    log::{Log, Mark},
    proc::{MARK, Process},
    program::Program,
    wait::{Deadline, shield},
};

/// Subnet of the bridge network; private, and not one that container tools commonly take.
const SUBNET: &str = "10.213.0.0/16";

/// Name of the bridge that the CNI configuration makes when a pod asks for a network.
pub const BRIDGE: &str = "imprint0";

/// Where a private containerd keeps its things.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The directory of the playground, which holds all that follows.
    pub directory: PathBuf,
    /// The release of containerd, and where its programs are.
    pub release: Release,
    /// Directory of the Imprint binaries, put in front of containerd's PATH.
    pub binaries: PathBuf,
    /// The file that the shim reads as Imprint's configuration.
    pub imprint_config: PathBuf,
}

impl Layout {
    /// The socket of containerd's API.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.join("containerd.sock")
    }

    /// containerd's log, which the shims' logs flow into.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.directory.join("containerd.log")
    }

    fn pid_file(&self) -> PathBuf {
        self.directory.join("containerd.pid")
    }

    /// A PATH that finds Imprint's binaries first, then those of this containerd.
    #[must_use]
    pub fn search_path(&self) -> String {
        let rest = std::env::var("PATH").unwrap_or_default();
        let own = self.release.directory();
        let own = own.map_or_else(String::new, |own| format!("{}:", own.display()));
        format!("{}:{own}{rest}:/usr/sbin:/sbin", self.binaries.display())
    }

    /// The empty disk that every snapshot of the blockfile snapshotter begins with.
    fn scratch_disk(&self) -> Option<PathBuf> {
        let has_blockfile = self.release.at_least(1, 7);
        has_blockfile.then(|| self.directory.join("scratch.ext4"))
    }

    fn write_files(&self) -> Result<PathBuf> {
        for name in ["root", "state", "tmp", "cni", "opt", "fifo"] {
            let path = self.directory.join(name);
            fs::create_dir_all(&path).map_err(Error::io("Making", &path))?;
        }
        if let Some(scratch) = self.scratch_disk() {
            make_disk(&scratch)?;
        }
        let network = self.directory.join("cni/10-imprint.conflist");
        fs::write(&network, cni_configuration(&self.directory))
            .map_err(Error::io("Writing", &network))?;
        let config = self.directory.join("containerd.toml");
        let text = config::text(self);
        fs::write(&config, text).map_err(Error::io("Writing", &config))?;
        Ok(config)
    }
}

/// Makes an empty file system in a file, unless it is there.
fn make_disk(path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let target = path.to_string_lossy();
    Program::new("mkfs.ext4")
        .args(["-q", "-O", "^has_journal", &target, "48M"])
        .succeed()
        .map(drop)
}

fn cni_configuration(directory: &Path) -> String {
    format!(
        r#"{{"cniVersion": "0.4.0", "name": "imprint", "plugins": [
  {{"type": "bridge", "bridge": "{BRIDGE}", "isGateway": true, "ipMasq": true, "promiscMode": true,
    "ipam": {{"type": "host-local", "dataDir": "{}/cni/ipam",
             "ranges": [[{{"subnet": "{SUBNET}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}}},
  {{"type": "portmap", "capabilities": {{"portMappings": true}}}}
]}}
"#,
        directory.display()
    )
}

/// A containerd that answers.
#[derive(Debug)]
pub struct Containerd {
    layout: Layout,
    process: RefCell<Process>,
    log: Log,
}

impl Containerd {
    /// Starts containerd and waits until it serves.
    pub fn start(layout: Layout) -> Result<Self> {
        let config = layout.write_files()?;
        let log_path = layout.log();
        let output = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log_path);
        let output = output.map_err(Error::io("Opening", &log_path))?;
        let log = Log::at(log_path);
        let mark = log.mark();
        let program = layout
            .release
            .program("containerd")
            .args([Path::new("--config"), &config])
            .env("PATH", layout.search_path())
            .env("IMPRINT_CONFIG", &layout.imprint_config)
            .env("TMPDIR", layout.directory.join("tmp"))
            .env(MARK, &layout.directory);
        let mut child = program.spawn_detached(&output)?;
        let pid = i32::try_from(child.id()).unwrap_or_default();
        let served = log.wait_for(
            mark,
            Deadline::after(Duration::from_secs(60)),
            "containerd to serve",
            |line| {
                let failed = line
                    .strip_prefix("containerd: ")
                    .map(|why| Err(why.to_owned()));
                if line.contains("containerd successfully booted") {
                    Some(Ok(()))
                } else {
                    failed
                }
            },
        );
        let served = served.and_then(|served| served.map_err(Error::Unexpected));
        let process = served.and_then(|()| {
            let gone = || Error::Unexpected("containerd ended while it started".to_owned());
            Process::read(pid).ok_or_else(gone)
        });
        if process.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let process = process?;
        let pid_file = layout.pid_file();
        let text = format!("{} {}", process.pid, process.start_time);
        fs::write(&pid_file, text).map_err(Error::io("Writing", &pid_file))?;
        Ok(Self {
            layout,
            process: RefCell::new(process),
            log,
        })
    }

    /// Kills it and starts another one in its place, as happens to a node.
    pub fn replace(&self) -> Result<()> {
        self.process.borrow().kill()?;
        let next = Self::start(self.layout.clone())?;
        self.process.swap(&next.process);
        Ok(())
    }

    /// The containerd that an earlier process started with this layout, if it still runs.
    #[must_use]
    pub fn running(layout: Layout) -> Option<Self> {
        let text = fs::read_to_string(layout.pid_file()).ok()?;
        let (pid, start_time) = text.split_once(' ')?;
        let process = Process::read(pid.parse().ok()?)?;
        let log = Log::at(layout.log());
        (process.start_time.to_string() == start_time).then_some(Self {
            layout,
            process: RefCell::new(process),
            log,
        })
    }

    /// Where it keeps its things.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Its log, which holds the shims' too.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The log's present end.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.log.mark()
    }

    /// The process of the daemon, as `/proc` has it.
    #[must_use]
    pub fn process(&self) -> Process {
        self.process.borrow().clone()
    }

    /// Asks it to end, makes it end if it does not, and returns when it is gone.
    pub fn stop(&self) -> Result<()> {
        let _shield = shield();
        let process = self.process();
        process.signal(Signal::TERM);
        let deadline = Deadline::after(Duration::from_secs(15));
        process.wait_gone(deadline).or_else(|_| process.kill())
    }
}
