//! The sandbox on a fake VM with a fake guest: life-cycles, streams, faults.

mod faults;
mod guest;
mod lifecycle;
mod limits;
mod memory;
mod slots;
mod streams;
mod vm;

use std::{path::Path, sync::Arc, time::Duration};

use config::Sizing;
use hypervisors::{DiskSlots, VmSize};
use oci::{Bundle, ContainerKind, SpecOptions};
use resources::{Demand, PodResources, RunningSize, cgroup::PodCgroups};
use rootfs::Rootfs;
use slog::{Discard, Logger, o};
use tempfile::TempDir;
use tokio::{sync::mpsc, time::timeout};

use super::*;
use crate::{
    io::{Sink, Stdio},
    process::{NewExec, Phase},
};
use guest::Guest;
use vm::FakeVm;

/// A sandbox with its surroundings.
struct Fixture {
    sandbox: Sandbox,
    vm: Arc<FakeVm>,
    guest: Guest,
    events: mpsc::Receiver<Event>,
    dir: TempDir,
}

const MAIN: &str = "main";

const SIZING: Sizing = Sizing {
    base: VmSize {
        vcpus: 1,
        memory_mib: 256,
    },
    most: VmSize {
        vcpus: 4,
        memory_mib: 2048,
    },
    overhead_vcpus: 0.0,
    overhead_memory_mib: 64,
    fixed: false,
};

impl Fixture {
    async fn new() -> Self {
        Self::sized(SIZING).await
    }

    async fn sized(sizing: Sizing) -> Self {
        Self::of(sizing, Guest::default(), &DiskSlots::default()).await
    }

    async fn of(sizing: Sizing, guest: Guest, slots: &DiskSlots) -> Self {
        Self::within(None, sizing, guest, slots).await
    }

    async fn within(
        cgroups: Option<Arc<PodCgroups>>,
        sizing: Sizing,
        guest: Guest,
        slots: &DiskSlots,
    ) -> Self {
        let vm = FakeVm::new();
        let (sender, events) = mpsc::channel(EVENTS);
        let (agent, log) = (guest.connect().await, Logger::root(Discard, o!()));
        let size = RunningSize::new(vm.clone(), agent.clone(), sizing, sizing.base, log.clone());
        let first = (!slots.contents.is_empty()).then_some(MAIN);
        let sandbox = Sandbox::open(NewSandbox {
            id: MAIN.into(),
            hostname: "host".into(),
            pod_uid: None,
            volumes: VolumeSettings::default(),
            disks: RootDisks::new(slots, first, log.clone()),
            storages: vec![],
            resources: PodResources::new(size, Demand::default(), cgroups, log.clone()),
            vm: vm.clone(),
            agent,
            events: sender,
            log,
        });
        let sandbox = sandbox.await.unwrap();
        Self {
            sandbox,
            vm,
            guest,
            events,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    async fn with_running(container: &str) -> Self {
        let fixture = Self::new().await;
        fixture
            .sandbox
            .create(new_container(container, Stdio::default()))
            .await
            .unwrap();
        fixture.sandbox.start(init(container)).await.unwrap();
        fixture
    }

    fn output_file(&self) -> (Stdio, std::path::PathBuf) {
        let path = self.dir.path().join("out");
        let stdio = Stdio {
            stdout: Some(Sink::File(path.clone())),
            ..Stdio::default()
        };
        (stdio, path)
    }

    fn fifo(&self, name: &str) -> std::path::PathBuf {
        let path = self.dir.path().join(name);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        path
    }

    /// The events so far, each in a word or two.
    fn events(&mut self) -> Vec<String> {
        let mut words = Vec::new();
        while let Ok(event) = self.events.try_recv() {
            words.push(match event {
                Event::Created { container, .. } => format!("create {container}"),
                Event::ExecAdded(id) => format!("exec-added {}", id.exec.unwrap()),
                Event::Started(id) => format!("start {}", id.in_guest().exec),
                Event::Exited(id, exit) => format!("exit {} {}", id.in_guest().exec, exit.status),
                Event::Deleted { container, exit } => format!("delete {container} {}", exit.status),
                Event::Paused(container) => format!("paused {container}"),
                Event::Resumed(container) => format!("resumed {container}"),
                Event::OutOfMemory(container) => format!("oom {container}"),
            });
        }
        words
    }
}

fn init(container: &str) -> TaskId {
    TaskId::new(container, "")
}

fn new_container(id: &str, stdio: Stdio) -> NewContainer {
    NewContainer {
        id: id.into(),
        kind: ContainerKind::SingleContainer,
        bundle: Bundle {
            path: "/bundle".into(),
            spec: oci_spec::runtime::Spec::default(),
        },
        rootfs: Rootfs::Block {
            path: "/dev/null".into(),
            fs_type: "ext4".into(),
            read_only: true,
            options: vec![],
            loop_backed: false,
        },
        mounts: vec![],
        stdio,
        options: SpecOptions {
            guest_seccomp: false,
        },
    }
}

fn new_exec(container: &str, exec: &str) -> NewExec {
    NewExec {
        id: TaskId::new(container, exec),
        process: agent_client::oci::Process::new(),
        stdio: Stdio::default(),
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(5), what)
        .await
        .expect("did not happen in time")
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}
