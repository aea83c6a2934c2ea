//! The network interface that a VM has from its start.

use std::{
    fs,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    process::Command,
    sync::Arc,
    time::Instant,
};

use hypervisors::{Error, NetSpec, NicSpec, Vm, VmSpec};

use crate::{subject::Subject, tap::tap};

/// Of the VM that is saved, and of none of its clones.
const SAVED_MAC: &str = "02:00:5e:00:00:01";

fn nic(mac: &str) -> Option<NicSpec> {
    match tap() {
        Ok(tap) => Some(NicSpec {
            mac: mac.into(),
            tap: Arc::new(OwnedFd::from(tap)),
        }),
        Err(error) => {
            eprintln!("SKIPPED: no tap can be made: {error}");
            None
        }
    }
}

/// The interface of a tap, by a descriptor of it.
fn interface(info: &Path) -> Option<String> {
    let info = fs::read_to_string(info).ok()?;
    let name = info.lines().find_map(|line| line.strip_prefix("iff:"))?;
    Some(name.trim().to_owned())
}

fn own(nic: &NicSpec) -> String {
    let info = format!("/proc/self/fdinfo/{}", nic.tap.as_raw_fd());
    interface(Path::new(&info)).unwrap()
}

/// From now on the host takes packets from the tap.
fn bring_up(nic: &NicSpec) {
    let up = ["link", "set", "dev", &own(nic), "up"];
    assert!(Command::new("ip").args(up).status().unwrap().success());
}

/// Packets that came from the VM.
fn packets(nic: &NicSpec) -> u64 {
    let counter = format!("/sys/class/net/{}/statistics/rx_packets", own(nic));
    let count = fs::read_to_string(counter).unwrap();
    count.trim().parse().unwrap()
}

/// Whether the VMM, too, has the tap open: which of them is told by the name of its interface.
fn holds(vm: &dyn Vm, nic: &NicSpec) -> bool {
    let mine = own(nic);
    let theirs = fs::read_dir(format!("/proc/{}/fdinfo", vm.process().pid)).unwrap();
    theirs
        .flatten()
        .filter_map(|fd| interface(&fd.path()))
        .any(|name| name == mine)
}

pub async fn a_vm_has_a_network_interface_from_its_start(subject: &Subject) {
    let Some(nic) = nic(SAVED_MAC) else { return };
    let mut spec = subject.spec("a");
    spec.nic = Some(NicSpec {
        mac: "no mac".into(),
        ..nic.clone()
    });
    let refused = subject.hypervisor.boot(&spec).await.map(drop);
    assert!(matches!(refused, Err(Error::InvalidSpec(_))), "{refused:?}");
    spec.nic = Some(nic.clone());
    let vm = subject.boot(&spec).await;
    let place = vm.nic().unwrap();
    assert!(holds(&*vm, &nic));
    // Another beside it.
    let second = NetSpec {
        id: "nic".into(),
        mac: "02:00:5e:00:00:02".into(),
        tap: tap().unwrap().into(),
    };
    assert_ne!(vm.add_net(second).await.unwrap(), place);
    vm.kill().await.unwrap();
    let vm = subject.boot(&subject.spec("b")).await;
    assert_eq!(vm.nic(), None);
    vm.kill().await.unwrap();
}

pub async fn each_clone_has_a_tap_of_its_own(subject: &Subject) {
    let Some(first) = nic(SAVED_MAC) else { return };
    if !subject.saves() {
        return;
    }
    let with = |spec: VmSpec, nic: &NicSpec| VmSpec {
        nic: Some(nic.clone()),
        ..spec
    };
    let template = with(subject.spec_with_file("template", true), &first);
    let vm = subject.boot(&template).await;
    let place = vm.nic().unwrap();
    let saved = subject.save(&*vm).await;
    let mut clones = Vec::new();
    for id in ["one", "two"] {
        let mac = format!("02:00:5e:00:01:{:02}", clones.len());
        let own = nic(&mac).unwrap();
        bring_up(&own);
        let spec = with(subject.spec_with_file(id, false), &own);
        let start = Instant::now();
        let vm = subject.restore(&spec, &saved).await;
        let restored = start.elapsed();
        assert_eq!(vm.nic().as_ref(), Some(&place));
        assert!(holds(&*vm, &own) && !holds(&*vm, &first));
        vm.resume().await.unwrap();
        subject.answer(&*vm).await;
        // Nobody is told of a clone by an address that is not its own yet.
        assert_eq!(packets(&own), 0);
        eprintln!(
            "with a network interface at {place}: process and restore {restored:?}, \
             first answer {:?}; {}",
            start.elapsed(),
            vm.origin().await.unwrap()
        );
        clones.push(vm);
    }
    for vm in clones {
        vm.kill().await.unwrap();
    }
}
