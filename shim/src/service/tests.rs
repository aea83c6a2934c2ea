//! The service on a launch that a test holds back and lets fail: no VM is needed for what happens
//! while a pod is being made.

use std::{fs, path::PathBuf, time::Duration};

use assembly::{LaunchError, Wanted};
use async_trait::async_trait;
use config::Config;
use containerd_shim_protos::{api::CreateTaskRequest, protobuf::well_known_types::any::Any};
use factory::start::{Started, Timeline};
use oci::ContainerKind;
use slog::{Discard, o};
use tempfile::TempDir;
use tokio::{
    sync::{Mutex, MutexGuard},
    time::timeout,
};

use super::*;

/// Fails when it is let go.
struct Gate {
    reached: Notify,
    open: Notify,
    /// A launch has ended, or was dropped.
    over: Notify,
}

struct Over<'a>(&'a Notify);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[async_trait]
impl Launch for Gate {
    async fn launch(
        &self,
        _: &Config,
        _: Wanted<'_>,
        _: &mut Timeline,
        _: &Logger,
    ) -> Result<Started, LaunchError> {
        let _over = Over(&self.over);
        self.reached.notify_one();
        self.open.notified().await;
        Err(LaunchError::Vmm(hypervisors::Error::Protocol(
            "told to fail".into(),
        )))
    }
}

#[tokio::test]
async fn what_is_begun_goes_on_when_its_client_is_gone() {
    let (go, begin) = tokio::sync::oneshot::channel::<()>();
    let (done, told) = tokio::sync::oneshot::channel();
    let work = async move {
        begin.await.unwrap();
        done.send("done").unwrap();
        Ok(())
    };
    let client = timeout(Duration::from_millis(10), to_its_end("Working", work));
    assert!(client.await.is_err(), "the client's time is over");
    go.send(()).unwrap();
    assert_eq!(told.await, Ok("done"));
}

/// A pod in the making takes its whole process into the pod's cgroups: one at a time.
static CONFINED: Mutex<()> = Mutex::const_new(());

struct Fixture {
    _confined: MutexGuard<'static, ()>,
    service: Arc<TaskService>,
    gate: Arc<Gate>,
    exit: Arc<Notify>,
    dir: TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let confined = CONFINED.lock().await;
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["vmlinux", "initrd.img"] {
            fs::write(at(name), "not looked into").unwrap();
        }
        let root = dir.path().display();
        let config = format!(
            "[hypervisor.qemu]\npath = \"/bin/true\"\nkernel = \"{root}/vmlinux\"\n\
             initrd = \"{root}/initrd.img\"\n[runtime]\nrun_root = \"{root}/run\"\n\
             rootfs_cache_dir = \"{root}/cache\"\n"
        );
        fs::write(at("config.toml"), config).unwrap();
        fs::create_dir_all(at("bundle/rootfs")).unwrap();
        let spec = oci_spec::runtime::Spec::default();
        fs::write(at("bundle/config.json"), serde_json::to_vec(&spec).unwrap()).unwrap();

        let gate = Arc::new(Gate {
            reached: Notify::new(),
            open: Notify::new(),
            over: Notify::new(),
        });
        let exit = Arc::new(Notify::new());
        let log = Logger::root(Discard, o!());
        let service = TaskService::new("ns".into(), gate.clone(), exit.clone(), log);
        Self {
            _confined: confined,
            service: Arc::new(service),
            gate,
            exit,
            dir,
        }
    }

    fn request(&self) -> CreateTaskRequest {
        let path = self.dir.path().join("config.toml").display().to_string();
        let mut value = vec![0x12, u8::try_from(path.len()).unwrap()];
        value.extend(path.bytes());
        CreateTaskRequest {
            id: "pod".into(),
            bundle: self.dir.path().join("bundle").display().to_string(),
            options: Some(Any {
                type_url: "runtimeoptions.v1.Options".into(),
                value,
                ..Default::default()
            })
            .into(),
            ..Default::default()
        }
    }

    /// A Create that has come as far as the launch.
    async fn making(&self) -> tokio::task::JoinHandle<Result<u32, Error>> {
        let (service, request) = (self.service.clone(), self.request());
        let mut making = tokio::spawn(async move { service.create_task(request).await });
        tokio::select! {
            () = soon(self.gate.reached.notified()) => making,
            ended = &mut making => panic!("not launched: {}", chain(&ended.unwrap().unwrap_err())),
        }
    }

    fn leftovers(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir.path().join("run"));
        entries
            .map(|all| all.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default()
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(5), what)
        .await
        .expect("did not happen in time")
}

#[tokio::test]
async fn a_failed_launch_is_told_and_leaves_nothing() {
    let f = Fixture::new().await;
    let making = f.making().await;
    assert!(matches!(f.service.pod("pod"), Err(Error::NoTask(_))));
    assert!(matches!(
        f.service.create_task(f.request()).await,
        Err(Error::SecondSandbox)
    ));
    f.gate.open.notify_one();
    let error = soon(making).await.unwrap().unwrap_err();
    assert!(chain(&error).contains("told to fail"), "{error}");
    assert_eq!(f.leftovers(), Vec::<PathBuf>::new());
    // And it can be tried again.
    f.gate.open.notify_one();
    assert!(matches!(
        f.service.create_task(f.request()).await,
        Err(Error::Pod(assembly::Error::Launch(_)))
    ));
}

#[tokio::test]
async fn a_root_that_cannot_be_prepared_ends_the_start_of_the_vm() {
    let f = Fixture::new().await;
    let mut request = f.request();
    request.rootfs = vec![containerd_shim_protos::types::mount::Mount {
        type_: "bind".into(),
        source: "/nonexistent".into(),
        ..Default::default()
    }];
    // The gate stays closed: the launch would go on for ever.
    let error = soon(f.service.create_task(request)).await.unwrap_err();
    assert!(
        matches!(error, Error::Pod(assembly::Error::Rootfs(_))),
        "{error}"
    );
    soon(f.gate.reached.notified()).await;
    soon(f.gate.over.notified()).await;
    assert_eq!(f.leftovers(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_create_that_is_cancelled_is_finished_and_undone() {
    let f = Fixture::new().await;
    f.making().await.abort();
    f.gate.open.notify_one();
    soon(f.service.shut_down(false)).await;
    soon(f.exit.notified()).await;
    assert_eq!(f.leftovers(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_shutdown_that_is_cancelled_still_ends_the_shim() {
    let f = Fixture::new().await;
    let making = f.making().await;
    assert!(
        timeout(Duration::from_millis(20), f.service.shut_down(false))
            .await
            .is_err()
    );
    f.gate.open.notify_one();
    soon(f.exit.notified()).await;
    assert!(soon(making).await.unwrap().is_err());
}

#[tokio::test]
async fn a_member_needs_its_pod() {
    let f = Fixture::new().await;
    let kind = |name: &str, value: &str| (format!("io.kubernetes.cri.{name}"), value.to_owned());
    let mut spec = oci_spec::runtime::Spec::default();
    let annotations = [
        kind("container-type", "container"),
        kind("sandbox-id", "other"),
    ];
    spec.set_annotations(Some(annotations.into_iter().collect()));
    assert!(matches!(
        ContainerKind::from_spec(&spec),
        Ok(ContainerKind::PodContainer { .. })
    ));
    let config = f.dir.path().join("bundle/config.json");
    fs::write(config, serde_json::to_vec(&spec).unwrap()).unwrap();
    assert!(matches!(
        f.service.create_task(f.request()).await,
        Err(Error::NoSandbox(id)) if id == "other"
    ));
}
