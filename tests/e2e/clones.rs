//! Many VMs from one template: what they share, and what they must not.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use e2e_tests::harness::Case;
use playground::{
    Error, Result, ensure,
    node::Node,
    proc::Process,
    program::Program,
    running::Finished,
    settings::{Settings, VmmKind},
    starts,
};

use crate::lifecycle::service;

/// Clones that run at the same time.
const CLONES: usize = 10;

pub fn cases() -> Vec<Case> {
    let ten = Case::new("clones::ten_at_once_share_the_template", ten_at_once);
    let restored = [
        Case::new("clones_do_not_share_random_numbers_or_the_time", unique),
        Case::new("the_restore_is_proven_from_both_sides", proof),
    ];
    std::iter::once(ten)
        .chain(restored.map(Case::restored))
        .collect()
}

fn ten_at_once(node: &Node) -> Result<()> {
    let booted = booted_pss(node)?;
    let settings = Settings {
        enable_template: true,
        ..node.settings()
    };
    node.configure(&settings)?;
    node.ensure_template()?;
    let digest = memory_digest(node)?;

    let ctr = node.ctr();
    let script = "echo clone-answers; trap 'exit 0' TERM; sleep 1000 & wait";
    let mut clones = Vec::with_capacity(CLONES);
    for _ in 0..CLONES {
        let id = node.unique_id("clone");
        let running = ctr.run(&id).shell(script).start()?;
        clones.push((id, running));
    }
    for (_, running) in &mut clones {
        running.read_until("clone-answers\n")?;
    }
    for (id, _) in &clones {
        let start = starts::read(&settings.run_root, id)?;
        ensure!(start.path.as_str() == "restored", "{start:?}");
    }
    let vmms = node.vmms();
    ensure!(vmms.len() == CLONES, "{} VMMs run", vmms.len());
    let sum = vmms.iter().map(Process::pss_kib).sum::<Result<u64>>()?;
    println!(
        "    PSS: {CLONES} clones {} MiB in all; {CLONES} times a booted one {} MiB",
        sum / 1024,
        booted * CLONES as u64 / 1024
    );
    for (id, _) in &clones {
        ctr.call(&["task", "kill", "--signal", "TERM", id])
            .succeed()?;
    }
    let ended = clones.into_iter().map(|(_, running)| running.finish());
    let ended: Vec<Finished> = ended.collect::<Result<_>>()?;
    ensure!(ended.iter().all(|ended| ended.code == 0), "{ended:?}");
    ensure!(
        memory_digest(node)? == digest,
        "The template's memory file has changed"
    );
    ensure!(
        sum * 10 < booted * CLONES as u64 * 7,
        "The clones share too little"
    );
    Ok(())
}

/// PSS of one booted VMM whose container idles, in KiB.
fn booted_pss(node: &Node) -> Result<u64> {
    node.configure(&node.settings())?;
    let (id, running) = service(node, "booted")?;
    let vmms = node.vmms();
    let [vmm] = vmms.as_slice() else {
        return Err(Error::Unexpected(format!("{} VMMs run", vmms.len())));
    };
    let pss = vmm.pss_kib()?;
    node.ctr()
        .call(&["task", "kill", "--signal", "TERM", &id])
        .succeed()?;
    running.finish()?;
    Ok(pss)
}

fn memory_digest(node: &Node) -> Result<String> {
    let memory = node.settings().template_path.join("memory");
    Program::new("sha256sum").args([memory]).succeed()
}

fn unique(node: &Node) -> Result<()> {
    const DRAWS: usize = 8;
    let script = format!(
        "date +%s; for i in $(seq {DRAWS}); do cat /proc/sys/kernel/random/uuid; done; \
         head -c 16 /dev/urandom | od -An -tx1"
    );
    let mut drawn = BTreeSet::new();
    for _ in 0..2 {
        let before = unix_time();
        let output = node.run("unique").shell(&script).succeed()?;
        let after = unix_time();
        let mut lines = output.lines();
        let told: u64 = lines
            .next()
            .and_then(|line| line.parse().ok())
            .unwrap_or_default();
        let within = told + 1 >= before.as_secs() && told <= after.as_secs() + 1;
        ensure!(
            within,
            "The guest says {told}, the host {before:?} to {after:?}"
        );
        drawn.extend(lines.map(str::to_owned));
    }
    ensure!(
        drawn.len() == 2 * (DRAWS + 1),
        "Numbers came twice: {drawn:#?}"
    );
    Ok(())
}

fn unix_time() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

fn proof(node: &Node) -> Result<()> {
    let id = node.unique_id("proof");
    let script = "cat /proc/uptime; echo; read line";
    let mut running = node.ctr().run(&id).shell(script).open_input().start()?;
    running.read_until("\n\n")?;
    let vmms = node.vmms();
    let start = starts::read(&node.settings().run_root, &id)?;
    running.write(b"\n");
    let ended = running.finish()?;
    ensure!(
        start.path.as_str() == "restored" && start.template_key.is_some(),
        "{start:?}"
    );
    ensure!(!start.proof.is_empty(), "The shim kept no proof: {start:?}");
    // Cloud Hypervisor is told over its socket.
    let told = VmmKind::chosen() == VmmKind::CloudHypervisor
        || vmms.iter().any(|vmm| vmm.command.contains("-incoming"));
    ensure!(told, "{vmms:?}");
    // A guest that has been up for longer than its VMM ran was up before.
    let uptime: f64 = ended
        .stdout
        .split(' ')
        .next()
        .and_then(|s| s.parse().ok())
        .unwrap_or(0.0);
    let all = ended.elapsed.as_secs_f64();
    ensure!(
        uptime > all,
        "The guest was up for {uptime} s, and all took {all} s"
    );
    println!("    {}", start.proof);
    println!("    the guest was up for {uptime} s; all that was seen of it took {all:.2} s");
    Ok(())
}
