//! Snapshotters that give disks: what they made is what the guest mounts, and nothing is packed.

use e2e_tests::harness::Case;
use playground::{
    Error, Result, ensure,
    image::{self, LAYERED},
    node::Node,
};

/// What the image's layers add up to, and that more can be written over them.
const LOOK: &str = "cat /layers/changed; ls /layers; ls /layers/old; echo mine > /layers/mine; \
                    cat /layers/mine; grep ' / ' /proc/mounts";

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("a_snapshot_of_blockfile_is_the_root_disk", blockfile),
        Case::new("layers_of_erofs_are_disks_each", erofs),
    ]
}

/// The disk is the snapshot itself: what is written stays in it.
fn blockfile(node: &Node) -> Result<()> {
    needs(node, 1, 7, "its blockfile snapshotter")?;
    let mounted = look(node, "blockfile")?;
    ensure!(mounted.contains(" / ext4 rw"), "{mounted}");
    Ok(())
}

/// A disk for each layer, and an overlay of them in the guest.
fn erofs(node: &Node) -> Result<()> {
    needs(node, 2, 1, "its erofs snapshotter")?;
    let mounted = look(node, "erofs")?;
    let options = mounted.split([' ', ',']);
    let lower = options.filter_map(|option| option.strip_prefix("lowerdir="));
    let layers = lower.flat_map(|lower| lower.split(':')).count();
    ensure!(layers == 3, "{layers} layers: {mounted}");
    Ok(())
}

fn needs(node: &Node, major: u32, minor: u32, what: &str) -> Result<()> {
    let release = &node.artefacts().containerd;
    if release.at_least(major, minor) {
        return Ok(());
    }
    Err(Error::Unavailable {
        what: what.to_owned(),
        reason: format!("this is {release}"),
    })
}

/// Runs the image from this snapshotter and answers how its root is mounted in the guest.
fn look(node: &Node, snapshotter: &str) -> Result<String> {
    let archive = image::layered_archive(&node.artefacts().images)?;
    node.ctr().import_into(snapshotter, &archive)?;
    let mark = node.mark();
    let run = node.run(snapshotter).image(LAYERED, snapshotter);
    let output = run.shell(LOOK).succeed();
    node.ctr().remove_image(LAYERED)?;
    let output = output?;
    let mounted = output
        .strip_prefix("three\nchanged\nold\nmine\n")
        .ok_or_else(|| Error::Unexpected(format!("The layers were {output:?}")))?;
    let packed = node.log().since(mark).contains("root file system packed");
    ensure!(!packed, "The layers were packed");
    Ok(mounted.trim().to_owned())
}
