//! Pods as kubelet makes them: directories, log paths, cgroup parents, and their removal.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use protobuf::MessageField;

use super::{Cri, api, client::RELIST};
use crate::{
    Error, Result,
    containerd::SANDBOX_HANDLER,
    image::BUSYBOX,
    log::Log,
    node::Node,
    wait::{Deadline, ready, shield},
};

/// How long a container may take to come to its end.
const TIMEOUT: Duration = Duration::from_secs(60);

/// States of a container, by the CRI's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    /// It was created and has not been started.
    Created = 0,
    /// Started, and not ended.
    Running = 1,
    /// It has ended; its exit code is known.
    Exited = 2,
    /// The runtime cannot tell.
    Unknown = 3,
}

/// Makes pods on a node as kubelet would, through the CRI.
#[derive(Debug)]
pub struct Kubelet {
    cri: Cri,
    handler: String,
    directory: PathBuf,
    cgroup: String,
    name: String,
    made: AtomicUsize,
}

impl Kubelet {
    /// The kubelet of a node; `IMPRINT_CRI_HANDLER` names another runtime handler to compare with.
    #[must_use]
    pub fn new(node: &Node) -> Self {
        let set = std::env::var("IMPRINT_CRI_HANDLER").ok();
        Self::with_handler(node, set.as_deref().unwrap_or("imprint"))
    }

    /// The kubelet of a node whose pods all run under this runtime handler.
    #[must_use]
    pub fn with_handler(node: &Node, handler: &str) -> Self {
        let name = node.unique_id("pods");
        Self {
            cri: Cri::at(&node.containerd().layout().socket()),
            handler: handler.to_owned(),
            directory: node.settings().kubelet_root.join("pods"),
            cgroup: format!("/{name}"),
            name,
            made: AtomicUsize::new(0),
        }
    }

    /// The client that this kubelet calls with.
    #[must_use]
    pub fn cri(&self) -> &Cri {
        &self.cri
    }

    /// Whether the pods run under Imprint, not under a runtime to compare with.
    #[must_use]
    pub fn is_imprint(&self) -> bool {
        self.handler.starts_with("imprint")
    }

    /// Whether the pods are made by the sandbox API.
    #[must_use]
    pub fn asks_for_sandboxes(&self) -> bool {
        self.handler == SANDBOX_HANDLER
    }

    /// Runs a pod with the plain configuration.
    pub fn run(&self, name: &str) -> Result<Pod<'_>> {
        self.run_with(name, |_| ())
    }

    /// Runs a pod, its configuration adjusted.
    pub fn run_with(
        &self,
        name: &str,
        adjust: impl FnOnce(&mut api::PodSandboxConfig),
    ) -> Result<Pod<'_>> {
        let mut config = self.config(name)?;
        adjust(&mut config);
        let mut pod = Pod {
            kubelet: self,
            id: String::new(),
            config,
            removed: false,
        };
        // Dropped on an error, what the failed call may have left in the pod's directory goes too.
        pod.id = self.cri.run_pod(&pod.config, &self.handler)?;
        Ok(pod)
    }

    fn config(&self, name: &str) -> Result<api::PodSandboxConfig> {
        let number = self.made.fetch_add(1, Ordering::SeqCst);
        let uid = format!("{}-{name}-{number}", self.name);
        let directory = self.directory.join(&uid);
        let logs = directory.join("logs");
        fs::create_dir_all(&logs).map_err(Error::io("Making", &logs))?;
        let mut config = api::PodSandboxConfig::new();
        let metadata = config.metadata.mut_or_insert_default();
        name.clone_into(&mut metadata.name);
        "tests".clone_into(&mut metadata.namespace);
        metadata.uid.clone_from(&uid);
        name.clone_into(&mut config.hostname);
        config.log_directory = logs.to_string_lossy().into_owned();
        let linux = config.linux.mut_or_insert_default();
        linux.cgroup_parent = format!("{}/{uid}", self.cgroup);
        let context = linux.security_context.mut_or_insert_default();
        context.namespace_options = own_processes();
        Ok(config)
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        remove_cgroup(&self.cgroup);
    }
}

/// What kubelet asks for unless a pod says `shareProcessNamespace`: CONTAINER, by the CRI's number.
fn own_processes() -> MessageField<api::NamespaceOption> {
    let mut options = api::NamespaceOption::new();
    options.pid = 1;
    MessageField::some(options)
}

/// Removes a cgroup in all hierarchies. One that is in use stays, and is found by the leak check.
fn remove_cgroup(name: &str) {
    let top = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(top).into_iter().flatten().flatten();
    let roots = hierarchies
        .map(|entry| entry.path())
        .chain([top.to_owned()]);
    for root in roots {
        let _ = fs::remove_dir(root.join(name.trim_start_matches('/')));
    }
}

/// A pod that runs. Dropped before it was removed, it is removed as well as that goes.
#[derive(Debug)]
pub struct Pod<'a> {
    kubelet: &'a Kubelet,
    id: String,
    config: api::PodSandboxConfig,
    removed: bool,
}

impl<'a> Pod<'a> {
    /// The identifier of the sandbox, given by containerd.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The directory that kubelet keeps for it.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.kubelet.directory.join(&self.config.metadata.uid)
    }

    /// A directory as kubelet makes one for a volume of this kind, as `kubernetes.io~configmap`.
    pub fn volume(&self, kind: &str, name: &str) -> Result<PathBuf> {
        let path = self.directory().join("volumes").join(kind).join(name);
        fs::create_dir_all(&path).map_err(Error::io("Making", &path))?;
        Ok(path)
    }

    /// Asks for a pod of the same name and uid once more, which is refused.
    pub fn run_again(&self) -> Result<String> {
        self.kubelet
            .cri
            .run_pod(&self.config, &self.kubelet.handler)
    }

    /// The status of the sandbox, as the CRI reports it.
    pub fn status(&self) -> Result<api::PodSandboxStatus> {
        self.kubelet.cri.pod_status(&self.id)
    }

    /// What its runtime tells of it to who asks for all, as JSON.
    pub fn info(&self) -> Result<serde_json::Value> {
        let answer = self.kubelet.cri.pod_inspected(&self.id)?;
        let info = answer.info.get("info").map_or("null", String::as_str);
        serde_json::from_str(info).map_err(|error| Error::Unexpected(format!("{error}: {info}")))
    }

    /// The address that the CNI gave it. An error if it has none.
    pub fn ip(&self) -> Result<String> {
        Ok(self.status()?.network.unwrap_or_default().ip)
    }

    /// A container that is made and not started.
    pub fn create(
        &self,
        name: &str,
        script: &str,
        adjust: impl FnOnce(&mut api::ContainerConfig),
    ) -> Result<Container<'a>> {
        let mut config = api::ContainerConfig::new();
        name.clone_into(&mut config.metadata.mut_or_insert_default().name);
        BUSYBOX.clone_into(&mut config.image.mut_or_insert_default().image);
        config.command = ["sh", "-c", script].map(str::to_owned).to_vec();
        config.log_path = format!("{name}.log");
        let linux = config.linux.mut_or_insert_default();
        let context = linux.security_context.mut_or_insert_default();
        context.namespace_options = own_processes();
        adjust(&mut config);
        let log = Path::new(&self.config.log_directory).join(&config.log_path);
        let cri = &self.kubelet.cri;
        let id = cri.create(&self.id, &config, &self.config)?;
        Ok(Container { cri, id, log })
    }

    /// A container that runs.
    pub fn start_with(
        &self,
        name: &str,
        script: &str,
        adjust: impl FnOnce(&mut api::ContainerConfig),
    ) -> Result<Container<'a>> {
        let container = self.create(name, script, adjust)?;
        container.start()?;
        Ok(container)
    }

    /// A container that runs, with nothing special to it.
    pub fn start(&self, name: &str, script: &str) -> Result<Container<'a>> {
        self.start_with(name, script, |_| ())
    }

    /// Stops the pod and leaves it there, to be inspected or removed.
    pub fn stop(&self) -> Result<()> {
        self.kubelet.cri.stop_pod(&self.id)
    }

    /// Stops and removes the pod.
    pub fn remove(mut self) -> Result<()> {
        self.removed = true;
        let outcome = self
            .stop()
            .and_then(|()| self.kubelet.cri.remove_pod(&self.id));
        self.tidy();
        outcome
    }

    /// Takes the pod for removed, by whoever did that.
    pub fn was_removed(mut self) {
        self.removed = true;
        self.tidy();
    }

    fn tidy(&self) {
        remove_cgroup(&self.config.linux.cgroup_parent);
        let _ = fs::remove_dir_all(self.directory());
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        if self.removed {
            return;
        }
        let _shield = shield();
        if !self.id.is_empty() {
            let stopped = self.stop();
            let removed = stopped.and_then(|()| self.kubelet.cri.remove_pod(&self.id));
            if let Err(error) = removed {
                eprintln!("While cleaning up: {}", error.chain());
            }
        }
        self.tidy();
    }
}

/// A container of a pod.
#[derive(Debug)]
pub struct Container<'a> {
    cri: &'a Cri,
    id: String,
    log: PathBuf,
}

impl Container<'_> {
    /// The identifier of the container, given by containerd.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Starts the container, which was only created.
    pub fn start(&self) -> Result<()> {
        self.cri.start(&self.id)
    }

    /// Stops it: SIGTERM, and SIGKILL after this many seconds.
    pub fn stop(&self, grace: i64) -> Result<()> {
        self.cri.stop(&self.id, grace)
    }

    /// Removes the container, ending it first where it runs.
    pub fn remove(&self) -> Result<()> {
        self.cri.remove(&self.id)
    }

    /// The status of the container, as the CRI reports it.
    pub fn status(&self) -> Result<api::ContainerStatus> {
        self.cri.status(&self.id)
    }

    /// Waits until it has ended; returns its status then.
    pub fn ended(&self) -> Result<api::ContainerStatus> {
        let deadline = Deadline::after(TIMEOUT);
        loop {
            let status = self.status()?;
            if status.state == ContainerState::Exited as i32 {
                return Ok(status);
            }
            // The CRI of this containerd announces nothing: it is asked.
            match ready(&[], Deadline::after(RELIST), "the next look") {
                Err(Error::Timeout { .. }) if !deadline.left().is_zero() => {}
                Err(Error::Timeout { .. }) => {
                    return Err(Error::Unexpected(format!(
                        "The container did not end within {TIMEOUT:?}: {status}"
                    )));
                }
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
    }

    /// Runs a command in it; returns its exit code and its two outputs.
    pub fn exec(&self, command: &[&str]) -> Result<(i32, String, String)> {
        let answer = self.cri.exec_sync(&self.id, command, 60)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((answer.exit_code, text(&answer.stdout), text(&answer.stderr)))
    }

    /// What a script prints that is run in it, which must succeed.
    pub fn shell(&self, script: &str) -> Result<String> {
        match self.exec(&["sh", "-c", script])? {
            (0, stdout, _) => Ok(stdout),
            (code, stdout, stderr) => Err(Error::Ended {
                program: script.to_owned(),
                code,
                stderr: format!("{stderr}{stdout}"),
            }),
        }
    }

    /// The lines of its log so far: the stream's name and the text.
    #[must_use]
    pub fn log(&self) -> Vec<(String, String)> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().filter_map(parse_log_line).collect()
    }

    /// Waits until its log holds a line.
    pub fn logged(&self, line: &str) -> Result<()> {
        let waited_for = format!("{line:?} in the container's log");
        Log::at(self.log.clone())
            .wait_for(
                crate::log::Mark::default(),
                Deadline::after(TIMEOUT),
                &waited_for,
                |found| (parse_log_line(found)?.1 == line).then_some(()),
            )
            .map_err(|error| match error {
                Error::Interrupted { .. } => error,
                error => {
                    let error = error.chain();
                    Error::Unexpected(format!("{error}; it holds {:?}", self.log()))
                }
            })
    }

    /// Asks for the log to be opened anew, as after a rotation.
    pub fn reopen_log(&self) -> Result<()> {
        self.cri.reopen_log(&self.id)
    }

    /// Where the log is.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }
}

/// A line of the CRI's log format: a time, the stream, a tag, and the text.
fn parse_log_line(line: &str) -> Option<(String, String)> {
    let mut words = line.splitn(4, ' ');
    let (_time, stream, _tag) = (words.next()?, words.next()?, words.next()?);
    Some((
        stream.to_owned(),
        words.next().unwrap_or_default().to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::parse_log_line;

    #[test]
    fn a_log_line_is_taken_apart() {
        let line = "2024-01-02T03:04:05.6Z stderr F two words";
        let expected = ("stderr".to_owned(), "two words".to_owned());
        assert_eq!(parse_log_line(line), Some(expected));
        assert_eq!(parse_log_line("too short"), None);
    }
}
