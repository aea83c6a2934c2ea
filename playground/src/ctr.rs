//! `ctr`, containerd's own client, against a private containerd.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{Error, Result, containerd::Layout, image::BUSYBOX, proc::MARK, program::Program};

/// Runtime type of Imprint.
pub const IMPRINT: &str = "io.containerd.imprint.v2";

/// Runtime type of runc.
pub const RUNC: &str = "io.containerd.runc.v2";

/// The namespace of containerd that the fixtures use.
pub const NAMESPACE: &str = "default";

/// The runtime that containers are run under.
fn runtime() -> String {
    std::env::var("IMPRINT_RUNTIME").unwrap_or_else(|_| IMPRINT.to_owned())
}

/// A client in one namespace of a containerd.
#[derive(Debug, Clone)]
pub struct Ctr {
    layout: Layout,
    namespace: String,
}

impl Ctr {
    /// A client of the containerd with this layout.
    #[must_use]
    pub fn new(layout: Layout, namespace: &str) -> Self {
        Self {
            layout,
            namespace: namespace.to_owned(),
        }
    }

    /// The same client in another namespace.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Self {
        Self::new(self.layout.clone(), namespace)
    }

    /// The socket of the containerd that this client calls.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.layout.socket()
    }

    /// A call of `ctr`.
    #[must_use]
    pub fn call(&self, words: &[&str]) -> Program {
        self.layout
            .release
            .program("ctr")
            .args([
                "--address",
                &self.socket().to_string_lossy(),
                "--namespace",
                &self.namespace,
            ])
            .args(words)
            .env("TMPDIR", self.layout.directory.join("tmp"))
            .env(MARK, &self.layout.directory)
    }

    /// `ctr run` of the busybox image; `IMPRINT_RUNTIME` names another runtime to compare with.
    #[must_use]
    pub fn run(&self, id: &str) -> Run {
        Run {
            ctr: self.clone(),
            id: id.to_owned(),
            runtime: runtime(),
            flags: vec!["--rm".to_owned()],
            terminal: false,
            image: BUSYBOX.to_owned(),
        }
    }

    /// `ctr run` of a container whose whole specification is in a file.
    #[must_use]
    pub fn run_spec(&self, spec: &str, id: &str) -> Program {
        let fifos = self.fifo_directory();
        let fifos = fifos.to_string_lossy();
        let runtime = runtime();
        self.call(&[
            "run",
            "--rm",
            "--runtime",
            &runtime,
            "--fifo-dir",
            &fifos,
            "--config",
            spec,
            id,
        ])
    }

    /// Removes the fifos of clients that were killed before they could.
    pub fn remove_fifos(&self) -> Result<()> {
        let directory = self.fifo_directory();
        fs::remove_dir_all(&directory)
            .and_then(|()| fs::create_dir(&directory))
            .map_err(Error::io("Emptying", &directory))
    }

    /// `ctr task exec` in a running container.
    #[must_use]
    pub fn exec(&self, id: &str, exec_id: &str, flags: &[&str], command: &[&str]) -> Program {
        let fifos = self.fifo_directory();
        let fifos = fifos.to_string_lossy();
        let mut words = vec!["task", "exec", "--exec-id", exec_id, "--fifo-dir", &fifos];
        words.extend(flags);
        words.push(id);
        words.extend(command);
        self.call(&words)
    }

    /// Imports an image archive and unpacks it.
    pub fn import(&self, archive: &Path) -> Result<()> {
        self.call(&["image", "import", &archive.to_string_lossy()])
            .succeed()
            .map(drop)
    }

    /// Imports an image archive and unpacks it into another snapshotter than the default one.
    pub fn import_into(&self, snapshotter: &str, archive: &Path) -> Result<()> {
        let archive = archive.to_string_lossy();
        let mut words = vec!["image", "import", "--snapshotter", snapshotter];
        // Later clients leave the choice to containerd's configuration.
        if self.layout.release.at_least(2, 0) {
            words.push("--local");
        }
        words.push(&archive);
        self.call(&words).succeed().map(drop)
    }

    /// Removes an image, and returns when nothing of it is left.
    pub fn remove_image(&self, name: &str) -> Result<()> {
        self.call(&["image", "rm", "--sync", name])
            .succeed()
            .map(drop)
    }

    fn fifo_directory(&self) -> PathBuf {
        self.layout.directory.join("fifo")
    }

    /// Identifiers of all containers in the namespace.
    pub fn containers(&self) -> Result<Vec<String>> {
        let text = self.call(&["container", "ls", "--quiet"]).succeed()?;
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }

    /// All namespaces of this containerd.
    pub fn namespaces(&self) -> Result<Vec<String>> {
        let text = self.call(&["namespace", "ls", "--quiet"]).succeed()?;
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }

    /// Ends a container's task, if it has one, and removes both.
    pub fn remove(&self, id: &str) -> Result<()> {
        let task = self.call(&["task", "rm", "--force", id]).run()?;
        let container = self.call(&["container", "rm", id]).run()?;
        // Without a task only the second must succeed.
        container
            .success()
            .map(drop)
            .or_else(|error| task.success().map(drop).and(Err(error)))
    }
}

/// A container to run.
#[derive(Debug, Clone)]
pub struct Run {
    ctr: Ctr,
    id: String,
    runtime: String,
    flags: Vec<String>,
    terminal: bool,
    image: String,
}

impl Run {
    /// Runs under another runtime type, or under the shim binary at an absolute path.
    #[must_use]
    pub fn runtime(mut self, runtime: &str) -> Self {
        runtime.clone_into(&mut self.runtime);
        self
    }

    /// Runs another image, from another snapshotter than the default one.
    #[must_use]
    pub fn image(mut self, image: &str, snapshotter: &str) -> Self {
        image.clone_into(&mut self.image);
        self.flag(&format!("--snapshotter={snapshotter}"))
    }

    /// Leaves the container running, and to be removed by someone else.
    #[must_use]
    pub fn detached(mut self) -> Self {
        self.flags.retain(|flag| flag != "--rm");
        self.flag("--detach")
    }

    /// Gives the container a terminal.
    #[must_use]
    pub fn terminal(mut self) -> Self {
        self.terminal = true;
        self.flag("--tty")
    }

    /// Adds a flag of `ctr run`.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// The call that runs this command in it.
    #[must_use]
    pub fn command(&self, command: &[&str]) -> Program {
        let fifos = self.ctr.fifo_directory();
        let fifos = fifos.to_string_lossy();
        let mut words = vec!["run", "--runtime", &self.runtime, "--fifo-dir", &fifos];
        words.extend(self.flags.iter().map(String::as_str));
        words.extend([self.image.as_str(), self.id.as_str()]);
        words.extend(command);
        let program = self.ctr.call(&words);
        if self.terminal {
            program.terminal()
        } else {
            program
        }
    }

    /// The call that runs this shell script in it.
    #[must_use]
    pub fn shell(&self, script: &str) -> Program {
        self.command(&["sh", "-c", script])
    }
}
