//! A real QEMU, the real guest, and a template store. Skipped, loudly, where something is missing.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(
    clippy::unwrap_used,
    reason = "allowed in tests, of which these are parts"
)]

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use factory::{
    InitError, NewTemplates, Template, TemplateStore,
    start::{FirstImage, Request, Start, Started, Survey, Timeline, Timeouts},
};
use hypervisors::{
    GuestRoot, KernelSpec, MemoryBacking, MemorySpec, VmSpec,
    qemu::{AcceleratorChoice, Qemu, QemuConfig},
};
use slog::{Discard, Logger, o};

pub const MIB: u32 = 192;
/// Well above what a restore takes on a machine that has too much to do.
pub const RESTORE: Duration = Duration::from_secs(10);

pub struct Bench {
    pub dir: tempfile::TempDir,
    pub store: TemplateStore,
    pub qemu: Qemu,
    guest: PathBuf,
    pub log: Logger,
}

impl Bench {
    pub async fn new() -> Option<Self> {
        let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../build/guest");
        let config = QemuConfig {
            accelerator: AcceleratorChoice::Tcg,
            ..Default::default()
        };
        for needed in [
            &guest.join("vmlinux"),
            &guest.join("initrd.img"),
            &config.binary,
        ] {
            if !needed.exists() {
                eprintln!("SKIPPED: {} is missing", needed.display());
                return None;
            }
        }
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED: templates need root, to mount a tmpfs");
            return None;
        }
        let log = Logger::root(Discard, o!());
        let qemu = Qemu::probe(config, &log).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let store = TemplateStore::at(dir.path().join("vm/template"));
        Some(Self {
            dir,
            store,
            qemu,
            guest,
            log,
        })
    }

    pub fn spec(&self, id: &str) -> VmSpec {
        let run_dir = self.dir.path().join(id);
        std::fs::create_dir_all(&run_dir).unwrap();
        VmSpec {
            id: id.into(),
            run_dir,
            vcpus: 1,
            max_vcpus: 1,
            memory: MemorySpec {
                mib: MIB,
                max_mib: MIB,
                backing: MemoryBacking::Anonymous,
            },
            kernel: KernelSpec {
                kernel: self.guest.join("vmlinux"),
                root: GuestRoot::Initrd(self.guest.join("initrd.img")),
                // An overloaded host fails the kernel's check of its timer, and that is a panic.
                command_line: "quiet panic=-1 no_timer_check".into(),
            },
            netns: None,
            slots: hypervisors::DiskSlots::default(),
            nic: None,
        }
    }

    pub async fn init(&self) {
        self.try_init(false).await.unwrap();
    }

    pub async fn try_init(&self, replace: bool) -> Result<Vec<Template>, InitError> {
        let began = Instant::now();
        let progress = |step, size| {
            eprintln!(
                "{:>6.0} ms {step} ({size})",
                began.elapsed().as_secs_f64() * 1e3
            );
        };
        let spec = self.spec("source");
        let new = NewTemplates {
            store: &self.store,
            vmm: &self.qemu,
            specs: std::slice::from_ref(&spec),
            replace,
            agent_timeout: Duration::from_secs(60),
            log: &self.log,
        };
        factory::init(new, &progress, std::future::pending()).await
    }

    pub fn request(&self, spec: &VmSpec) -> Request {
        Request {
            wanted: spec.size(),
            spec: spec.clone(),
            may_grow: false,
            templates: Some(self.store.clone()),
            timeouts: Timeouts {
                restore: RESTORE,
                ..Default::default()
            },
        }
    }

    pub async fn survey(&self, spec: &VmSpec) -> Survey {
        let began = Instant::now();
        let survey = Survey::of(&self.request(spec), &self.qemu).await;
        eprintln!(
            "{} planned in {:.1} ms",
            spec.id,
            began.elapsed().as_secs_f64() * 1e3
        );
        survey
    }

    pub async fn start(&self, spec: &VmSpec) -> Started {
        let survey = self.survey(spec).await;
        self.run(survey, spec).await
    }

    /// Starts the VM of a survey that was made before.
    pub async fn run(&self, survey: Survey, spec: &VmSpec) -> Started {
        let request = self.request(spec);
        let start = Start {
            request: &request,
            vmm: &self.qemu,
            log: &self.log,
        };
        let mut timeline = Timeline::begin();
        let started = start.run(survey, FirstImage::none(), &mut timeline).await;
        let started = started.unwrap();
        let report = &started.report;
        eprintln!(
            "{} {}: {}",
            spec.id,
            report.path.as_str(),
            report.phases_line()
        );
        eprintln!("  {}; {}", report.reason, report.proof);
        started.agent.check().await.unwrap();
        started
    }

    pub fn template_dir(&self) -> PathBuf {
        let templates = self.store.list().unwrap();
        templates[0].as_ref().unwrap().dir().to_owned()
    }

    /// Processes whose command line names this bench, as those of a VM do.
    pub fn processes(&self) -> usize {
        let mine = self.dir.path().to_str().unwrap();
        let lines = std::fs::read_dir("/proc").unwrap().flatten();
        let lines = lines.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        lines
            .filter(|line| String::from_utf8_lossy(line).contains(mine))
            .count()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // A failed test must not leave its mount.
        let _ = nix::mount::umount2(self.store.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}
