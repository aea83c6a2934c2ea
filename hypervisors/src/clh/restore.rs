//! A VM's state out to files and in from them.

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    api::calls::{Info, VmInfo, VmRestore, VmSnapshot, url},
    launch::Vmm,
    nic,
    saved::{SAVED_CONFIG, SAVED_MEMORY, SAVED_STATE, SavedConfig},
    saved_state::unannounced,
    version::Version,
};
use crate::{Error, Result, VmSpec, error::io_error};

const FILES: [&str; 3] = [SAVED_CONFIG, SAVED_STATE, SAVED_MEMORY];

/// Checks that what lies in `dir` is the VM of `spec`: the monitor would restore what it finds.
pub fn check(spec: &VmSpec, dir: &Path) -> Result<()> {
    let path = dir.join(SAVED_CONFIG);
    let text = fs::read(&path).map_err(io_error("Reading", &path))?;
    let unusable = |why: String| Error::InvalidSpec(format!("{}: {why}", path.display()));
    let saved = SavedConfig::parse(&text).map_err(|error| unusable(error.to_string()))?;
    let fitted = saved
        .fitted(spec)
        .map_err(|error| unusable(error.to_string()))?;
    if fitted == saved {
        return Ok(());
    }
    Err(unusable(String::from(
        "it names the memory, sockets, root, disk slots or tap of another VM",
    )))
}

/// What became of a saved VM.
#[derive(Debug)]
pub struct Loaded {
    /// How long the VMM took.
    pub took: Duration,
    /// Its devices, and where they are.
    pub info: Info,
}

/// Restores what lies in `dir` as the VM of `spec`, which is paused then.
pub async fn load(vmm: &Vmm, version: Version, spec: &VmSpec, dir: &Path) -> Result<Loaded> {
    let (named, tap) = spec.nic.as_ref().map(nic::restored).transpose()?.unzip();
    let restore = VmRestore {
        source_url: url_of(dir)?,
        memory_restore_mode: version.memory_restore_mode(),
        net_fds: named.map(|nic| [nic]),
    };
    let start = Instant::now();
    vmm.call_with(&restore, tap).await?;
    let took = start.elapsed();
    let info = vmm.call(&VmInfo).await?;
    match info.state.as_str() {
        "Paused" => Ok(Loaded { took, info }),
        state => Err(Error::Protocol(format!(
            "a restored VM is {state} and not Paused"
        ))),
    }
}

/// Writes the state of a paused VM into `dir`. A VM that is restored from it announces itself to
/// nobody: its network interface, if it `has_nic`, has an address of its own only later.
///
/// # Errors
/// On any, what was written is gone again.
pub async fn save(vmm: &Vmm, dir: &Path, has_nic: bool) -> Result<()> {
    let destination_url = url_of(dir)?;
    for file in FILES {
        let path = dir.join(file);
        // The VMM would write beside what is there, and leave the rest of it.
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("Looking at", &path)(error)),
            Ok(_) => {
                return Err(io_error("Creating", &path)(
                    io::ErrorKind::AlreadyExists.into(),
                ));
            }
        }
    }
    let unfinished = Unfinished(Some(dir));
    vmm.call(&VmSnapshot { destination_url }).await?;
    if has_nic {
        silence(&dir.join(SAVED_STATE))?;
    }
    unfinished.keep();
    Ok(())
}

/// Changes a saved state into one that announces nothing.
fn silence(path: &Path) -> Result<()> {
    let text = fs::read(path).map_err(io_error("Reading", path))?;
    match unannounced(&text) {
        Err(error) => Err(Error::Protocol(format!("{}: {error}", path.display()))),
        Ok(None) => Ok(()),
        Ok(Some(text)) => fs::write(path, text).map_err(io_error("Writing", path)),
    }
}

fn url_of(dir: &Path) -> Result<String> {
    url(dir).ok_or_else(|| {
        Error::InvalidSpec(format!("{} is no absolute path in UTF-8", dir.display()))
    })
}

/// Files that are removed unless all were written.
struct Unfinished<'a>(Option<&'a Path>);

impl Unfinished<'_> {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let Some(dir) = self.0 else { return };
        for file in FILES {
            let _ = fs::remove_file(dir.join(file));
        }
    }
}
