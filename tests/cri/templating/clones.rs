//! Pods of one template: what they share, and what they must not.

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use e2e_tests::harness::Case;
use playground::{
    Error, Result,
    cri::{Container, Kubelet},
    ensure,
    node::Node,
    proc::Process,
    settings::Settings,
    wait::Deadline,
};

use super::{links, memory_digest, restored, with_template};
use crate::pods::service;

/// Numbers that each pod draws from its kernel.
const DRAWS: usize = 8;

pub fn cases() -> Vec<Case> {
    [
        Case::new("templating::two_pods_are_two", unique),
        Case::new("templating::pods_share_the_templates_pages", shared),
        Case::new("templating::a_killed_clone_leaves_nothing", killed),
    ]
    .map(Case::restored)
    .to_vec()
}

fn unix_time() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
}

/// What a pod draws and is known by, each on a line.
fn drawn(container: &Container<'_>) -> Result<Vec<String>> {
    let script = format!(
        "for i in $(seq {DRAWS}); do cat /proc/sys/kernel/random/uuid; done; \
         head -c 16 /dev/urandom | od -An -tx1; cat /proc/sys/kernel/random/boot_id; \
         hostname; cat /sys/class/net/eth0/address; \
         ip -4 -o addr show dev eth0 | grep -o 'inet [^ ]*'"
    );
    let before = unix_time();
    let clock = container.shell("date +%s")?;
    let after = unix_time();
    let told: f64 = clock.trim().parse().unwrap_or_default();
    // The guest tells whole seconds, and may be off by one.
    ensure!(
        told >= before.floor() - 1.0 && told <= after + 1.0,
        "The guest says {told}, the host {before} to {after}"
    );
    Ok(container
        .shell(&script)?
        .lines()
        .map(str::to_owned)
        .collect())
}

fn unique(node: &Node) -> Result<()> {
    let settings = with_template(node)?;
    let kubelet = Kubelet::new(node);
    let (one, two) = (kubelet.run("one")?, kubelet.run("two")?);
    let mut all = BTreeSet::new();
    for pod in [&one, &two] {
        restored(&settings, pod)?;
        let drawn = drawn(&service(pod)?)?;
        ensure!(drawn.len() == DRAWS + 5, "{drawn:?}");
        all.extend(drawn);
    }
    ensure!(all.len() == 2 * (DRAWS + 5), "Both have it: {all:#?}");
    one.remove()?;
    two.remove()
}

/// A number in KiB of the mappings whose file is `of`, summed from a VMM's `smaps`.
fn mapped(vmm: &Process, of: &str, field: &str) -> Result<u64> {
    let path = format!("/proc/{}/smaps", vmm.pid);
    let text = fs::read_to_string(&path).map_err(Error::io("Reading", &path))?;
    let (mut ours, mut sum) = (false, 0);
    for line in text.lines() {
        match line.split_once(": ") {
            // Only the head of a mapping begins with its addresses.
            _ if line
                .split(' ')
                .next()
                .is_some_and(|word| word.contains('-')) =>
            {
                ours = line.ends_with(of);
            }
            Some((name, value)) if ours && name == field => {
                let number = value.trim().trim_end_matches(" kB").parse::<u64>();
                sum += number.unwrap_or_default();
            }
            _ => {}
        }
    }
    Ok(sum)
}

fn shared(node: &Node) -> Result<()> {
    let settings = with_template(node)?;
    let kubelet = Kubelet::new(node);
    let names = ["a", "b", "c", "d"];
    let pods = names.iter().map(|name| kubelet.run(name));
    let pods = pods.collect::<Result<Vec<_>>>()?;
    for pod in &pods {
        restored(&settings, pod)?;
        service(pod)?;
    }
    let vmms = node.vmms();
    ensure!(vmms.len() == pods.len(), "{} VMMs run", vmms.len());
    for vmm in &vmms {
        let of = |field: &str| mapped(vmm, "/memory", field);
        let (resident, own) = (of("Rss")?, of("Private_Dirty")?);
        let pss = of("Pss")?;
        println!("    guest memory: {resident} KiB resident, {own} its own, PSS {pss}");
        // All that is not its own is another's too: its share is smaller than what it uses.
        ensure!(resident > own && pss < resident, "Nothing is shared");
        ensure!(
            of("Shared_Dirty")? + of("Shared_Clean")? > 0,
            "Nothing is shared"
        );
    }
    pods.into_iter().try_for_each(playground::cri::Pod::remove)
}

fn killed(node: &Node) -> Result<()> {
    let settings = with_template(node)?;
    let before = memory_digest(&settings)?;
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("killed")?;
    restored(&settings, &pod)?;
    let container = service(&pod)?;
    for vmm in node.vmms() {
        vmm.kill()?;
    }
    container.ended()?;
    let shims = node.shims();
    let id = pod.id().to_owned();
    pod.remove()?;
    for shim in shims {
        shim.wait_gone(Deadline::after(Duration::from_secs(10)))?;
    }
    // Taps, mounts and processes are looked for after every case.
    nothing_left(&settings, &id)?;
    ensure!(
        memory_digest(&settings)? == before,
        "The template's memory has changed"
    );
    let pod = kubelet.run("next")?;
    restored(&settings, &pod)?;
    pod.remove()
}

fn nothing_left(settings: &Settings, id: &str) -> Result<()> {
    let directory = settings.run_root.join("s").join(id);
    ensure!(!directory.exists(), "{} is there", directory.display());
    ensure!(links(settings)?.is_empty(), "{:?}", links(settings)?);
    Ok(())
}
