//! The client against the real guest on QEMU. Skipped where there is neither.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use agent_client::{Agent, Channel, Error, SERIAL_PORT_NAME, agent};

const BOOT: Duration = Duration::from_secs(60);
const QEMU: &str = "/usr/bin/qemu-system-x86_64";

struct Vm {
    process: Child,
    socket: PathBuf,
    _dir: tempfile::TempDir,
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _status = self.process.wait();
    }
}

fn boot() -> Option<Vm> {
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../build/guest");
    let (kernel, initrd) = (guest.join("vmlinux"), guest.join("initrd.img"));
    for needed in [Path::new(QEMU), &kernel, &initrd] {
        if !needed.exists() {
            eprintln!("SKIPPED: {} is missing", needed.display());
            return None;
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent.sock");
    let process = Command::new(QEMU)
        .args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ])
        // With one CPU at most, QEMU before 8.1 loses interrupts.
        .args(["-machine", "q35,accel=tcg", "-smp", "1,maxcpus=2"])
        .args(["-cpu", "max", "-m", "256"])
        .args([
            "-append",
            "console=ttyS0 quiet panic=1",
            "-device",
            "virtio-serial-pci",
        ])
        .arg("-kernel")
        .arg(&kernel)
        .arg("-initrd")
        .arg(&initrd)
        .arg("-chardev")
        .arg(format!(
            "socket,id=agent,server=on,wait=off,path={}",
            socket.display()
        ))
        .arg("-device")
        .arg(format!(
            "virtserialport,chardev=agent,name={SERIAL_PORT_NAME}"
        ))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    Some(Vm {
        process,
        socket,
        _dir: dir,
    })
}

/// QEMU makes its sockets before it runs the guest, but not before it has started.
async fn connect(vm: &Vm) -> Agent {
    let started = Instant::now();
    loop {
        let channel = Channel::Serial(vm.socket.clone());
        match Agent::connect(&channel, BOOT).await {
            Err(Error::Connect { .. }) if started.elapsed() < BOOT => {
                tokio::task::yield_now().await;
            }
            connected => return connected.unwrap(),
        }
    }
}

/// CPU time of the VMM, in ticks of 10 ms (proc_pid_stat(5), fields 14 and 15).
fn cpu_time(vm: &Vm) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", vm.process.id())).unwrap();
    let fields: Vec<_> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
    Duration::from_millis(10 * (ticks(11) + ticks(12)))
}

fn file(at: usize, data: Vec<u8>) -> agent::CopyFileRequest {
    agent::CopyFileRequest {
        path: "/run/kata-containers/shared/containers/test".into(),
        file_size: 2 << 20,
        file_mode: 0o100_644,
        dir_mode: 0o755,
        offset: i64::try_from(at).unwrap(),
        data,
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_guest_is_waited_for_and_reconnected_to() {
    let Some(vm) = boot() else { return };
    let started = Instant::now();
    let agent = connect(&vm).await;
    agent.check().await.unwrap();
    eprintln!("boot to the first answer: {:?}", started.elapsed());
    let version = agent.version().await.unwrap();
    eprintln!("agent {}", version.agent_version);

    let started = Instant::now();
    for i in 0..2 {
        // Every byte, those that need stuffing among them.
        let data = (0..1 << 20).map(|n: usize| (n / 7) as u8).collect();
        // Whether the guest likes the file is its own tests' matter.
        match agent.copy_file(file(i << 20, data)).await {
            Ok(()) | Err(Error::Rpc { .. }) => {}
            lost => panic!("{lost:?}"),
        }
    }
    let rate = 2.0 / started.elapsed().as_secs_f64();
    eprintln!("host to guest: {rate:.0} MiB/s");
    drop(agent);

    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        let agent = connect(&vm).await;
        let started = Instant::now();
        // Left behind in the middle of a frame.
        let busy = agent.clone();
        let copying =
            tokio::spawn(async move { busy.copy_file(file(0, vec![0x7e; 64 << 10])).await });
        agent.check().await.unwrap();
        slowest = slowest.max(started.elapsed());
        copying.abort();
        let _aborted = copying.await;
    }
    eprintln!("slowest of 10 reconnects: {slowest:?}");

    // Without a host the guest's agent must wait, not spin: the VMM would be busy with it.
    let (started, before) = (Instant::now(), cpu_time(&vm));
    system::time::pause("nothing is to happen", Duration::from_secs(1)).await;
    let load = (cpu_time(&vm) - before).as_secs_f64() / started.elapsed().as_secs_f64();
    eprintln!("load without a host: {load:.2}");
    assert!(load < 0.5, "{load}");

    connect(&vm).await.check().await.unwrap();
}
