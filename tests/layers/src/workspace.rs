//! The workspace's crates, as Cargo has them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::Error;

/// A crate of the workspace.
#[derive(Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its directory, relative to the workspace's.
    pub place: String,
    /// Crates of the workspace that it depends on, for its tests too.
    pub uses: Vec<String>,
    /// The root files of its library and its binaries.
    pub roots: Vec<PathBuf>,
}

/// The crates of the workspace at `root`. Asks `cargo metadata`, which needs no network.
///
/// # Errors
/// Cargo did not answer, or not as it documents.
pub fn packages(root: &Path) -> Result<Vec<Package>, Error> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let answer = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .output()?;
    if !answer.status.success() {
        return Err(String::from_utf8_lossy(&answer.stderr).into());
    }
    let metadata: Value = serde_json::from_slice(&answer.stdout)?;
    let packages = list(&metadata["packages"]);
    packages.map(|value| package(root, value)).collect()
}

fn package(root: &Path, value: &Value) -> Result<Package, Error> {
    let manifest = Path::new(text(&value["manifest_path"])?);
    let place = manifest.parent().unwrap_or(root).strip_prefix(root)?;
    // Those with a path are the workspace's own.
    let own = list(&value["dependencies"]).filter(|dependency| !dependency["path"].is_null());
    let uses = own.map(|dependency| Ok(text(&dependency["name"])?.to_owned()));
    let kept = |target: &&Value| {
        list(&target["kind"]).any(|kind| matches!(kind.as_str(), Some("lib" | "bin")))
    };
    let targets = list(&value["targets"]).filter(kept);
    let roots = targets.map(|target| Ok(PathBuf::from(text(&target["src_path"])?)));
    Ok(Package {
        name: text(&value["name"])?.to_owned(),
        place: place.display().to_string(),
        uses: uses.collect::<Result<_, Error>>()?,
        roots: roots.collect::<Result<_, Error>>()?,
    })
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> Result<&str, Error> {
    value
        .as_str()
        .ok_or_else(|| format!("Expected text from cargo metadata, found {value}").into())
}
