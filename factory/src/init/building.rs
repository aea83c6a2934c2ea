//! A template in the making: what was made of it so far, and how that is removed.

use std::{
    fs::{File, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use hypervisors::Vm;
use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, fallocate},
};

use system::{encoding::hex, file, random};

use super::InitError;
use crate::{
    identity::KnownIdentity,
    layout::{BUILDING, MANIFEST, MEMORY},
    manifest::{Manifest, MemoryFile, StateFile},
    private_files,
    source_file::{FileStamp, memory_digest, sha256},
    store::{TemplateStore, blocking, remove_unfinished},
    template::Template,
};

/// Directory of the source VM's sockets, within the unfinished template.
const RUN_DIR: &str = "vm";

/// What was made so far.
pub(super) struct Building {
    store: TemplateStore,
    dir: PathBuf,
    nonce: String,
    memory_bytes: u64,
    /// Whether shims can find it, and may have clones of it.
    published: bool,
    /// The source VM while it runs.
    pub(super) vm: Option<Arc<dyn Vm>>,
}

impl Building {
    /// Makes the directory in which the template is made. On an error nothing new is left.
    pub(super) fn new(store: &TemplateStore, memory_mib: u32) -> Result<Self, InitError> {
        let nonce =
            random::bytes::<16>().map_err(InitError::io("Naming a template in", store.path()))?;
        let nonce = hex(&nonce);
        let building = Self {
            dir: store.path().join(format!("{BUILDING}{nonce:.16}")),
            store: store.clone(),
            nonce,
            memory_bytes: u64::from(memory_mib) * 1024 * 1024,
            published: false,
            vm: None,
        };
        private_files::make_dir(&building.dir)
            .and_then(|()| private_files::make_dir(&building.run_dir()))
            .map_err(|source| {
                let _ = std::fs::remove_dir(&building.dir);
                InitError::io("Making", &building.dir)(source)
            })?;
        Ok(building)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn nonce(&self) -> &str {
        &self.nonce
    }

    pub(super) fn run_dir(&self) -> PathBuf {
        self.dir.join(RUN_DIR)
    }

    pub(super) fn memory(&self) -> PathBuf {
        self.dir.join(MEMORY)
    }

    /// Makes the memory file. Its length is exact, since some VMMs map it as they find it. All of
    /// its pages are allocated now: otherwise the first clone that writes to a page would allocate
    /// it for ever, and its pod would be charged for that page and for the clone's own one.
    pub(super) async fn make_memory(&self) -> Result<(), InitError> {
        let (path, bytes) = (self.memory(), self.memory_bytes);
        let place = path.clone();
        let make = move || {
            let file = file::make(&place)?;
            let length = i64::try_from(bytes).map_err(io::Error::other)?;
            // A signal to the thread interrupts it.
            while let Err(errno) = fallocate(&file, FallocateFlags::empty(), 0, length) {
                if errno != Errno::EINTR {
                    return Err(errno.into());
                }
            }
            Ok(())
        };
        blocking(make).await.map_err(InitError::io("Making", &path))
    }

    /// Describes what was saved in a manifest, and publishes the template. The source VM has ended.
    pub(super) async fn seal(
        &mut self,
        identity: KnownIdentity,
        created: u64,
    ) -> Result<Template, InitError> {
        let run_dir = self.run_dir();
        std::fs::remove_dir_all(&run_dir).map_err(InitError::io("Removing", &run_dir))?;
        let (dir, nonce) = (self.dir.clone(), self.nonce.clone());
        let described = blocking(move || describe(&dir, identity, nonce, created)).await;
        let manifest = described.map_err(InitError::io("Reading", &self.dir))?;

        let path = self.dir.join(MANIFEST);
        write_manifest(&path, &manifest).map_err(InitError::io("Writing", &path))?;
        let home = self
            .store
            .path()
            .join(format!("{:.16}-{:.8}", manifest.key, self.nonce));
        std::fs::rename(&self.dir, &home).map_err(InitError::io("Publishing", &home))?;
        self.dir = home.clone();
        self.published = true;
        link_memory(&self.store, &home)
            .map_err(InitError::io("Linking", &self.store.path().join(MEMORY)))?;
        match Template::open(&home) {
            Ok(Some(template)) => {
                template.check_files().map_err(InitError::Useless)?;
                Ok(template)
            }
            Ok(None) => Err(InitError::Useless(crate::Unusable::Absent { path: home })),
            Err(unusable) => Err(InitError::Useless(unusable)),
        }
    }

    /// Removes everything that was made, and adds to `left` what could not be removed.
    pub(super) async fn undo(self, left: &mut Vec<String>) {
        if let Some(vm) = &self.vm
            && let Err(e) = vm.kill().await
        {
            let pid = vm.process().pid;
            left.push(format!("VMM process {pid} ({e})"));
        }
        let removed = if self.published {
            self.store.retire(&self.dir).await
        } else {
            // Also finds a VMM whose start was interrupted before it became a VM.
            remove_unfinished(&self.dir).await
        };
        if let Err(e) = removed {
            left.push(format!("{} ({e})", self.dir.display()));
        }
    }
}

/// Reads the finished files, closes them to other users, and describes them.
fn describe(
    dir: &Path,
    identity: KnownIdentity,
    nonce: String,
    created: u64,
) -> io::Result<Manifest> {
    let mut state = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        std::fs::set_permissions(entry.path(), Permissions::from_mode(0o600))?;
        let Ok(name) = entry.file_name().into_string() else {
            return Err(io::Error::other(
                "the name of a file that the VMM saved is not UTF-8",
            ));
        };
        if name != MEMORY {
            let length = entry.metadata()?.len();
            let sha256 = sha256(&mut File::open(entry.path())?)?;
            state.push(StateFile {
                name,
                length,
                sha256,
            });
        }
    }
    state.sort_by(|a, b| a.name.cmp(&b.name));
    let mut memory = File::open(dir.join(MEMORY))?;
    let digest = memory_digest(&mut memory)?;
    let stamp = FileStamp::of(&memory.metadata()?);
    let memory = MemoryFile { stamp, digest };
    Ok(Manifest {
        key: identity.key(),
        nonce,
        created,
        identity,
        memory,
        state,
    })
}

fn write_manifest(path: &Path, manifest: &Manifest) -> io::Result<()> {
    let text = manifest.encode()?;
    file::make(path)?.write_all(&text)
}

/// Lets `<template_path>/memory`, where scripts expect a template, lead to the newest one.
fn link_memory(store: &TemplateStore, home: &Path) -> io::Result<()> {
    let Some(name) = home.file_name() else {
        return Ok(());
    };
    file::replace_link(&store.path().join(MEMORY), &Path::new(name).join(MEMORY))
}
