//! A pod without a machine: what it notes of containers that are not made yet.

use agent_client::{
    Agent,
    agent::{CreateSandboxRequest, GuestDetailsRequest, GuestDetailsResponse},
    agent_ttrpc::{AgentService, create_agent_service},
};
use async_trait::async_trait;
use config::{Sizing, VolumeSettings};
use factory::start::{FirstDisk, ReasonLabel, StartPath};
use futures::stream;
use hypervisors::{
    AgentChannel, DiskSlots, DiskSpec, NetSpec, PciPath, Vm, VmExit, VmSize, VmmProcess,
};
use oci::Bundle;
use oci_spec::runtime::Spec;
use pod::{
    container::RootDisks,
    sandbox::{EVENTS, NewSandbox},
    state::SandboxDir,
};
use protobuf::well_known_types::empty::Empty;
use resources::{Demand, PodResources, RunningSize};
use rootfs::RootfsCache;
use slog::{Discard, o};
use tempfile::TempDir;
use tokio::{io::duplex, sync::mpsc};
use ttrpc::asynchronous::{Server, TtrpcContext, transport::Listener};

use super::*;

/// A guest in which a sandbox can be made, and nothing else.
struct Guest;

#[async_trait]
impl AgentService for Guest {
    async fn create_sandbox(
        &self,
        _: &TtrpcContext,
        _: CreateSandboxRequest,
    ) -> ttrpc::Result<Empty> {
        Ok(Empty::default())
    }

    async fn get_guest_details(
        &self,
        _: &TtrpcContext,
        _: GuestDetailsRequest,
    ) -> ttrpc::Result<GuestDetailsResponse> {
        Ok(GuestDetailsResponse::default())
    }
}

/// A VM that runs for ever.
struct Machine(AgentChannel);

#[async_trait]
impl Vm for Machine {
    fn process(&self) -> VmmProcess {
        VmmProcess {
            pid: std::process::id(),
            start_time: 1,
        }
    }

    fn agent_channel(&self) -> &AgentChannel {
        &self.0
    }

    fn log_socket(&self) -> Option<&Path> {
        None
    }

    async fn origin(&self) -> hypervisors::Result<String> {
        Ok("made up".to_owned())
    }

    async fn pause(&self) -> hypervisors::Result<()> {
        Ok(())
    }

    async fn resume(&self) -> hypervisors::Result<()> {
        Ok(())
    }

    async fn save(&self, _: &Path) -> hypervisors::Result<()> {
        Ok(())
    }

    async fn add_disk(&self, _: &DiskSpec) -> hypervisors::Result<PciPath> {
        Ok("02/00".parse().unwrap())
    }

    async fn remove_disk(&self, _: &str) -> hypervisors::Result<()> {
        Ok(())
    }

    async fn add_net(&self, _: NetSpec) -> hypervisors::Result<PciPath> {
        Ok("03/00".parse().unwrap())
    }

    async fn wait(&self) -> VmExit {
        std::future::pending().await
    }

    async fn kill(&self) -> hypervisors::Result<()> {
        Ok(())
    }
}

const SIZE: VmSize = VmSize {
    vcpus: 1,
    memory_mib: 256,
};

struct Fixture {
    dir: TempDir,
    pod: Pod,
    _events: mpsc::Receiver<sandbox::Event>,
    _guest: Server,
}

impl Fixture {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = Logger::root(Discard, o!());
        let (host, guest) = duplex(1 << 16);
        let mut server = Server::new()
            .add_listener(Listener::new(stream::iter([Ok(guest)])))
            .register_service(create_agent_service(Arc::new(Guest)));
        server.start().await.unwrap();
        let (events, queue) = mpsc::channel(EVENTS);
        let sandbox = opened(Agent::over(host), events, &log).await;
        let cache = RootfsCache::open(dir.path().join("cache"), 1 << 20).unwrap();
        let state = SandboxDir::create(&dir.path().join("run"), "pod", dir.path()).unwrap();
        let pod = Pod {
            created: SystemTime::now(),
            sandbox,
            directory: state.path().to_owned(),
            report: report(),
            options: SpecOptions {
                guest_seccomp: false,
            },
            disks: Arc::default(),
            containers: Containers {
                main: "pod".to_owned(),
                dir: Mutex::new(Some(state)),
                cgroups: None,
                shared: None,
                cache,
                pids: Arc::new(Pids::new("pod", &log)),
                log: log.clone(),
            },
            network: Mutex::default(),
            log,
        };
        Self {
            dir,
            pod,
            _events: queue,
            _guest: server,
        }
    }

    /// As far as a container is before its root file system is made.
    async fn begun(&self, id: &str) {
        let path = self.dir.path().join(id);
        std::fs::create_dir_all(&path).unwrap();
        let spec = Spec::default();
        let bundle = Bundle { path, spec };
        self.pod.containers.record(id, &bundle).await.unwrap();
    }

    async fn recorded(&self) -> Vec<String> {
        let dir = self.pod.containers.dir.lock().await;
        let all = dir.as_ref().unwrap().state().containers.keys();
        all.cloned().collect()
    }
}

fn report() -> StartReport {
    StartReport {
        version: 1,
        sandbox: "pod".to_owned(),
        path: StartPath::Booted,
        template_key: None,
        reason: String::new(),
        reason_label: ReasonLabel::Disabled,
        size: SIZE,
        max_size: SIZE,
        first_disk: FirstDisk::Later,
        proof: String::new(),
        total_ms: 0.0,
        phases: Vec::new(),
    }
}

async fn opened(agent: Agent, events: mpsc::Sender<sandbox::Event>, log: &Logger) -> Sandbox {
    let vm: Arc<dyn Vm> = Arc::new(Machine(AgentChannel::VirtioSerial("/none".into())));
    let sizing = Sizing {
        base: SIZE,
        most: SIZE,
        overhead_vcpus: 0.0,
        overhead_memory_mib: 64,
        fixed: true,
    };
    let size = RunningSize::new(vm.clone(), agent.clone(), sizing, SIZE, log.clone());
    let new = NewSandbox {
        id: "pod".to_owned(),
        pod_uid: None,
        hostname: "host".to_owned(),
        volumes: VolumeSettings::default(),
        disks: RootDisks::new(&DiskSlots::default(), None, log.clone()),
        storages: Vec::new(),
        resources: PodResources::new(size, Demand::default(), None, log.clone()),
        vm,
        agent,
        events,
        log: log.clone(),
    };
    Sandbox::open(new).await.unwrap()
}

/// containerd deletes it once, is told that there is none, and asks no more.
#[tokio::test]
async fn a_container_that_is_deleted_while_its_image_is_packed_is_not_made() {
    let f = Fixture::new().await;
    f.begun("wanted").await;
    f.begun("cancelled").await;
    let deleted = f.pod.delete(TaskId::new("cancelled", "")).await;
    assert!(matches!(
        deleted,
        Err(Error::Sandbox(sandbox::Error::NotFound(_)))
    ));
    assert_eq!(f.recorded().await, ["wanted"]);
    let packed = f.pod.containers.record_disks("cancelled", Vec::new()).await;
    assert!(matches!(packed, Err(Error::ContainerCancelled(id)) if id == "cancelled"));
    let packed = f.pod.containers.record_disks("wanted", Vec::new()).await;
    assert!(packed.is_ok());
}

#[tokio::test]
async fn only_a_container_is_cancelled() {
    let f = Fixture::new().await;
    f.begun("pod").await;
    f.begun("web").await;
    for id in [TaskId::new("web", "exec"), TaskId::new("pod", "")] {
        assert!(f.pod.delete(id).await.is_err());
    }
    assert_eq!(f.recorded().await, ["pod", "web"]);
}
