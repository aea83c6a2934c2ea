//! A template that was found: its manifest is read, and a lease keeps its files in place.

use std::{
    fs::{File, TryLockError},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use hypervisors::{MemoryBacking, MemorySpec, VmSize, VmSpec};

use crate::{
    failures,
    layout::{MANIFEST, MEMORY},
    manifest::Manifest,
    private_files,
    source_file::{FileStamp, memory_digest, sha256},
    unusable::Unusable,
};

/// A template that was found. As long as the value lives, its files stay where they are.
#[derive(Debug)]
pub struct Template {
    dir: PathBuf,
    manifest: Manifest,
    /// The open manifest, locked shared. A command that removes a template first waits for an
    /// exclusive lock.
    _lease: File,
}

impl Template {
    /// Takes a lease of the template in `dir`. `None` if there is none, or it is being removed.
    ///
    /// # Errors
    /// Its manifest cannot be used.
    pub(crate) fn open(dir: &Path) -> Result<Option<Self>, Unusable> {
        let path = dir.join(MANIFEST);
        let opened = private_files::open_dir(dir).and_then(|_| private_files::open_file(&path));
        let (mut file, _) = match opened {
            // Whatever else is wrong with it, a directory without a manifest is no template.
            Err(_) if is_missing(&path) => return Ok(None),
            other => other?,
        };
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(Unusable::unreadable(&path, &e)),
        }
        let links = file
            .metadata()
            .map_err(|e| Unusable::unreadable(&path, &e))?
            .nlink();
        if links == 0 {
            return Ok(None);
        }
        let manifest = Manifest::decode(&mut file)?;
        Ok(Some(Self {
            dir: dir.to_owned(),
            manifest,
            _lease: file,
        }))
    }

    /// The directory of its files, from which a VMM loads the state.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its manifest: what it was made from, and what its files must be.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of what it was made from, in hex.
    pub fn key(&self) -> &str {
        &self.manifest.key
    }

    /// The size that its clones have when they are restored.
    pub fn size(&self) -> VmSize {
        self.manifest.identity.size
    }

    /// The size that its clones can grow to.
    pub fn max_size(&self) -> VmSize {
        self.manifest.identity.max_size
    }

    /// The VM to restore for the pod that asked for `spec`: `spec` with the template's size, and
    /// the template's memory mapped copy-on-write.
    pub fn clone_spec(&self, spec: &VmSpec) -> VmSpec {
        let backing = MemoryBacking::File {
            path: self.dir.join(MEMORY),
            shared: false,
        };
        let (size, max_size) = (self.size(), self.max_size());
        VmSpec {
            vcpus: size.vcpus,
            max_vcpus: max_size.vcpus,
            memory: MemorySpec {
                mib: size.memory_mib,
                max_mib: max_size.memory_mib,
                backing,
            },
            ..spec.clone()
        }
    }

    /// Checks that its files are those that were saved. The memory is compared by its stamp, which
    /// a write or a truncation changes; the state is read in full.
    pub(crate) fn check_files(&self) -> Result<(), Unusable> {
        let path = self.dir.join(MEMORY);
        let (_, meta) = private_files::open_file(&path)?;
        let (found, saved) = (FileStamp::of(&meta), self.manifest.memory.stamp);
        if found.size != saved.size {
            return Err(damaged(
                &path,
                &format!("has {} bytes, not {}", found.size, saved.size),
            ));
        }
        if found != saved {
            return Err(damaged(&path, &"was changed or replaced"));
        }
        for saved in &self.manifest.state {
            let path = self.dir.join(&saved.name);
            let (mut file, meta) = private_files::open_file(&path)?;
            let length = meta.len();
            if length != saved.length {
                return Err(damaged(
                    &path,
                    &format!("has {length} bytes, not {}", saved.length),
                ));
            }
            let digest = sha256(&mut file).map_err(|e| Unusable::unreadable(&path, &e))?;
            if digest != saved.sha256 {
                return Err(damaged(&path, &"is not what was saved"));
            }
        }
        Ok(())
    }

    /// Checks that the memory, read in full, is what was saved. Takes as long as reading it does.
    ///
    /// # Errors
    /// It is not what was saved, or it cannot be read.
    pub fn verify_memory(&self) -> Result<(), Unusable> {
        let path = self.dir.join(MEMORY);
        let (mut file, _) = private_files::open_file(&path)?;
        let digest = memory_digest(&mut file).map_err(|e| Unusable::unreadable(&path, &e))?;
        if digest == self.manifest.memory.digest {
            Ok(())
        } else {
            Err(damaged(&path, &"is not what was saved"))
        }
    }

    /// Refuses a template whose last restores all failed.
    pub(crate) fn check_record(&self) -> Result<(), Unusable> {
        failures::check(&self.dir)
    }

    /// Records that a restore failed.
    pub(crate) fn record_failure(&self, reason: &str) -> std::io::Result<()> {
        failures::add(&self.dir, reason)
    }

    /// Records that a restore succeeded: failures before it do not count any more.
    pub(crate) fn record_success(&self) -> std::io::Result<()> {
        failures::clear(&self.dir)
    }
}

fn is_missing(path: &Path) -> bool {
    path.symlink_metadata()
        .is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound)
}

fn damaged(path: &Path, why: &dyn std::fmt::Display) -> Unusable {
    Unusable::Damaged {
        what: format!("{} {why}", path.display()),
    }
}
