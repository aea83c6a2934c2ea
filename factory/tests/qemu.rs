//! Templates on a real QEMU with the real guest. Skipped, loudly, where either is missing.
#![allow(
    clippy::unwrap_used,
    reason = "allowed in tests, of which these are parts"
)]

use std::{
    fs::OpenOptions,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use factory::{Budgets, InitOptions, StartPath, StartPlan, Started, TemplateStore, Unfit};
use hypervisors::{
    GuestRoot, KernelSpec, MemoryBacking, MemorySpec, VmSpec,
    qemu::{AcceleratorChoice, Qemu, QemuConfig},
};
use slog::{Discard, Logger, o};

const MIB: u32 = 192;

struct Bench {
    dir: tempfile::TempDir,
    store: TemplateStore,
    qemu: Qemu,
    guest: PathBuf,
    log: Logger,
}

impl Bench {
    async fn new() -> Option<Self> {
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

    fn spec(&self, id: &str) -> VmSpec {
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
                command_line: "quiet panic=-1".into(),
            },
            netns: None,
        }
    }

    async fn init(&self) {
        let options = InitOptions {
            replace: false,
            agent_deadline: Duration::from_secs(60),
        };
        let began = Instant::now();
        let progress = |step, shape| {
            eprintln!(
                "{:>6.0} ms {step} ({shape})",
                began.elapsed().as_secs_f64() * 1e3
            );
        };
        let (spec, never) = (self.spec("source"), std::future::pending());
        let made = factory::init(
            &self.store,
            &self.qemu,
            std::slice::from_ref(&spec),
            &options,
            &progress,
            never,
            &self.log,
        );
        made.await.unwrap();
    }

    async fn plan(&self, spec: &VmSpec) -> StartPlan {
        let began = Instant::now();
        let plan = factory::choose(true, &self.store, &self.qemu, spec).await;
        eprintln!(
            "{} planned in {:.1} ms",
            spec.id,
            began.elapsed().as_secs_f64() * 1e3
        );
        plan
    }

    async fn start(&self, plan: StartPlan, spec: &VmSpec) -> Started {
        let budgets = Budgets {
            restore: Duration::from_secs(10),
            ..Default::default()
        };
        let started = factory::start(plan, &self.qemu, spec, budgets, &self.log)
            .await
            .unwrap();
        let record = &started.record;
        eprintln!(
            "{} {}: {}",
            spec.id,
            record.path.as_str(),
            record.phases_line()
        );
        eprintln!("  {}; {}", record.reason, record.proof);
        started.agent.check().await.unwrap();
        started
    }

    /// Processes whose command line names this bench, as those of a VM do.
    fn processes(&self) -> usize {
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

#[tokio::test(flavor = "multi_thread")]
async fn clones_are_restored_at_once_and_leave_the_template_as_it_was() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    bench.init().await;
    assert_eq!(bench.processes(), 0, "the source VM was left");
    assert!(bench.store.path().join("memory").is_file());

    let (a, b) = (bench.spec("a"), bench.spec("b"));
    let (plan_a, plan_b) = tokio::join!(bench.plan(&a), bench.plan(&b));
    let (one, two) = tokio::join!(bench.start(plan_a, &a), bench.start(plan_b, &b));
    for started in [&one, &two] {
        assert_eq!(
            started.record.path,
            StartPath::Restored,
            "{}",
            started.record.reason
        );
        assert!(
            started.record.proof.contains("incoming"),
            "{}",
            started.record.proof
        );
    }
    let templates = bench.store.list().unwrap();
    templates[0].as_ref().unwrap().verify_memory().unwrap();
    drop(templates);

    let mut larger = bench.spec("larger");
    larger.memory.mib += 64;
    match bench.plan(&larger).await {
        StartPlan::Boot(reason) => assert_eq!(
            reason.to_string(),
            "Template does not fit: memory in MiB: template has 192, wanted 256"
        ),
        StartPlan::Restore(_) => panic!("a template of another size was chosen"),
    }

    bench.store.destroy().await.unwrap();
    assert!(!bench.store.path().exists());
    one.agent.check().await.unwrap();
    let plan = bench.plan(&a).await;
    assert!(
        matches!(&plan, StartPlan::Boot(reason) if reason.label() == "absent"),
        "{plan:?}"
    );
    one.vm.kill().await.unwrap();
    two.vm.kill().await.unwrap();
    assert_eq!(bench.processes(), 0);
    assert_eq!(std::fs::read_dir(&a.run_dir).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_qemu_refuses_ends_booted() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    bench.init().await;
    let spec = bench.spec("pod");
    let plan = bench.plan(&spec).await;
    let StartPlan::Restore(template) = &plan else {
        panic!("{plan:?}")
    };
    let state = template.dir().join("state");

    // Behind the back of the check that fetching makes: QEMU itself meets the damage.
    let length = state.metadata().unwrap().len();
    OpenOptions::new()
        .write(true)
        .open(&state)
        .unwrap()
        .set_len(length / 2)
        .unwrap();
    let started = bench.start(plan, &spec).await;
    assert_eq!(started.record.path, StartPath::Booted);
    assert!(
        started.record.reason.contains("loading the saved state"),
        "{}",
        started.record.reason
    );
    assert_eq!(bench.processes(), 1, "the failed restore was left");
    started.vm.kill().await.unwrap();

    // And by the check.
    match bench.plan(&spec).await {
        StartPlan::Boot(factory::BootReason::Unfit(Unfit::Damaged { what })) => {
            assert!(what.contains("bytes, not"), "{what}");
        }
        other => panic!("{other:?}"),
    }
    bench.store.destroy().await.unwrap();
}
