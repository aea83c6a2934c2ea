//! A node in small: a private containerd, an installation of Imprint, and an image.

use std::{
    cell::{Cell, RefCell},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    Result,
    containerd::{Containerd, Layout},
    ctr::{Ctr, NAMESPACE, Run},
    image,
    installation::{Artefacts, replace_file},
    leaks::{Leaks, Scope, Snapshot},
    log::{Log, Mark},
    playground::Playground,
    proc::{MARK, Process},
    program::Program,
    settings::{Settings, VmmKind},
    starts::{self, StartReport},
    sweep,
    wait::{Deadline, shield},
};

/// How long a process that was asked to end may take before it counts as left behind.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// A node that runs. Dropped, it is taken down.
#[derive(Debug)]
pub struct Node {
    playground: Playground,
    artefacts: Artefacts,
    containerd: Containerd,
    ctr: Ctr,
    scope: Scope,
    before: Snapshot,
    ids: RefCell<Vec<String>>,
    keep: Cell<bool>,
}

impl Node {
    /// Starts containerd in a fresh playground and imports the image. The playground is removed
    /// when that fails.
    pub fn start(playground: Playground, artefacts: Artefacts) -> Result<Self> {
        let scope = Scope::of(playground.path(), &prefix());
        let layout = layout(playground.path(), &artefacts);
        let begun = Self::begin(&scope, &layout, &artefacts);
        let (before, archive, containerd) = begun.inspect_err(|_| {
            let _shield = shield();
            report(&sweep::sweep(&playground, &layout, &[]));
        })?;
        let node = Self {
            playground,
            artefacts,
            containerd,
            ctr: Ctr::new(layout, NAMESPACE),
            scope,
            before,
            ids: RefCell::default(),
            keep: Cell::new(false),
        };
        node.ctr.import(&archive)?;
        Ok(node)
    }

    fn begin(
        scope: &Scope,
        layout: &Layout,
        artefacts: &Artefacts,
    ) -> Result<(Snapshot, PathBuf, Containerd)> {
        let before = Snapshot::take(scope)?;
        sweep::note_absent(layout)?;
        let archive = image::busybox_archive(&artefacts.images)?;
        let settings = Settings::inside(&layout.directory, artefacts);
        replace_file(&layout.imprint_config, &settings.text())?;
        Ok((before, archive, Containerd::start(layout.clone())?))
    }

    /// Lets the node live on after this value.
    pub fn keep(self) {
        self.keep.set(true);
    }

    /// The client of this node's containerd.
    #[must_use]
    pub fn ctr(&self) -> &Ctr {
        &self.ctr
    }

    /// The containerd that runs on this node.
    #[must_use]
    pub fn containerd(&self) -> &Containerd {
        &self.containerd
    }

    /// The archive of the image.
    pub fn archive(&self) -> Result<PathBuf> {
        image::busybox_archive(&self.artefacts.images)
    }

    /// The built binaries and the guest.
    #[must_use]
    pub fn artefacts(&self) -> &Artefacts {
        &self.artefacts
    }

    /// containerd's log, and the shims'.
    #[must_use]
    pub fn log(&self) -> &Log {
        self.containerd.log()
    }

    /// The log's present end.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.containerd.mark()
    }

    /// The directory that everything of this node is in.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.playground.path()
    }

    /// The settings a node starts with; change a copy and [`Node::configure`] it.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings::inside(self.playground.path(), &self.artefacts)
    }

    /// Path of Imprint's configuration file.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.containerd.layout().imprint_config.clone()
    }

    /// Writes Imprint's configuration file. It holds for the next sandbox.
    pub fn configure(&self, settings: &Settings) -> Result<()> {
        replace_file(&self.config_path(), &settings.text())
    }

    /// A container's identifier that nothing on this machine has.
    #[must_use]
    pub fn unique_id(&self, name: &str) -> String {
        let mut ids = self.ids.borrow_mut();
        let id = format!("{}-{}-{name}", self.scope.prefix, ids.len());
        ids.push(id.clone());
        id
    }

    /// `ctr run --rm` of a container with a name of its own.
    #[must_use]
    pub fn run(&self, name: &str) -> Run {
        self.ctr.run(&self.unique_id(name))
    }

    /// A call of the `imprint` tool on this node's configuration.
    #[must_use]
    pub fn imprint(&self, words: &[&str]) -> Program {
        Program::new(self.artefacts.imprint())
            .args(["--config", &self.config_path().to_string_lossy()])
            .args(words)
            .env(MARK, self.playground.path())
    }

    /// Makes the template unless there is one. Templates must be on.
    pub fn ensure_template(&self) -> Result<()> {
        if self.settings().template_path.join("memory").exists() {
            return Ok(());
        }
        self.imprint(&["factory", "init"])
            .within(Duration::from_secs(120))
            .succeed()
            .map(drop)
    }

    /// How the sandbox that was started since the mark came to be, as its shim logged it.
    pub fn start_since(&self, mark: Mark) -> Result<StartReport> {
        let deadline = Deadline::after(Duration::from_secs(10));
        self.log()
            .wait_for(mark, deadline, "the shim to log its start", starts::parse)?
    }

    /// The VMMs that run on this node.
    #[must_use]
    pub fn vmms(&self) -> Vec<Process> {
        self.processes(VmmKind::chosen().program())
    }

    /// The shims that run on this node.
    #[must_use]
    pub fn shims(&self) -> Vec<Process> {
        self.processes("containerd-shim-imprint-v2")
    }

    fn processes(&self, name: &str) -> Vec<Process> {
        let named = |process: &Process| {
            let program = process.command.split(' ').next().unwrap_or_default();
            program
                .rsplit('/')
                .next()
                .is_some_and(|program| program.starts_with(name))
        };
        let ours = |process: &Process| named(process) && process.belongs_to(self.directory());
        Process::all().into_iter().filter(ours).collect()
    }

    /// What is on the machine now.
    pub fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::take(&self.scope)
    }

    /// What is there that was not, when this was taken.
    pub fn left_since(&self, before: &Snapshot) -> Result<Leaks> {
        before.left_since(END_TIMEOUT)
    }

    /// Removes every container, shim and VMM, so that a failed case does not fail the next.
    pub fn reset(&self) -> Result<()> {
        for id in self.ctr.containers()? {
            self.ctr.remove(&id).or_else(|_| {
                self.shims()
                    .iter()
                    .chain(&self.vmms())
                    .try_for_each(Process::kill)?;
                self.ctr.remove(&id)
            })?;
        }
        self.shims()
            .iter()
            .chain(&self.vmms())
            .try_for_each(Process::kill)
    }

    /// Takes the node down in the orderly way and says what that left behind; then removes that
    /// too.
    pub fn close(self) -> Result<Leaks> {
        let _shield = shield();
        self.keep.set(true);
        let destroyed = self.imprint(&["factory", "destroy"]).run();
        report(&destroyed.and_then(|ended| ended.success().map(drop)));
        let layout = self.containerd.layout();
        report(&sweep::stop(&self.containerd, &self.ctr));
        report(&self.playground.unmount_all());
        sweep::remove_what_was_absent(layout);
        let leaks = self.before.left_since(END_TIMEOUT);
        sweep::sweep(&self.playground, layout, &self.ids.borrow())?;
        leaks
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.keep.get() {
            return;
        }
        let _shield = shield();
        report(&sweep::stop(&self.containerd, &self.ctr));
        report(&sweep::sweep(
            &self.playground,
            self.containerd.layout(),
            &self.ids.borrow(),
        ));
    }
}

/// Where the containerd of a playground keeps its things.
#[must_use]
pub fn layout(directory: &Path, artefacts: &Artefacts) -> Layout {
    Layout {
        directory: directory.to_owned(),
        release: artefacts.containerd.clone(),
        binaries: artefacts.binaries.clone(),
        imprint_config: directory.join("configuration.toml"),
    }
}

/// What the names of this process's containers begin with.
fn prefix() -> String {
    format!("imprint{}", std::process::id())
}

/// Tells of a failure during cleanup, which goes on.
fn report(result: &Result<()>) {
    if let Err(error) = result {
        eprintln!("While cleaning up: {}", error.chain());
    }
}
