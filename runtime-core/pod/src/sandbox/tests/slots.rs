//! Where a root disk goes depends on what the guest's agent can find.

use std::process::Command;

use agent_client::FINDS_PRESENT_DEVICES;
use rootfs::{MOST_LAYERS, RootfsCache, prepare};

use super::*;

/// Whether images can be made here; says so if not.
fn possible() -> bool {
    let possible = Command::new("mkfs.erofs").arg("--help").output().is_ok();
    if !possible {
        eprintln!("SKIPPED: no mkfs.erofs");
    }
    possible
}

/// A container whose root is an image of the cache.
async fn of_an_image(id: &str, dir: &Path) -> NewContainer {
    let mut new = new_container(id, Stdio::default());
    new.bundle.path = dir.join(id);
    std::fs::create_dir_all(new.bundle.path.join("rootfs")).unwrap();
    let cache = RootfsCache::open(dir.join("cache"), 1 << 30).unwrap();
    let log = Logger::root(Discard, o!());
    let rootfs = prepare(&[], &new.bundle.rootfs(), &cache, MOST_LAYERS, &log).await;
    new.rootfs = rootfs.unwrap();
    new
}

/// How many disks are hot-plugged, and which slots are filled, once two containers are there, the
/// first of which the VM was started with.
async fn places(guest: Guest) -> (usize, Vec<u32>) {
    let slots = DiskSlots {
        count: 2,
        mib: 16,
        contents: vec!["/image".into()],
    };
    let f = Fixture::of(SIZING, guest, &slots).await;
    for id in [MAIN, "web"] {
        let container = of_an_image(id, f.dir.path()).await;
        f.sandbox.create(container).await.unwrap();
    }
    let filled = f.vm.filled.lock().clone();
    (f.vm.disks().len(), filled)
}

#[tokio::test]
async fn an_agent_that_finds_present_disks_gets_slots() {
    if possible() {
        let guest = Guest::with_feature(FINDS_PRESENT_DEVICES);
        assert_eq!(places(guest).await, (0, vec![1]));
    }
}

#[tokio::test]
async fn the_stock_agent_gets_hot_plugged_disks() {
    if possible() {
        assert_eq!(places(Guest::with_feature("guest-pull")).await, (2, vec![]));
        let silent = Guest::default();
        assert_eq!(places(silent).await, (2, vec![]));
    }
}
