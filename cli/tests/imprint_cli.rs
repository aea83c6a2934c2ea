//! The `imprint` tool on a real QEMU and guest. Skipped, loudly, where either is missing.
#![allow(
    clippy::unwrap_used,
    reason = "allowed in tests, of which these are parts"
)]

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A configuration with a run root of its own.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Option<Self> {
        let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../build/guest");
        let qemu = Path::new("/usr/bin/qemu-system-x86_64");
        for needed in [&guest.join("vmlinux"), &guest.join("initrd.img"), qemu] {
            if !needed.exists() {
                eprintln!("SKIPPED: {} is missing", needed.display());
                return None;
            }
        }
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED: templates need root, to mount a tmpfs");
            return None;
        }
        let bench = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        bench.configure(true, 192, "");
        Some(bench)
    }

    fn configure(&self, enabled: bool, memory: u32, more: &str) {
        let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../build/guest");
        let (guest, root) = (guest.canonicalize().unwrap(), self.dir.path());
        let (guest, root) = (guest.display(), root.display());
        let text = format!(
            "[hypervisor.qemu]\n\
             path = \"/usr/bin/qemu-system-x86_64\"\n\
             kernel = \"{guest}/vmlinux\"\n\
             initrd = \"{guest}/initrd.img\"\n\
             default_vcpus = 1\n\
             default_memory = {memory}\n\
             [factory]\n\
             enable_template = {enabled}\n\
             template_path = \"{root}/vm/template\"\n\
             [runtime]\n\
             run_root = \"{root}\"\n\
             {more}\n"
        );
        std::fs::write(self.config(), text).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("configuration.toml")
    }

    fn template(&self) -> PathBuf {
        self.dir.path().join("vm/template")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imprint"));
        command
            .arg("--config")
            .arg(self.config())
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Exit code, stdout and stderr.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let answer = (status.code().unwrap(), text(stdout), text(stderr));
        eprintln!("imprint {arguments:?}: {answer:?}");
        answer
    }

    /// Sends `signal` to an init whose guest is booting; answers its exit code, if it has one.
    fn init_stopped_by(&self, signal: Signal) -> Option<i32> {
        let mut child = self
            .command(&["factory", "init"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("waiting for the guest's agent")));
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
        // The pipe stays open until the process has ended, so that it is not killed by its close.
        lines.for_each(drop);
        child.wait().unwrap().code()
    }

    fn mounts(&self) -> usize {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mine = self.dir.path().to_str().unwrap();
        table.lines().filter(|line| line.contains(mine)).count()
    }

    /// QEMU processes of this bench.
    fn vmms(&self) -> usize {
        let mine = self.dir.path().to_str().unwrap();
        let lines = std::fs::read_dir("/proc").unwrap().flatten();
        let lines = lines.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        let lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
        lines
            .filter(|line| line.contains(mine) && line.contains("qemu-system"))
            .count()
    }

    fn assert_nothing_left(&self) {
        assert_eq!((self.mounts(), self.vmms()), (0, 0));
        assert!(!self.template().exists());
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // A failed test must not leave its mount or its VM.
        let _ = self.command(&["factory", "destroy"]).output();
    }
}

#[test]
fn a_template_is_made_shown_verified_and_destroyed() {
    let Some(bench) = Bench::new() else { return };
    let (code, out, _) = bench.run(&["factory", "status"]);
    assert_eq!((code, out.lines().next()), (0, Some("vm factory is off")));
    let (code, out, _) = bench.run(&["check"]);
    assert!(
        code == 0 && out.contains("note    template: There is no VM template"),
        "{out}"
    );

    let (code, out, _) = bench.run(&["factory", "init"]);
    assert_eq!((code, out.as_str()), (0, "vm factory initialized\n"));
    assert_eq!(
        bench.template().join("memory").metadata().unwrap().len(),
        192 << 20
    );
    assert_eq!((bench.mounts(), bench.vmms()), (1, 0));

    let (code, out, err) = bench.run(&["factory", "init"]);
    assert_eq!((code, out.as_str(), bench.mounts()), (1, "", 1));
    assert!(err.contains("There is already a VM template in"), "{err}");

    let (code, out, _) = bench.run(&["factory", "status", "--json", "--verify"]);
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &answer["on"]), (0, &serde_json::Value::Bool(true)));
    assert_eq!(answer["templates"][0]["verified"]["start_path"], "restored");
    assert_eq!(bench.vmms(), 0);

    let (code, out, err) = bench.run(&["selftest", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &answer["unique"]),
        (0, &serde_json::Value::Bool(true)),
        "{err}"
    );
    let rows = answer["rows"].as_array().unwrap();
    for what in [
        "random numbers",
        "boot id",
        "machine id",
        "clock",
        "generation id (VMGENID)",
    ] {
        assert!(
            rows.iter()
                .any(|row| row["what"] == what && row["verdict"] == "good"),
            "{what}"
        );
    }
    assert_eq!(bench.vmms(), 0);

    bench.configure(true, 256, "");
    let (code, out, _) = bench.run(&["factory", "status"]);
    assert_eq!(code, 0);
    assert_eq!(
        out,
        "vm factory is off\n\
         reason: Template does not match: memory in MiB: template has 192, wanted 256\n"
    );
    assert_eq!(bench.run(&["check"]).0, 1);
    let (code, out, _) = bench.run(&["factory", "init", "--replace"]);
    assert_eq!(
        (code, out.as_str(), bench.mounts()),
        (0, "vm factory initialized\n", 1)
    );
    assert!(
        bench
            .run(&["factory", "status"])
            .1
            .starts_with("vm factory is on\n")
    );

    let (code, out, _) = bench.run(&["factory", "destroy"]);
    assert_eq!((code, out.as_str()), (0, "vm factory destroyed\n"));
    bench.assert_nothing_left();
    assert_eq!(bench.run(&["factory", "destroy"]).0, 0);
}

#[test]
fn every_shape_gets_its_template() {
    let Some(bench) = Bench::new() else { return };
    let shapes = "[[factory.shape]]\nmemory = 256\n[[factory.shape]]\n";
    bench.configure(true, 192, shapes);
    assert_eq!(bench.run(&["factory", "init"]).0, 0);
    let (code, out, _) = bench.run(&["factory", "status", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &answer["on"]), (0, &serde_json::Value::Bool(true)));
    let templates = answer["templates"].as_array().unwrap().iter();
    let memory: Vec<_> = templates
        .map(|one| one["shape"]["memory_mib"].as_u64())
        .collect();
    assert_eq!(memory, [Some(192), Some(256)]);

    bench.configure(true, 192, &format!("{shapes}memory = 320\n"));
    let (_, out, _) = bench.run(&["factory", "status"]);
    assert!(
        out.contains("no template of 1 vCPU, 320 MiB: Template does not match"),
        "{out}"
    );
    assert_eq!(bench.run(&["factory", "destroy"]).0, 0);
    bench.assert_nothing_left();
}

#[test]
fn an_interrupted_init_leaves_nothing_and_a_killed_one_nothing_that_matters() {
    let Some(bench) = Bench::new() else { return };
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        assert_eq!(bench.init_stopped_by(signal), Some(1));
        bench.assert_nothing_left();
    }
    assert_eq!(bench.init_stopped_by(Signal::SIGKILL), None);
    assert_eq!((bench.mounts(), bench.vmms()), (1, 1));
    let (_, out, _) = bench.run(&["factory", "status"]);
    assert!(
        out.starts_with("vm factory is off\nreason: There is no VM template"),
        "{out}"
    );
    assert_eq!(bench.run(&["factory", "init"]).0, 0);
    assert_eq!((bench.mounts(), bench.vmms()), (1, 0));

    assert_eq!(bench.run(&["factory", "destroy"]).0, 0);
    assert_eq!(bench.init_stopped_by(Signal::SIGKILL), None);
    assert_eq!(bench.run(&["factory", "destroy"]).0, 0);
    bench.assert_nothing_left();
}

#[test]
fn what_cannot_work_is_said_and_leaves_nothing() {
    let Some(bench) = Bench::new() else { return };
    bench.configure(false, 192, "");
    let (code, out, _) = bench.run(&["factory", "status"]);
    assert_eq!((code, out.as_str()), (0, "vm factory is not enabled\n"));
    let (code, _, err) = bench.run(&["factory", "init"]);
    assert!(
        code == 1 && err.contains("vm factory is not enabled"),
        "{err}"
    );
    assert_eq!(bench.run(&["factory", "destroy"]).0, 0);

    bench.configure(true, 192, "run_rot = \"/tmp\"");
    for arguments in [&["check"][..], &["factory", "init"], &["factory", "status"]] {
        let (code, out, err) = bench.run(arguments);
        assert!(
            code == 1 && (out + &err).contains("run_root"),
            "{arguments:?}"
        );
    }

    bench.configure(true, 192, "");
    let text = std::fs::read_to_string(bench.config()).unwrap();
    let long = text.replace("run_root = \"", "run_root = \"/too/long/a/path");
    std::fs::write(bench.config(), long).unwrap();
    let (code, out, _) = bench.run(&["check"]);
    let told = out.contains("PROBLEM") && out.contains("it may have 22 bytes");
    assert!(code == 1 && told, "{out}");

    bench.configure(true, 192, "");
    std::fs::create_dir_all(bench.template().parent().unwrap()).unwrap();
    std::fs::write(bench.template(), b"a file").unwrap();
    let (code, _, err) = bench.run(&["factory", "init"]);
    assert!(code == 1 && err.contains("ot a directory"), "{err}");
    assert_eq!(std::fs::read(bench.template()).unwrap(), b"a file");
    std::fs::remove_file(bench.template()).unwrap();

    let text = std::fs::read_to_string(bench.config()).unwrap();
    let kernel = bench.dir.path().join("vmlinux");
    std::fs::write(&kernel, b"no kernel at all").unwrap();
    let text: Vec<_> = text
        .lines()
        .map(|line| match line.starts_with("kernel = ") {
            true => format!("kernel = \"{}\"", kernel.display()),
            false => line.to_owned(),
        })
        .collect();
    std::fs::write(bench.config(), text.join("\n")).unwrap();
    let (code, _, err) = bench.run(&["factory", "init"]);
    assert!(code == 1 && err.contains("No template was made"), "{err}");
    bench.assert_nothing_left();
}
