//! The host's OOM killer takes the VM: who is told what.

use std::{fs, path::PathBuf};

use cgroups_rs::fs::{Cgroup, Hierarchy, Subsystem, memory::MemController};
use resources::cgroup::CgroupPath;

use super::*;
use crate::process::{STATUS_KILLED, STATUS_LOST};

/// A cgroup v2 hierarchy of ordinary files.
#[derive(Debug)]
struct Files(PathBuf);

impl Hierarchy for Files {
    fn subsystems(&self) -> Vec<Subsystem> {
        let memory = MemController::new(self.0.clone(), PathBuf::new(), true);
        vec![Subsystem::Mem(memory)]
    }

    fn root(&self) -> PathBuf {
        self.0.clone()
    }

    fn root_control_group(&self) -> Cgroup {
        Cgroup::load(Box::new(Self(self.0.clone())), "")
    }

    fn parent_control_group(&self, _: &str) -> Cgroup {
        self.root_control_group()
    }

    fn v2(&self) -> bool {
        true
    }
}

/// The pod's cgroup, which may use 64 MiB, and the sandbox's in it.
struct Host(TempDir);

impl Host {
    fn new() -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(host.0.path().join("pod/own")).unwrap();
        fs::write(host.0.path().join("pod/memory.max"), "67108864\n").unwrap();
        fs::write(host.0.path().join("pod/memory.peak"), "67108864\n").unwrap();
        host.kills(0);
        host
    }

    fn kills(&self, count: u32) {
        let events = self.0.path().join("pod/own/memory.events");
        fs::write(events, format!("oom 7\noom_kill {count}\n")).unwrap();
    }

    fn cgroups(&self) -> Arc<PodCgroups> {
        let root = self.0.path().to_owned();
        let make = move || Box::new(Files(root.clone())) as Box<dyn Hierarchy>;
        let path = CgroupPath::parse(Some(Path::new("/pod/own")), MAIN, false).unwrap();
        let log = Logger::root(Discard, o!());
        Arc::new(PodCgroups::within(make, &path, MAIN, true, &log).unwrap())
    }

    /// A pod with a container and an exec, which run.
    async fn pod(&self, cgroups: &Arc<PodCgroups>) -> Fixture {
        let (guest, slots) = (Guest::default(), DiskSlots::default());
        let mut f = Fixture::within(Some(cgroups.clone()), SIZING, guest, &slots).await;
        for container in [MAIN, "web"] {
            let new = new_container(container, Stdio::default());
            f.sandbox.create(new).await.unwrap();
            f.sandbox.start(init(container)).await.unwrap();
        }
        f.sandbox.add_exec(new_exec("web", "e1")).await.unwrap();
        f.sandbox.start(TaskId::new("web", "e1")).await.unwrap();
        f.events();
        f
    }
}

async fn statuses(f: &Fixture) -> Vec<u32> {
    let mut statuses = Vec::new();
    for id in [init(MAIN), init("web"), TaskId::new("web", "e1")] {
        statuses.push(soon(f.sandbox.wait(id)).await.unwrap().status);
    }
    soon(f.sandbox.ended()).await;
    statuses
}

#[tokio::test]
async fn every_container_is_told_out_of_memory_before_its_end() {
    // Whichever is seen first: the VMM's end, or the agent's.
    for agent_first in [false, true] {
        let host = Host::new();
        let mut f = host.pod(&host.cgroups()).await;
        host.kills(1);
        if agent_first {
            f.guest.hang_up();
        } else {
            f.vm.die();
        }
        assert_eq!(statuses(&f).await, [STATUS_KILLED; 3]);
        let events = f.events();
        for container in [MAIN, "web"] {
            let at = |event: String| events.iter().position(|one| *one == event);
            let told = at(format!("oom {container}"));
            assert!(told.is_some(), "{events:?}");
            assert!(told < at(format!("exit {container} 137")), "{events:?}");
        }
        assert_eq!(events.len(), 5, "{events:?}");
        let new = new_container("late", Stdio::default());
        let error = f.sandbox.create(new).await.unwrap_err().to_string();
        assert!(
            error.starts_with(
                "The sandbox has ended: the host's OOM killer took its VM: the pod may use 64 MiB, \
                 and has used 64 MiB (cgroup "
            ),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_vm_that_ends_otherwise_is_lost_as_before() {
    let host = Host::new();
    let cgroups = host.cgroups();
    let mut f = host.pod(&cgroups).await;
    // What packs an image took too much.
    host.kills(1);
    f.guest.fail("create_container");
    let new = new_container("other", Stdio::default());
    let error = f.sandbox.create(new).await.unwrap_err();
    assert!(error.of_agent().is_some(), "{error}");
    cgroups.forget_kill();
    f.vm.die();
    assert_eq!(statuses(&f).await, [STATUS_LOST; 3]);
    assert!(!f.events().iter().any(|event| event.starts_with("oom")));
}

#[tokio::test]
async fn a_vm_that_was_killed_beside_what_packs_an_image_is_told() {
    let host = Host::new();
    let cgroups = host.cgroups();
    let f = host.pod(&cgroups).await;
    host.kills(2);
    cgroups.forget_kill();
    f.vm.die();
    assert_eq!(statuses(&f).await, [STATUS_KILLED; 3]);
}

#[tokio::test]
async fn reports_of_a_guest_do_not_displace_those_of_the_host() {
    let host = Host::new();
    let mut f = host.pod(&host.cgroups()).await;
    // More than half of what is kept: from then on no report of the guest's is.
    for _ in 0..EVENTS / 4 {
        f.sandbox.pause("web".into()).await.unwrap();
        f.sandbox.resume("web".into()).await.unwrap();
    }
    host.kills(1);
    f.guest.hang_up();
    statuses(&f).await;
    assert!(f.events().contains(&"oom web".to_owned()));
}
