//! The fake VMM in a directory of its own, with the faults a test wants.

use std::{fs, path::PathBuf, sync::Arc};

use hypervisors::{
    DiskSlots, Error, GuestRoot, KernelSpec, MemoryBacking, MemorySpec, NicSpec, VmSpec,
    clh::{Clh, ClhConfig},
};
use tempfile::TempDir;

pub struct Fake {
    /// Where the VM is.
    dir: TempDir,
    /// Where the VMM is: beside its original, of which it is a link. A copy would be busy as long
    /// as a process that was started meanwhile has it open for writing.
    home: TempDir,
}

impl Fake {
    /// A fake that does all of this wrong, each once.
    pub fn new(faults: &[(&str, &str)]) -> Self {
        let fake = Self {
            dir: tempfile::tempdir().unwrap(),
            home: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
        };
        // It finds its faults beside itself.
        let original = env!("CARGO_BIN_EXE_fake-vmm");
        fs::hard_link(original, fake.vmm()).unwrap();
        let lines: Vec<_> = faults
            .iter()
            .map(|(call, what)| format!("{call} {what}"))
            .collect();
        fs::write(fake.home.path().join("faults"), lines.join("\n")).unwrap();
        for (name, length) in [("disk", 1 << 20), ("initrd", 1), ("memory", 1 << 20)] {
            fs::File::create(fake.path(name))
                .unwrap()
                .set_len(length)
                .unwrap();
        }
        let mut kernel = vec![0; 0x300];
        kernel[0x202..0x206].copy_from_slice(b"HdrS");
        fs::write(fake.path("kernel"), kernel).unwrap();
        fake
    }

    fn vmm(&self) -> PathBuf {
        self.home.path().join("vmm")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub async fn probe(&self) -> Result<Clh, Error> {
        let config = ClhConfig {
            binary: self.vmm(),
            ..ClhConfig::default()
        };
        Clh::probe(config, &slog::Logger::root(slog::Discard, slog::o!())).await
    }

    pub fn spec(&self, id: &str) -> VmSpec {
        let run_dir = self.path(id);
        fs::create_dir_all(&run_dir).unwrap();
        fs::create_dir_all(self.path("saving")).unwrap();
        VmSpec {
            id: id.into(),
            run_dir,
            vcpus: 1,
            max_vcpus: 2,
            memory: MemorySpec {
                mib: 1,
                max_mib: 1,
                backing: MemoryBacking::Anonymous,
            },
            kernel: KernelSpec {
                kernel: self.path("kernel"),
                root: GuestRoot::Initrd(self.path("initrd")),
                command_line: String::new(),
            },
            netns: None,
            slots: DiskSlots {
                count: 2,
                mib: 1,
                contents: vec![],
            },
            nic: None,
        }
    }

    /// The same with a network interface. Its tap is none: the fake only passes it on.
    pub fn spec_with_nic(&self, id: &str) -> VmSpec {
        let tap = fs::File::open(self.path("disk")).unwrap();
        VmSpec {
            nic: Some(NicSpec {
                mac: "02:00:00:00:00:01".into(),
                tap: Arc::new(tap.into()),
            }),
            ..self.spec(id)
        }
    }

    /// A VM and what it can be restored from.
    pub fn saved(&self, id: &str) -> (VmSpec, PathBuf) {
        let spec = self.spec(id);
        let saved = self.path("saved");
        fs::create_dir_all(&saved).unwrap();
        let socket = spec.run_dir.join("clh.sock");
        let config = serde_json::json!({
            "memory": {"size": 1 << 20, "shared": false},
            "vsock": {"cid": 3, "socket": socket},
            "disks": [
                {"id": "slot-0", "path": spec.run_dir.join("slot-0")},
                {"id": "slot-1", "path": spec.run_dir.join("slot-1")},
            ],
        });
        fs::write(saved.join("config.json"), config.to_string()).unwrap();
        fs::write(saved.join("state.json"), "{}").unwrap();
        (spec, saved)
    }

    pub fn assert_nothing_left(&self, id: &str) {
        let left: Vec<_> = fs::read_dir(self.path(id)).unwrap().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
        self.assert_no_process();
    }

    pub fn assert_no_process(&self) {
        let mine = self.vmm();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let program = fs::read_link(entry.path().join("exe"));
            let is_mine = program.is_ok_and(|program| program == mine);
            assert!(!is_mine, "{} is left", entry.path().display());
        }
    }
}
