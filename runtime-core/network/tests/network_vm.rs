//! A pod's network in a real VM, booted and restored. Needs root, QEMU and the embedded guest.

#![allow(missing_docs, clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod netns;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use agent_client::{Agent, Channel};
use hypervisors::{
    AgentChannel, GuestRoot, Hypervisor, KernelSpec, MemoryBacking, MemorySpec, Vm, VmSpec,
    qemu::{AcceleratorChoice, Qemu, QemuConfig},
};
use netns::{Pod, pod};
use network::{Namespace, NamespaceId, NicPhases, add_nics, attach, detach};
use tempfile::TempDir;

const MIB: u32 = 160;
const PATIENCE: Duration = Duration::from_secs(90);

struct Bench {
    qemu: Qemu,
    guest: PathBuf,
    dir: TempDir,
}

fn log() -> slog::Logger {
    slog::Logger::root(slog::Discard, slog::o!())
}

async fn bench() -> Option<Bench> {
    let guest = std::env::var_os("IMPRINT_TEST_GUEST").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../build/guest"),
        PathBuf::from,
    );
    let config = QemuConfig {
        accelerator: AcceleratorChoice::Tcg,
        ..QemuConfig::default()
    };
    for needed in [
        &config.binary,
        &guest.join("vmlinux"),
        &guest.join("initrd.img"),
    ] {
        if !needed.exists() {
            eprintln!("SKIPPED: {} is missing", needed.display());
            return None;
        }
    }
    let qemu = Qemu::probe(config, &log()).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    Some(Bench { qemu, guest, dir })
}

impl Bench {
    fn spec(&self, id: &str, backing: MemoryBacking) -> VmSpec {
        let run_dir = self.dir.path().join(id);
        fs::create_dir_all(&run_dir).unwrap();
        VmSpec {
            id: id.to_owned(),
            run_dir,
            vcpus: 1,
            max_vcpus: 1,
            memory: MemorySpec {
                mib: MIB,
                max_mib: MIB,
                backing,
            },
            kernel: KernelSpec {
                kernel: self.guest.join("vmlinux"),
                root: GuestRoot::Initrd(self.guest.join("initrd.img")),
                command_line: "quiet panic=-1 no_timer_check".into(),
            },
            netns: None,
            slots: hypervisors::DiskSlots::default(),
            nic: None,
        }
    }

    fn memory(&self, shared: bool) -> MemoryBacking {
        let path = self.dir.path().join("memory");
        let file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .unwrap();
        file.set_len(u64::from(MIB) << 20).unwrap();
        MemoryBacking::File { path, shared }
    }

    async fn template(&self) -> PathBuf {
        let vm = self
            .qemu
            .boot(&self.spec("template", self.memory(true)))
            .await
            .unwrap();
        drop(agent(&*vm).await);
        vm.pause().await.unwrap();
        let saved = self.dir.path().join("saved");
        fs::create_dir(&saved).unwrap();
        vm.save(&saved).await.unwrap();
        vm.kill().await.unwrap();
        saved
    }
}

async fn agent(vm: &dyn Vm) -> Agent {
    let AgentChannel::VirtioSerial(socket) = vm.agent_channel() else {
        panic!("not virtio-serial")
    };
    let agent = Agent::connect(&Channel::Serial(socket.clone()), PATIENCE)
        .await
        .unwrap();
    agent.check().await.unwrap();
    agent
}

/// Two interfaces: eth0 with both families and small packets, net1 with IPv4.
fn two_interfaces(pod: &Pod) {
    pod.ip("link add eth0 mtu 1400 type veth peer name host0 mtu 1400 netns @peer");
    pod.ip("addr add 10.97.0.2/24 dev eth0");
    pod.ip("addr add fd97::2/64 dev eth0 nodad");
    pod.ip("link set eth0 up");
    pod.ip_at_peer("addr add 10.97.0.1/24 dev host0");
    pod.ip_at_peer("addr add fd97::1/64 dev host0 nodad");
    pod.ip_at_peer("link set host0 up");
    pod.ip("route add default via 10.97.0.1");
    pod.ip("-6 route add default via fd97::1");
    pod.ip("link add net1 type veth peer name host1 netns @peer");
    pod.ip("addr add 10.98.0.2/24 dev net1");
    pod.ip("link set net1 up");
    pod.ip_at_peer("addr add 10.98.0.1/24 dev host1");
    pod.ip_at_peer("link set host1 up");
    // Only a default route leads back to these.
    pod.ip_at_peer("link set lo up");
    pod.ip_at_peer("addr add 192.0.2.9/32 dev lo");
    pod.ip_at_peer("addr add 2001:db8::9/128 dev lo nodad");
}

async fn connected(pod: &Pod, vm: Arc<dyn Vm>, agent: &Agent) -> NicPhases {
    let start = Instant::now();
    let attached = attach(&Namespace::open(&pod.path()).unwrap(), None)
        .await
        .unwrap();
    eprintln!("attached in {:?}", start.elapsed());
    assert_eq!(attached.taps.len(), 2);
    add_nics(attached, &*vm, agent).await.unwrap()
}

fn check(pod: &Pod) {
    pod.ping("10.97.0.2", &[]);
    pod.ping("fd97::2", &[]);
    pod.ping("10.98.0.2", &[]);
    // By the default routes of both families.
    pod.ping("10.97.0.2", &["-I", "192.0.2.9"]);
    pod.ping("fd97::2", &["-I", "2001:db8::9"]);
    // As large as a packet may be, and larger.
    pod.ping("10.97.0.2", &["-s", "1372"]);
    pod.ping("10.98.0.2", &["-s", "1472"]);
    pod.ping("10.97.0.2", &["-s", "4000"]);
    // The guest's own refusal, not that of the namespace's stack: TCP goes both ways.
    for address in ["10.97.0.2", "fd97::2", "10.98.0.2"] {
        assert!(pod.tcp_is_refused(address), "{address}");
    }
    let sent = pod.ip("-s link show tap0_imprint");
    assert!(sent.contains("mtu 1400"), "{sent}");
}

async fn taken_back(pod: &Pod, vm: Arc<dyn Vm>, id: NamespaceId) {
    let own = fs::metadata(format!("/proc/{}/ns/net", vm.process().pid)).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::ino(&own), id.ino);
    vm.kill().await.unwrap();
    pod.until_no_tap();
    assert_eq!(detach(&pod.path(), id).await.unwrap(), 2);
    assert!(pod.is_clean());
}

#[tokio::test]
async fn a_booted_vm_is_the_pod_on_its_network() {
    let (Some(pod), Some(bench)) = (pod("booted"), bench().await) else {
        return;
    };
    two_interfaces(&pod);
    let mut spec = bench.spec("a", MemoryBacking::Anonymous);
    spec.netns = Some(pod.path());
    let vm = bench.qemu.boot(&spec).await.unwrap();
    let agent = agent(&*vm).await;
    let id = Namespace::open(&pod.path()).unwrap().id();
    let phases = connected(&pod, vm.clone(), &agent).await;
    eprintln!("booted: {phases:?}");
    check(&pod);
    taken_back(&pod, vm, id).await;
}

#[tokio::test]
async fn a_restored_vm_is_the_pod_on_its_network() {
    let (Some(pod), Some(bench)) = (pod("restored"), bench().await) else {
        return;
    };
    two_interfaces(&pod);
    let saved = bench.template().await;
    let mut spec = bench.spec("a", bench.memory(false));
    let namespace = Namespace::open(&pod.path()).unwrap();
    let id = namespace.id();
    spec.netns = Some(namespace.descriptor_path());
    let start = Instant::now();
    let vm = bench.qemu.restore(&spec, &saved).await.unwrap();
    vm.resume().await.unwrap();
    let agent = agent(&*vm).await;
    eprintln!("restored in {:?}", start.elapsed());
    let phases = connected(&pod, vm.clone(), &agent).await;
    eprintln!("restored: {phases:?}");
    check(&pod);
    taken_back(&pod, vm, id).await;
}
