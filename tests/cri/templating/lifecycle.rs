//! Templates that are made, made again, and taken away while pods start and run.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread::ScopedJoinHandle,
};

use e2e_tests::harness::Case;
use playground::{
    Error, Result,
    cri::Kubelet,
    ensure,
    node::Node,
    proc::mounts,
    settings::{Root, Settings},
    starts::{ReasonLabel, StartPath},
};
use system::sync::Mutex;

use super::{restored, start_of, with_template, without_template};
use crate::pods::{same, service};

/// Pods that start while templates come and go, unless `IMPRINT_CRI_PODS` says otherwise.
const PODS: usize = 20;
/// Of which so many at once.
const AT_ONCE: usize = 4;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("templating::init_twice_and_init_that_fails", init),
        Case::new("templating::pods_outlive_their_template", destroyed),
        Case::new("templating::after_a_reboot_pods_boot_until_init", rebooted),
        Case::new(
            "templating::pods_start_while_templates_come_and_go",
            come_and_go,
        ),
    ]
}

/// Mounts at and below the template's path.
fn mounted(settings: &Settings) -> Result<usize> {
    let below = |point: &Path| point.starts_with(&settings.template_path);
    Ok(mounts()?.iter().filter(|mount| below(&mount.point)).count())
}

fn init(node: &Node) -> Result<()> {
    let settings = without_template(node)?;
    ensure!(mounted(&settings)? == 0, "Something is mounted");
    // Without a first process the guest's kernel gives up.
    let nothing = node.directory().join("empty.img");
    fs::write(&nothing, "").map_err(Error::io("Writing", &nothing))?;
    node.configure(&Settings {
        root: Root::Initrd(nothing.clone()),
        ..settings.clone()
    })?;
    let failed = node.imprint(&["factory", "init"]).run()?;
    ensure!(failed.code == 1, "{failed:?}");
    println!("    {}", failed.stderr.lines().last().unwrap_or_default());
    ensure!(
        mounted(&settings)? == 0 && node.vmms().is_empty(),
        "A failed init left something"
    );
    fs::remove_file(&nothing).map_err(Error::io("Removing", &nothing))?;

    node.configure(&settings)?;
    node.imprint(&["factory", "init"]).succeed()?;
    let once = mounted(&settings)?;
    let twice = node.imprint(&["factory", "init"]).run()?;
    ensure!(
        twice.code == 1 && twice.stderr.contains("already a VM template"),
        "{twice:?}"
    );
    ensure!(
        mounted(&settings)? == once && once == 1,
        "{once} mounts, then {}",
        mounted(&settings)?
    );
    node.imprint(&["factory", "destroy"]).succeed()?;
    ensure!(mounted(&settings)? == 0, "Something is still mounted");
    Ok(())
}

fn destroyed(node: &Node) -> Result<()> {
    let settings = with_template(node)?;
    let kubelet = Kubelet::new(node);
    let (one, two) = (kubelet.run("one")?, kubelet.run("two")?);
    let services = [service(&one)?, service(&two)?];
    restored(&settings, &one)?;
    node.imprint(&["factory", "destroy"]).succeed()?;
    for container in &services {
        same("After destroy", &container.shell("echo here")?, "here")?;
    }
    same(
        "A new container",
        &one.start("later", "echo up; sleep 1000")?
            .shell("echo too")?,
        "too",
    )?;
    node.imprint(&["factory", "init"]).succeed()?;
    let three = kubelet.run("three")?;
    restored(&settings, &three)?;
    for container in &services {
        same("After init", &container.shell("echo here")?, "here")?;
    }
    [one, two, three]
        .into_iter()
        .try_for_each(|pod| pod.remove())?;
    node.imprint(&["factory", "destroy"]).succeed().map(drop)
}

/// What a node looks like after its reboot: the tmpfs is gone, its mount point and names are not.
fn rebooted(node: &Node) -> Result<()> {
    let settings = with_template(node)?;
    let path = &settings.template_path;
    nix::mount::umount(path).map_err(|errno| Error::io("Unmounting", path)(errno.into()))?;
    let status = node.imprint(&["factory", "status"]).succeed()?;
    ensure!(status.starts_with("vm factory is off\n"), "{status}");
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("early")?;
    let start = start_of(&settings, &pod)?;
    ensure!(
        start.path.as_str() == "booted" && start.reason_label.as_str() == "absent",
        "{start:?}"
    );
    pod.remove()?;
    node.imprint(&["factory", "init"]).succeed()?;
    let pod = kubelet.run("late")?;
    restored(&settings, &pod)?;
    pod.remove()?;
    node.imprint(&["factory", "destroy"]).succeed().map(drop)
}

/// Makes the template anew, destroys it, makes it, while pods are at work; how often each was done.
fn factory(node: &Node, at_work: &AtomicUsize) -> Result<(usize, usize)> {
    let (mut replaced, mut destroyed) = (0, 0);
    while at_work.load(Ordering::Relaxed) > 0 {
        node.imprint(&["factory", "init", "--replace"]).succeed()?;
        replaced += 1;
        node.imprint(&["factory", "destroy"]).succeed()?;
        destroyed += 1;
        node.ensure_template()?;
    }
    Ok((replaced, destroyed))
}

/// One pod's life; how it started, and why so.
fn one_pod(
    kubelet: &Kubelet,
    settings: &Settings,
    number: usize,
) -> Result<(StartPath, ReasonLabel)> {
    let pod = kubelet.run(&format!("pod-{number}"))?;
    let container = pod.start("one", "echo up; sleep 1000")?;
    container.logged("up")?;
    let start = start_of(settings, &pod)?;
    pod.remove()?;
    Ok((start.path, start.reason_label))
}

fn come_and_go(node: &Node) -> Result<()> {
    let settings = with_template(node)?;
    let set = std::env::var("IMPRINT_CRI_PODS").ok();
    let pods = set.and_then(|value| value.parse().ok()).unwrap_or(PODS);
    let kubelet = Kubelet::new(node);
    let next = AtomicUsize::new(0);
    let started = Mutex::new(BTreeMap::<(StartPath, ReasonLabel), usize>::new());
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= pods {
                return Ok(());
            }
            let way = one_pod(&kubelet, &settings, number)?;
            let mut started = started.lock();
            *started.entry(way).or_default() += 1;
        }
    };
    let at_work = AtomicUsize::new(AT_ONCE);
    let (outcomes, made) = std::thread::scope(|scope| {
        let worker = || {
            let outcome = work();
            at_work.fetch_sub(1, Ordering::Relaxed);
            outcome
        };
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(worker)).collect();
        let made = factory(node, &at_work);
        let join = |worker: ScopedJoinHandle<'_, _>| worker.join().unwrap_or_else(|_| Err(lost()));
        (workers.into_iter().map(join).collect::<Vec<_>>(), made)
    });
    outcomes.into_iter().collect::<Result<()>>()?;
    let (replaced, destroyed) = made?;
    let started = started.into_inner();
    println!("    templates replaced {replaced} times, destroyed {destroyed} times: {started:?}");
    ensure!(started.values().sum::<usize>() == pods, "{started:?}");
    for (path, label) in started.keys() {
        let expected: &[ReasonLabel] = match path {
            StartPath::Restored => &[ReasonLabel::Match],
            StartPath::Booted => &[
                ReasonLabel::Absent,
                ReasonLabel::Damaged,
                ReasonLabel::RestoreFailed,
            ],
        };
        ensure!(expected.contains(label), "{started:?}");
    }
    node.imprint(&["factory", "destroy"]).succeed().map(drop)
}

fn lost() -> Error {
    Error::Unexpected("A thread was lost".to_owned())
}
