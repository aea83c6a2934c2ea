//! Guests that turn on the shim: it stays small, the pod ends with an error, the host is untouched.

use std::{
    fs,
    os::fd::AsFd,
    path::Path,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use e2e_tests::harness::Case;
use playground::{
    Error, Result,
    cri::{Container, Kubelet, Pod},
    ensure,
    installation::replace_file,
    node::Node,
    proc::Process,
    wait::{Deadline, readable},
};
use rustix::process::Signal;

use crate::{crowd::number, pods::service};

/// The VMM that puts itself between the shim and the agent.
const HOSTILE: &str = env!("CARGO_BIN_EXE_imprint-hostile-vmm");

/// What a shim's memory never exceeds, in KiB, whatever its guest says: docs/threat-model.md.
const BOUND: u64 = 64 << 10;

/// A call into the guest is given up after this many milliseconds.
const CALL: u64 = 3000;

/// No Stop takes longer: a few calls that are given up, one after the other.
const STOP: Duration = Duration::from_secs(40);

/// MiB that a container says, unless `IMPRINT_CRI_TALK` says otherwise: an emulated guest under
/// load says three a second.
const TALK: usize = 64;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("hostile::an_agent_that_falls_silent", silence),
        Case::new("hostile::an_agent_that_answers_late", delay),
        Case::new("hostile::an_agent_that_talks_nonsense", noise),
        Case::new("hostile::an_agent_that_floods", flood),
        Case::new("hostile::a_vm_that_stands_still", stopped),
        Case::new("hostile::a_kernel_that_panics", panics),
        Case::new("hostile::a_container_that_says_a_lot", talk),
    ]
}

/// Keeps an eye on the memory of a shim, which may end at any time.
struct Memory(JoinHandle<u64>);

impl Memory {
    fn of(shim: Process) -> Self {
        Self(thread::spawn(move || {
            let mut most = 0;
            while let Some(running) = shim.open() {
                most = peak(&shim).unwrap_or_default().max(most);
                let soon = Deadline::after(Duration::from_millis(20));
                // Its end ends the loop; the deadline's error is the time for another look.
                let _ = readable(running.as_fd(), soon, "the end of the shim");
            }
            most
        }))
    }

    /// Once the shim has ended: whether it was bounded.
    fn bounded(self, what: &str) -> Result<()> {
        let most = self.0.join();
        let kib = most.map_err(|_| Error::Unexpected("The memory was not watched".to_owned()))?;
        println!("    {what}: the shim had {} MiB at most", kib >> 10);
        ensure!(kib > 0 && kib < BOUND, "{kib} KiB");
        Ok(())
    }
}

/// The most memory that a process ever had, in KiB; `None` once it has ended.
fn peak(process: &Process) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{}/status", process.pid)).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

fn shim(node: &Node) -> Result<Process> {
    let shim = node.shims().pop();
    shim.ok_or_else(|| Error::Unexpected("No shim runs".to_owned()))
}

/// Gives calls into guests short timeouts, and perhaps another VMM.
fn configure(node: &Node, vmm: Option<&Path>) -> Result<()> {
    let mut settings = node.settings();
    if let Some(vmm) = vmm {
        vmm.clone_into(&mut settings.vmm);
    }
    let text = format!(
        "{}\n[agent.kata]\nrequest_timeout_ms = {CALL}\n",
        settings.text()
    );
    replace_file(&node.config_path(), &text)
}

/// Stops and removes the pod, which must go at once and within bounds.
fn stop(pod: Pod<'_>) -> Result<()> {
    let began = Instant::now();
    pod.remove()?;
    let took = began.elapsed();
    ensure!(took < STOP, "It took {took:?}");
    println!("    stopped and removed in {:.1} s", took.as_secs_f64());
    Ok(())
}

/// Runs a pod whose agent turns hostile, and asks something of it.
fn turns(node: &Node, plan: &str, then: fn(&Container<'_>) -> Result<()>) -> Result<()> {
    let directory = node.directory().join("hostile");
    fs::create_dir_all(&directory).map_err(Error::io("Making", &directory))?;
    let (program, order) = (directory.join("qemu-system-x86_64"), directory.join("plan"));
    fs::copy(HOSTILE, &program).map_err(Error::io("Copying", HOSTILE))?;
    let _ = fs::remove_file(&order);
    configure(node, Some(&program))?;

    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("hostile")?;
    let container = service(&pod)?;
    let memory = Memory::of(shim(node)?);
    fs::write(&order, plan).map_err(Error::io("Writing", &order))?;
    let began = Instant::now();
    let (code, output, _) = match container.exec(&["echo", "there"]) {
        Ok(ended) => ended,
        Err(error) => (-1, error.to_string(), String::new()),
    };
    ensure!(code != 0, "It answered: {output}");
    println!(
        "    told after {:.1} s: {output}",
        began.elapsed().as_secs_f64()
    );
    then(&container)?;
    stop(pod)?;
    memory.bounded(plan)
}

fn silence(node: &Node) -> Result<()> {
    turns(node, "silence", |_| Ok(()))
}

fn delay(node: &Node) -> Result<()> {
    turns(node, "delay", |_| Ok(()))
}

/// Who breaks the protocol is cut off, and without its agent a VM is of no use.
fn cut_off(container: &Container<'_>) -> Result<()> {
    let ended = container.ended()?;
    ensure!(ended.exit_code != 0, "{ended}");
    Ok(())
}

fn noise(node: &Node) -> Result<()> {
    turns(node, "noise", cut_off)
}

fn flood(node: &Node) -> Result<()> {
    turns(node, "flood", cut_off)
}

fn stopped(node: &Node) -> Result<()> {
    configure(node, None)?;
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("still")?;
    let container = service(&pod)?;
    let memory = Memory::of(shim(node)?);
    for vmm in node.vmms() {
        vmm.signal(Signal::STOP);
    }
    ensure!(container.exec(&["true"]).is_err(), "It answered");
    stop(pod)?;
    memory.bounded("stopped")
}

/// The agent is process 1 of the guest, which its kernel lets nobody kill: what ends it ends the
/// kernel too.
fn panics(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run_with("panic", |config| {
        let linux = config.linux.mut_or_insert_default();
        linux.security_context.mut_or_insert_default().privileged = true;
    })?;
    let container = pod.start_with("panic", crate::pods::SERVICE, |config| {
        let linux = config.linux.mut_or_insert_default();
        linux.security_context.mut_or_insert_default().privileged = true;
    })?;
    container.logged("up")?;
    let kill = container.exec(&[
        "sh",
        "-c",
        "kill -9 1; echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger; sleep 30",
    ]);
    println!("    told: {kill:?}");
    let ended = container.ended()?;
    ensure!(ended.exit_code != 0, "{ended}");
    stop(pod)
}

fn talk(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("talk")?;
    let mib = number("IMPRINT_CRI_TALK", TALK);
    let script = format!("head -c {mib}m /dev/zero; exit 9");
    let began = Instant::now();
    let container = pod.start_with("talk", &script, |config| config.log_path.clear())?;
    let memory = Memory::of(shim(node)?);
    // It has more to say than others have time for.
    let ended = (0..9).find_map(|_| container.ended().ok());
    let ended = ended.map_or_else(|| container.ended(), Ok)?;
    ensure!(ended.exit_code == 9, "{ended}");
    println!("    {mib} MiB in {:.0} s", began.elapsed().as_secs_f64());
    stop(pod)?;
    memory.bounded("talk")
}
