//! Drives the agent's binary on this machine, over its own protocol, with real containers.
//!
//! Needs root and a static busybox; without them it is skipped. What needs version
//! 2 of the control groups (pausing, limits, statistics) is tested in a virtual machine only.
#![allow(clippy::unwrap_used)]

mod cut_off;
mod first_process;
mod mounts;
mod pid_namespace;

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use agent_client::{
    agent::{
        CloseStdinRequest, CreateContainerRequest, CreateSandboxRequest, ExecProcessRequest,
        ReadStreamRequest, RemoveContainerRequest, SignalProcessRequest, StartContainerRequest,
        Storage, WaitProcessRequest, WriteStreamRequest,
    },
    agent_ttrpc::AgentServiceClient,
    oci::{Linux, LinuxCapabilities, LinuxNamespace, Mount, Process, Root, Spec, User},
};
use inotify::{Inotify, WatchMask};
use tempfile::TempDir;
use ttrpc::{
    asynchronous::Client,
    context::{self, Context},
};

const BUSYBOX: &str = "/usr/bin/busybox";

struct Plain {
    agent: Child,
    client: AgentServiceClient,
    directory: TempDir,
}

/// The file of a socket exists shortly before a process listens on it, and there is no
/// event for that.
async fn connect(address: &str) -> Client {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    loop {
        match Client::connect(address).await {
            Ok(client) => return client,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

impl Plain {
    /// An agent of its own, or none where it cannot run.
    async fn start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        if !nix::unistd::geteuid().is_root() || !Path::new(BUSYBOX).exists() {
            eprintln!("SKIPPED: containers need root and {BUSYBOX}");
            return None;
        }
        make_rootfs(&directory.path().join("rootfs"));
        let socket = directory.path().join("agent.sock");
        let mut watch = Inotify::init().unwrap();
        watch
            .watches()
            .add(directory.path(), WatchMask::CREATE)
            .unwrap();
        let agent = Command::new(env!("CARGO_BIN_EXE_guest-agent"))
            .arg("--listen")
            .arg(format!("unix://{}", socket.display()))
            .arg("--root")
            .arg(directory.path().join("run"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while !socket.exists() {
            watch.read_events_blocking(&mut [0; 4096]).unwrap();
        }
        let client = connect(&format!("unix://{}", socket.display())).await;
        let plain = Self {
            agent,
            client: AgentServiceClient::new(client),
            directory,
        };
        plain
            .client
            .create_sandbox(soon(), &CreateSandboxRequest::new())
            .await
            .unwrap();
        Some(plain)
    }

    async fn create(&self, id: &str, process: Process) -> ttrpc::Result<()> {
        self.create_with(id, process, &[], &[]).await
    }

    /// As [`Plain::create`], with these storages, and these mounts beside the usual ones.
    async fn create_with(
        &self,
        id: &str,
        process: Process,
        storages: &[Storage],
        mounts: &[Mount],
    ) -> ttrpc::Result<()> {
        let mut request = CreateContainerRequest::new();
        request.container_id = id.into();
        request.storages = storages.to_vec();
        let mut spec = self.spec(id, process);
        spec.Mounts.extend_from_slice(mounts);
        request.OCI = Some(spec).into();
        self.client
            .create_container(soon(), &request)
            .await
            .map(drop)
    }

    fn spec(&self, id: &str, process: Process) -> Spec {
        let mount = |destination: &str, kind: &str| Mount {
            destination: destination.into(),
            source: kind.into(),
            type_: kind.into(),
            ..Default::default()
        };
        let namespace = |kind: &str| LinuxNamespace {
            Type: kind.into(),
            ..Default::default()
        };
        Spec {
            Process: Some(process).into(),
            Root: Some(Root {
                Path: self
                    .directory
                    .path()
                    .join("rootfs")
                    .to_str()
                    .unwrap()
                    .into(),
                ..Default::default()
            })
            .into(),
            Mounts: [("/proc", "proc"), ("/dev", "tmpfs"), ("/dev/pts", "devpts")]
                .map(|(destination, kind)| mount(destination, kind))
                .to_vec(),
            Linux: Some(Linux {
                CgroupsPath: format!("/imprint-agent-test-{}-{id}", std::process::id()),
                Namespaces: ["mount", "ipc", "uts", "network"].map(namespace).to_vec(),
                ..Default::default()
            })
            .into(),
            ..Default::default()
        }
    }

    async fn begin(&self, id: &str, process: Process) {
        self.create(id, process).await.unwrap();
        self.start_created(id).await;
    }

    async fn start_created(&self, id: &str) {
        let mut request = StartContainerRequest::new();
        request.container_id = id.into();
        self.client.start_container(soon(), &request).await.unwrap();
    }

    async fn execute(&self, id: &str, exec_id: &str, process: Process) -> ttrpc::Result<()> {
        let mut request = ExecProcessRequest::new();
        request.container_id = id.into();
        request.exec_id = exec_id.into();
        request.process = Some(process).into();
        self.client.exec_process(soon(), &request).await.map(drop)
    }

    async fn wait(&self, id: &str, exec_id: &str) -> i32 {
        let mut request = WaitProcessRequest::new();
        request.container_id = id.into();
        request.exec_id = exec_id.into();
        self.client
            .wait_process(soon(), &request)
            .await
            .unwrap()
            .status
    }

    async fn errors(&self, id: &str) -> Vec<u8> {
        let mut request = ReadStreamRequest::new();
        request.container_id = id.into();
        request.len = 1 << 20;
        let mut errors = Vec::new();
        loop {
            let data = self
                .client
                .read_stderr(soon(), &request)
                .await
                .unwrap()
                .data;
            if data.is_empty() {
                return errors;
            }
            errors.extend(data);
        }
    }

    async fn output(&self, id: &str, exec_id: &str) -> Vec<u8> {
        let mut request = ReadStreamRequest::new();
        request.container_id = id.into();
        request.exec_id = exec_id.into();
        request.len = 1 << 20;
        let mut output = Vec::new();
        loop {
            let data = self
                .client
                .read_stdout(soon(), &request)
                .await
                .unwrap()
                .data;
            if data.is_empty() {
                return output;
            }
            output.extend(data);
        }
    }

    async fn write(&self, id: &str, data: &[u8]) {
        let mut request = WriteStreamRequest::new();
        request.container_id = id.into();
        request.data = data.into();
        self.client.write_stdin(soon(), &request).await.unwrap();
    }

    async fn kill(&self, id: &str, exec_id: &str, signal: i32) {
        let mut request = SignalProcessRequest::new();
        request.container_id = id.into();
        request.exec_id = exec_id.into();
        request.signal = signal.unsigned_abs();
        self.client.signal_process(soon(), &request).await.unwrap();
    }

    async fn remove(&self, id: &str) {
        let mut request = RemoveContainerRequest::new();
        request.container_id = id.into();
        self.client
            .remove_container(soon(), &request)
            .await
            .unwrap();
    }
}

impl Drop for Plain {
    /// The agent removes its containers when it is asked to end.
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.agent.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).unwrap();
        let ended = self.agent.wait().unwrap();
        let left = self.directory.path().join("run.state");
        if !std::thread::panicking() {
            assert!(ended.success() && !left.exists(), "{ended}");
            let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
            let directory = self.directory.path().to_str().unwrap();
            assert!(!mounts.contains(directory), "{mounts}");
        }
    }
}

fn soon() -> Context {
    context::with_duration(Duration::from_secs(30))
}

fn make_rootfs(rootfs: &Path) {
    for directory in ["bin", "proc", "dev", "tmp"] {
        fs::create_dir_all(rootfs.join(directory)).unwrap();
    }
    fs::copy(BUSYBOX, rootfs.join("bin/busybox")).unwrap();
    for applet in ["sh", "cat", "sleep", "id", "stty", "true"] {
        symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
    }
}

fn process(arguments: &[&str]) -> Process {
    let capabilities = vec!["CAP_KILL".to_owned()];
    Process {
        Args: arguments.iter().map(|one| (*one).to_owned()).collect(),
        Env: vec!["PATH=/bin".into()],
        Capabilities: Some(LinuxCapabilities {
            Bounding: capabilities.clone(),
            Effective: capabilities.clone(),
            Permitted: capabilities,
            ..Default::default()
        })
        .into(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_and_their_processes() {
    let Some(plain) = Plain::start().await else {
        return;
    };
    exit_codes(&plain).await;
    input_and_output(&plain).await;
    processes_beside_the_first(&plain).await;
    signals(&plain).await;
    refusals(&plain).await;
}

async fn exit_codes(plain: &Plain) {
    for code in [0, 1, 42] {
        plain
            .begin("code", process(&["sh", "-c", &format!("exit {code}")]))
            .await;
        let (first, second) = tokio::join!(plain.wait("code", ""), plain.wait("code", "code"));
        assert_eq!((first, second), (code, code));
        assert_eq!(
            plain.wait("code", "").await,
            code,
            "a caller that comes late"
        );
        plain.remove("code").await;
    }
}

async fn input_and_output(plain: &Plain) {
    plain.begin("cat", process(&["cat"])).await;
    plain.write("cat", b"some input").await;
    let mut request = CloseStdinRequest::new();
    request.container_id = "cat".into();
    plain.client.close_stdin(soon(), &request).await.unwrap();
    assert_eq!(plain.output("cat", "").await, b"some input");
    assert_eq!(plain.wait("cat", "").await, 0);
    plain.remove("cat").await;

    let script = "busybox dd if=/dev/zero bs=1M count=20 2>/dev/null | busybox tr '\\0' x";
    plain.begin("large", process(&["sh", "-c", script])).await;
    let output = plain.output("large", "").await;
    assert_eq!(output.len(), 20 << 20);
    assert!(output.iter().all(|byte| *byte == b'x'));
    plain.remove("large").await;
}

async fn processes_beside_the_first(plain: &Plain) {
    plain.begin("pod", process(&["sleep", "1000"])).await;
    let mut user = process(&["sh", "-c", "id -u; id -g; pwd; exit 7"]);
    user.User = Some(User {
        UID: 1000,
        GID: 1001,
        ..Default::default()
    })
    .into();
    user.Cwd = "/tmp".into();
    plain.execute("pod", "user", user).await.unwrap();
    assert_eq!(plain.output("pod", "user").await, b"1000\n1001\n/tmp\n");
    assert_eq!(plain.wait("pod", "user").await, 7);

    let mut terminal = process(&["stty", "size"]);
    terminal.Terminal = true;
    terminal.ConsoleSize = Some(agent_client::oci::Box {
        Height: 30,
        Width: 100,
        ..Default::default()
    })
    .into();
    plain.execute("pod", "terminal", terminal).await.unwrap();
    assert_eq!(plain.output("pod", "terminal").await, b"30 100\r\n");
    assert_eq!(plain.wait("pod", "terminal").await, 0);
    plain.remove("pod").await;
}

async fn signals(plain: &Plain) {
    plain.begin("signals", process(&["sleep", "1000"])).await;
    plain
        .execute("signals", "other", process(&["sleep", "1000"]))
        .await
        .unwrap();
    plain.kill("signals", "other", libc::SIGTERM).await;
    assert_eq!(plain.wait("signals", "other").await, 143);
    plain
        .execute("signals", "other", process(&["sleep", "1000"]))
        .await
        .unwrap();
    plain.kill("signals", "", libc::SIGKILL).await;
    assert_eq!(plain.wait("signals", "").await, 137);
    assert_eq!(
        plain.wait("signals", "other").await,
        137,
        "and its namespace with it"
    );
    plain.kill("signals", "", libc::SIGKILL).await;
    plain.remove("signals").await;
}

async fn refusals(plain: &Plain) {
    let refused = plain
        .create("refused", process(&["no-such-program"]))
        .await
        .unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("executable file not found in $PATH"),
        "{refused}"
    );
    plain.create("refused", process(&["true"])).await.unwrap();
    assert!(
        plain.create("refused", process(&["true"])).await.is_err(),
        "the name is taken"
    );
    assert!(
        plain
            .execute("refused", "early", process(&["true"]))
            .await
            .is_err()
    );
    plain.kill("refused", "", libc::SIGKILL).await;
    plain.wait("refused", "").await;
    let mut request = StartContainerRequest::new();
    request.container_id = "refused".into();
    for attempt in 1..=2 {
        let refused = plain.client.start_container(soon(), &request).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("has ended"), "{attempt}: {refused}");
    }
    plain.remove("refused").await;
    assert!(plain.create("../up", process(&["true"])).await.is_err());
    let empty = CreateContainerRequest::new();
    assert!(plain.client.create_container(soon(), &empty).await.is_err());
    let mut huge = process(&["true"]);
    huge.Env.push("A=".to_owned() + &"x".repeat(3 << 20));
    drop(plain.create("huge", huge).await);
    plain.begin("alive", process(&["true"])).await;
    assert_eq!(plain.wait("alive", "").await, 0);
    plain.remove("alive").await;
}
