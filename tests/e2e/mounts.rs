//! Mounts of a specification that is written by hand: sizes, what is read-only, propagation.

use std::{fs, path::Path};

use e2e_tests::harness::Case;
use nix::mount::{MsFlags, mount, umount};
use playground::{Error, Result, ctr::Run, ensure, node::Node};

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("mounts::are_what_the_specification_says", as_specified),
        Case::new("mounts::one_that_fails_is_named", refused),
    ]
}

fn with(run: Run, kind: &str, source: &Path, destination: &str, options: &str) -> Run {
    let source = source.display();
    run.flag("--mount").flag(&format!(
        "type={kind},src={source},dst={destination},options={options}"
    ))
}

fn as_specified(node: &Node) -> Result<()> {
    let tree = node.directory().join(node.unique_id("tree"));
    let inner = tree.join("inner");
    fs::create_dir_all(&inner).map_err(Error::io("Making", &inner))?;
    let kind = Some("tmpfs");
    mount(kind, &inner, kind, MsFlags::empty(), Some("size=1m"))
        .map_err(|errno| Error::io("Mounting", &inner)(errno.into()))?;
    let run = with(
        node.run("mounts"),
        "tmpfs",
        Path::new("shm"),
        "/dev/shm",
        "size=256m",
    );
    let run = with(run, "bind", &tree, "/ro", "rbind:ro:rslave");
    let run = with(run, "bind", &tree, "/all/of/it", "rbind:rro:rprivate");
    let run = with(
        run,
        "tmpfs",
        Path::new("own"),
        "/all/of/own",
        "size=1m:mode=0700",
    );
    let script = "df -k /dev/shm /all/of/own | awk '/[0-9]%/ { print $2 }'; \
        stat -c %a /all/of/own; \
        for d in /ro /ro/inner /all/of/it /all/of/it/inner; do \
        touch $d/f 2> /dev/null && echo \"$d written\" || echo \"$d read-only\"; done";
    let ended = run.shell(script).run();
    umount(&inner).map_err(|errno| Error::io("Unmounting", &inner)(errno.into()))?;
    let ended = ended?;
    let expected = "262144\n1024\n700\n/ro read-only\n/ro/inner written\n\
        /all/of/it read-only\n/all/of/it/inner read-only\n";
    ensure!(ended.code == 0 && ended.stdout == expected, "{ended:?}");
    Ok(())
}

fn refused(node: &Node) -> Result<()> {
    let source = Path::new("tmpfs");
    for (destination, options, words) in [
        (
            "/tmp",
            "size=much",
            "Could not mount a tmpfs at /tmp (size=much): Invalid argument",
        ),
        (
            "/etc/passwd",
            "size=1m",
            "Could not mount a tmpfs at /etc/passwd (size=1m): Not a directory",
        ),
    ] {
        let run = with(node.run("refused"), "tmpfs", source, destination, options);
        let ended = run.shell("true").run()?;
        ensure!(
            ended.code != 0 && ended.stderr.contains(words) && !ended.stderr.contains("rootfs:"),
            "{ended:?}"
        );
    }
    Ok(())
}
