//! A VM's state out to files and in from them.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use system::file;

use super::{
    api::calls::{Info, VmInfo, VmRestore, VmSnapshot, url},
    launch::Vmm,
    nic,
    saved::{LIMIT, SAVED_CONFIG, SAVED_MEMORY, SAVED_STATE, SavedConfig},
    saved_state::unannounced,
    version::Version,
};
use crate::{Error, Result, VmSpec, error::io_error};

const FILES: [&str; 3] = [SAVED_CONFIG, SAVED_STATE, SAVED_MEMORY];

/// Name of the directory with the files of one VM's restore, within its run directory.
const OWN_FILES: &str = "saved";

/// What one VM is restored from: a configuration that names its own memory, sockets and disks, and
/// links to what was saved. The directory goes with the value: the VMM has read it all when the
/// restore is over.
#[derive(Debug)]
pub struct OwnFiles(PathBuf);

impl OwnFiles {
    /// For the VM of `spec`, of what was saved in `saved`.
    ///
    /// # Errors
    /// What was saved cannot be that VM, or a file cannot be read or made. Nothing is left.
    pub fn of(spec: &VmSpec, saved: &Path) -> Result<Self> {
        let config = fitted(spec, &saved.join(SAVED_CONFIG))?;
        let dir = spec.run_dir.join(OWN_FILES);
        let made = DirBuilder::new().mode(0o700).create(&dir);
        made.map_err(io_error("Making", &dir))?;
        // From here on, an error removes the directory.
        let own = Self(dir);
        let path = own.dir().join(SAVED_CONFIG);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(&config))
            .map_err(io_error("Writing", &path))?;
        // A template is on a file system of its own, so no hard links.
        for name in [SAVED_STATE, SAVED_MEMORY] {
            let (there, path) = (saved.join(name), own.dir().join(name));
            // Memory that was in a file of its own was not written again.
            if name == SAVED_STATE || there.exists() {
                symlink(there, &path).map_err(io_error("Linking", &path))?;
            }
        }
        Ok(own)
    }

    /// The directory that holds them.
    pub fn dir(&self) -> &Path {
        &self.0
    }
}

impl Drop for OwnFiles {
    fn drop(&mut self) {
        // What stays is in the VM's run directory and goes with that.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The configuration in the file `path` as that of the VM of `spec`.
fn fitted(spec: &VmSpec, path: &Path) -> Result<Vec<u8>> {
    let text = file::read(path, LIMIT).map_err(io_error("Reading", path))?;
    let own = SavedConfig::parse(&text).and_then(|saved| saved.fitted(spec)?.encode());
    own.map_err(|error| Error::InvalidSpec(format!("{}: {error}", path.display())))
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

/// Writes the state of a paused VM into `dir`. A VM that is restored from it sends no
/// announcement: its network interface, if it `has_nic`, has an address of its own only later.
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
