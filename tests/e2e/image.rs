//! A guest whose root is a disk image: booted, restored, and what becomes of a template whose image
//! changed.

use std::{
    fs,
    io::{Seek, SeekFrom, Write},
    path::Path,
};

use e2e_tests::harness::Case;
use playground::{
    Error, Result, ensure,
    node::Node,
    settings::{Root, Settings},
};

use crate::{lifecycle::service, templating::end};

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("image::a_guest_boots_from_a_disk", booted),
        Case::new("image::a_clone_reads_the_disk_of_its_template", restored),
    ]
}

/// The node's settings with the other form of the guest.
fn settings(node: &Node, image: &Path) -> Settings {
    Settings {
        kernel: node.artefacts().image_kernel.clone(),
        root: Root::Image(image.to_owned()),
        ..node.settings()
    }
}

/// Runs a container whose guest must have started in this way.
fn runs(node: &Node, path: &str) -> Result<String> {
    let mark = node.mark();
    let (id, running) = service(node, "image")?;
    let start = node.start_since(mark)?;
    ensure!(start.path.as_str() == path, "{start:?}");
    let said = node
        .ctr()
        .exec(
            &id,
            "hello",
            &[],
            &["grep", "-c", "initrdmem", "/proc/cmdline"],
        )
        .succeed()?;
    ensure!(said == "1\n", "The guest has another kernel: {said}");
    end(node, &id, running)?;
    Ok(start.reason)
}

fn booted(node: &Node) -> Result<()> {
    node.configure(&settings(node, &node.artefacts().image))?;
    runs(node, "booted").map(drop)
}

fn restored(node: &Node) -> Result<()> {
    let image = node.directory().join("guest.img");
    fs::copy(&node.artefacts().image, &image).map_err(Error::io("Copying", &image))?;
    let settings = Settings {
        enable_template: true,
        ..settings(node, &image)
    };
    node.imprint(&["factory", "destroy"]).succeed()?;
    node.configure(&settings)?;
    node.imprint(&["factory", "init"]).succeed()?;
    runs(node, "restored")?;
    runs(node, "restored")?;

    // Its boot code, which nothing of a guest reads.
    let changing = Error::io("Changing", &image);
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).open(&image)?;
        file.seek(SeekFrom::Start(16))?;
        file.write_all(b"another")
    };
    write().map_err(changing)?;
    let reason = runs(node, "booted")?;
    ensure!(reason.contains("guest root"), "{reason}");
    println!("    {reason}");
    node.imprint(&["factory", "destroy"]).succeed()?;
    node.configure(&node.settings())?;
    fs::remove_file(&image).map_err(Error::io("Removing", &image))
}
