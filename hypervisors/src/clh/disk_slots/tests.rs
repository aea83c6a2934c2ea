//! Slots without a VMM: with the loop devices that this machine has.

use std::{fs, path::Path};

use serde_json::json;

use super::*;
use crate::{DiskSlots, sample};

const MIB: u32 = 1;
const BYTES: u64 = 1 << 20;

fn image(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, name).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(BYTES).unwrap();
    path
}

fn spec(dir: &Path, contents: Vec<PathBuf>) -> VmSpec {
    let run_dir = dir.join("vm");
    fs::create_dir_all(&run_dir).unwrap();
    let slots = DiskSlots {
        count: 2,
        mib: MIB,
        contents,
    };
    VmSpec {
        run_dir,
        slots,
        ..sample::spec()
    }
}

fn info() -> Info {
    let device = |slot: u32| {
        let place = format!("0000:00:0{}.0", slot + 1);
        json!({"children": [name(slot)], "pci_bdf": place})
    };
    let tree = json!({"one": device(0), "two": device(1)});
    serde_json::from_value(json!({"state": "Running", "device_tree": tree})).unwrap()
}

fn log() -> slog::Logger {
    slog::Logger::root(slog::Discard, slog::o!())
}

fn read(path: &Path) -> String {
    let text = fs::read(path).unwrap();
    assert!(text.len() as u64 >= BYTES);
    String::from_utf8_lossy(&text[..5]).into_owned()
}

fn entries(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

#[tokio::test]
async fn the_vmm_finds_an_image_or_what_will_show_one() {
    let dir = tempfile::tempdir().unwrap();
    let (first, other) = (image(dir.path(), "first"), image(dir.path(), "other"));
    if let Err(error) = LoopDevice::attach(&File::open(&first).unwrap(), BYTES) {
        return eprintln!("SKIPPED: no loop device: {error}");
    }
    let spec = spec(dir.path(), vec![first]);
    let prepared = PreparedSlots::new(&spec, &log()).await.unwrap();
    assert_eq!(read(&slot_link(&spec.run_dir, 0)), "first");
    let device = fs::read_link(slot_link(&spec.run_dir, 1)).unwrap();
    assert_eq!(read(&device), "\0\0\0\0\0");

    let slots = prepared.placed(&info()).unwrap();
    assert_eq!(entries(&spec.run_dir), 0);
    assert_eq!(slots.place(1).unwrap().to_string(), "02");
    assert_eq!(slots.place(2), None);
    slots.fill(1, &other).await.unwrap();
    assert_eq!(read(&device), "other");
    slots.empty(1).await.unwrap();
    assert_eq!(read(&device), "\0\0\0\0\0");
    let stays = slots.empty(0).await.unwrap_err().to_string();
    assert!(stays.contains("no loop device"), "{stays}");
}

#[tokio::test]
async fn what_cannot_be_made_ready_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(dir.path(), vec![image(dir.path(), "first")]);
    fs::write(slot_link(&spec.run_dir, 1), "in its way").unwrap();
    let error = PreparedSlots::new(&spec, &log())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("slot-1"), "{error}");
    assert_eq!(entries(&spec.run_dir), 1);

    let nowhere: Info = serde_json::from_value(json!({"state": "Running"})).unwrap();
    fs::remove_file(slot_link(&spec.run_dir, 1)).unwrap();
    let prepared = PreparedSlots::new(&spec, &log()).await.unwrap();
    assert!(prepared.placed(&nowhere).is_err());
    assert_eq!(entries(&spec.run_dir), 0);
}
