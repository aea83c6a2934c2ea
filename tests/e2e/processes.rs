//! The limit of a container's processes, which the CRI has no field for.

use std::{fs, path::Path};

use e2e_tests::harness::Case;
use playground::{Error, Result, ensure, node::Node};
use serde_json::{Value, json};

pub fn cases() -> Vec<Case> {
    vec![Case::new("processes_are_limited", limited)]
}

/// Begins 60 processes in turn; the shell tells of those that it could not.
const FORKS: &str = "n=0; while [ $n -lt 60 ]; do n=$((n+1)); sleep 100 & done; echo all";

fn limited(node: &Node) -> Result<()> {
    let root = node.directory().join("limited");
    let binaries = root.join("bin");
    fs::create_dir_all(&binaries).map_err(Error::io("Making", &binaries))?;
    for name in ["busybox", "sh", "sleep"] {
        let path = binaries.join(name);
        fs::copy("/usr/bin/busybox", &path).map_err(Error::io("Copying", &path))?;
    }
    let ended = run(node, &root, json!({"limit": 30}), "limited")?;
    ensure!(
        ended.contains("can't fork: Resource temporarily unavailable") && !ended.contains("all"),
        "{ended}"
    );
    let free = run(node, &root, json!({"limit": -1}), "free")?;
    ensure!(
        free.contains("all") && !free.contains("can't fork"),
        "{free}"
    );
    Ok(())
}

/// What a container prints whose specification has this limit.
fn run(node: &Node, root: &Path, pids: Value, name: &str) -> Result<String> {
    let text = node.ctr().call(&["oci", "spec"]).succeed()?;
    let mut spec: Value = serde_json::from_str(&text)
        .map_err(|error| Error::Unexpected(format!("The specification of ctr: {error}")))?;
    spec["root"] = json!({"path": root, "readonly": false});
    spec["process"]["args"] = json!(["/bin/sh", "-c", FORKS]);
    spec["process"]["terminal"] = json!(false);
    spec["linux"]["resources"]["pids"] = pids;
    let id = node.unique_id(name);
    spec["linux"]["cgroupsPath"] = json!(format!("/{id}"));
    let path = node.directory().join(format!("{name}.json"));
    fs::write(&path, spec.to_string()).map_err(Error::io("Writing", &path))?;
    let ended = node.ctr().run_spec(&path.to_string_lossy(), &id).run()?;
    Ok(format!("{}{}", ended.stdout, ended.stderr))
}
