//! Brings all volumes of one container into the guest.

use std::{path::Path, sync::Arc};

use oci::{GUEST_SHARED, GuestSpec, HostBind};
use sha2::{Digest, Sha256};
use slog::{debug, warn};
use system::{encoding::hex, error::chain};
use tokio::task::spawn_blocking;

use super::{
    Copy, HeldVolumes, HostCopy, Provided, Termination, VolumeError, Volumes, Watcher,
    classify::{BindRequest, Way, classify, copy_name, plain_path, shared_path},
    direct,
    empty_dir::{self, EmptyDir},
    kubelet::{self, KubeletPath},
    owner::Owner,
    source::Source,
    subpath::{self, Parent},
    termination::PATH_ANNOTATION,
    tree::{Limits, Summary},
};

/// Limits of a volume that kubelet writes. The API server accepts no object over 1 MiB; a projected
/// volume consists of several.
const CONFIG: Limits = Limits {
    bytes: 16 << 20,
    entries: 4096,
    key: "volumes that kubelet writes",
};
/// The most files, directories and links of one path of the host.
const HOST_ENTRIES: u32 = 16_384;
/// The configuration's key of the limit, for the error.
const HOST_LIMIT: &str = "host_path_copy_limit_mib, for all of a pod";

/// An open source, and how it reaches the guest.
struct Classified {
    source: Source,
    way: Way,
    owner: Owner,
    /// The volume that it is a part of.
    parent: Option<Parent>,
}

/// Whether a copy is updated after changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watched {
    Never,
    IfPossible,
    Always,
}

impl Volumes {
    /// Brings every bind mount and block device of `spec` into the guest.
    ///
    /// # Errors
    /// The first volume that cannot be provided. Disks are detached again.
    pub async fn provide(
        &self,
        container: &str,
        spec: &mut GuestSpec,
    ) -> Result<Provided, VolumeError> {
        let mut provided = Provided::default();
        match self.provide_all(container, spec, &mut provided).await {
            Ok(()) => Ok(provided),
            Err(error) => {
                provided.held.release(&*self.vm, &self.log).await;
                Err(error)
            }
        }
    }

    async fn provide_all(
        &self,
        container: &str,
        spec: &mut GuestSpec,
        provided: &mut Provided,
    ) -> Result<(), VolumeError> {
        for bind in spec.host_binds().to_vec() {
            self.bind(container, &bind, spec, provided).await?;
        }
        for device in spec.take_block_devices() {
            self.device(&device, spec, provided).await?;
        }
        Ok(())
    }

    async fn bind(
        &self,
        container: &str,
        bind: &HostBind,
        spec: &mut GuestSpec,
        provided: &mut Provided,
    ) -> Result<(), VolumeError> {
        let Classified {
            source,
            way,
            owner,
            parent,
        } = self.inspect(container, bind).await?;
        debug!(self.log, "volume classified"; "container" => container,
            "destination" => %bind.destination.display(), "way" => ?way);
        match way {
            Way::Config => {
                self.copy_file(source, bind, Watched::Always, spec, provided)
                    .await?;
            }
            // Files of a runtime hardly ever change, but Secrets do.
            Way::PodFile => {
                self.copy_file(source, bind, Watched::IfPossible, spec, provided)
                    .await?;
            }
            Way::Snapshot { wanted_to_write } => {
                self.copy_host_path(source, bind, spec, provided).await?;
                if wanted_to_write {
                    warn!(self.log, "host path copied read-only";
                        "container" => container, "path" => %bind.source.display(),
                        "destination" => %bind.destination.display());
                }
            }
            Way::TerminationLog => {
                self.copy_termination_log(source, bind, spec, provided)
                    .await?;
            }
            Way::Memory { .. } | Way::HugePages { .. } | Way::Scratch { .. } => {
                let volume = self.empty_dir(&way, &source, spec);
                let path = self.make_empty_dir(volume, provided).await?;
                spec.provide(bind, &path);
            }
            Way::PartOfEmptyDir { .. } => {
                let volume = self.part_of_empty_dir(&owner, bind, &source, parent, spec)?;
                let path = self.make_empty_dir(volume, provided).await?;
                spec.provide(bind, &path);
            }
            Way::FileSystem(direct) => {
                let path = self.file_system(bind, direct, provided).await?;
                spec.provide(bind, &path);
            }
            Way::RawDisk => self.raw_disk(bind, &source, spec, provided).await?,
        }
        Ok(())
    }

    /// Provides what kubelet or a runtime writes for a pod.
    async fn copy_file(
        &self,
        source: Source,
        bind: &HostBind,
        watched: Watched,
        spec: &mut GuestSpec,
        provided: &mut Provided,
    ) -> Result<(), VolumeError> {
        let limits = (CONFIG, watched);
        let (target, _) = self
            .copied(source, bind, limits, Vec::new(), &mut provided.held)
            .await?;
        spec.provide(bind, &target);
        Ok(())
    }

    /// Provides a path of the host, read-only but for the memory that is mounted below it.
    async fn copy_host_path(
        &self,
        source: Source,
        bind: &HostBind,
        spec: &mut GuestSpec,
        provided: &mut Provided,
    ) -> Result<(), VolumeError> {
        let (target, writable) = self.snapshot(source, bind, &mut provided.held).await?;
        for inner in writable {
            let inside = format!("{target}/{inner}");
            spec.provide_inner(bind, &inner, &inside)
                .map_err(|error| refused(bind, error.to_string()))?;
        }
        spec.provide_read_only(bind, &target);
        Ok(())
    }

    /// Provides the file for a termination message. Unlike other copies, it is for one container.
    async fn copy_termination_log(
        &self,
        source: Source,
        bind: &HostBind,
        spec: &mut GuestSpec,
        provided: &mut Provided,
    ) -> Result<(), VolumeError> {
        provided.held.termination = Some(Termination::open(&source)?);
        let copy = Copy::new(source, bind.guest_path.clone(), false, CONFIG);
        copy.refresh(&self.agent).await?;
        spec.annotate(PATH_ANNOTATION, &bind.destination.to_string_lossy());
        spec.provide(bind, &bind.guest_path);
        Ok(())
    }

    /// Opens the source and classifies it, on a thread that may block, since a path of the host may
    /// hang.
    async fn inspect(&self, container: &str, bind: &HostBind) -> Result<Classified, VolumeError> {
        let (bind, settings) = (bind.clone(), self.settings.clone());
        let mut owner = self.owner(container);
        let path = bind.source.clone();
        let inspecting = spawn_blocking(move || {
            let source = Source::open(&bind.source)?;
            let root = &settings.kubelet_root;
            // There is no such directory on a node without kubelet.
            owner.pods = owner.pods.canonicalize().unwrap_or(owner.pods);
            let parent = match owner.kubelet_path(root, &bind.source, &source.real) {
                Some(KubeletPath::Subpath { name }) => {
                    subpath::parent_volume(root, &owner, &source, name)?
                }
                _ => None,
            };
            let direct = direct::read(&settings.direct_volumes, &bind.source)?;
            let asked = BindRequest {
                source: &bind.source,
                real: &source.real,
                owner: &owner,
                destination: &bind.destination,
                read_only: bind.read_only(),
                options: &bind.options,
                fs_type: bind.fs_type.as_deref(),
                direct: direct.as_ref(),
                part_of: parent.as_ref().map(|parent| parent.plugin.as_str()),
            };
            let way = classify(&asked, &source.facts, &settings)
                .map_err(|reason| refused(&bind, reason))?;
            Ok(Classified {
                source,
                way,
                owner,
                parent,
            })
        });
        inspecting.await.unwrap_or(Err(VolumeError::Ended { path }))
    }

    /// Identifiers of this pod, with kubelet's directory as configured.
    fn owner(&self, container: &str) -> Owner {
        Owner {
            uid: self.pod_uid.clone(),
            pods: kubelet::pods(&self.settings.kubelet_root),
            ids: [self.sandbox.clone(), container.to_owned()],
        }
    }

    /// Makes or updates a copy that the sandbox's containers share. Returns its path in the guest,
    /// and what was copied.
    async fn copied(
        &self,
        source: Source,
        bind: &HostBind,
        (limits, watched): (Limits, Watched),
        writable: Vec<String>,
        held: &mut HeldVolumes,
    ) -> Result<(String, Summary), VolumeError> {
        let target = self.target(&source.path);
        let recursive = bind.options.iter().any(|option| option == "rbind");
        let copy = self.copies.get_or_make(source.identity, || {
            Copy::new(source, target, recursive, limits).keeping(writable)
        })?;
        match (watched, self.watch(&copy, watched).await) {
            (_, Ok(())) => {}
            (Watched::IfPossible, Err(error)) => {
                warn!(self.log, "file not watched for changes";
                    "path" => %copy.source.path.display(), "error" => chain(&error));
            }
            (_, Err(error)) => return Err(error),
        }
        let summary = copy.refresh(&self.agent).await?;
        if summary.left_out > 0 {
            warn!(self.log, "sockets, fifos, devices or other file systems not copied";
                "path" => %copy.source.path.display(), "count" => summary.left_out);
        }
        let target = copy.target.clone();
        held.copies.push(copy);
        Ok((target, summary))
    }

    async fn watch(&self, copy: &Arc<Copy>, watched: Watched) -> Result<(), VolumeError> {
        if watched == Watched::Never || copy.registration.get().is_some() {
            return Ok(());
        }
        let start = async { Watcher::start(self.agent.clone(), self.log.clone()) };
        self.watcher.get_or_try_init(|| start).await?.add(copy)
    }

    /// Copies files of the host, within what is left of the sandbox's limit. Returns the path in
    /// the guest, and the paths in it that stay writable: where memory of the host is mounted
    /// below, unless the mount is read-only recursively.
    async fn snapshot(
        &self,
        source: Source,
        bind: &HostBind,
        held: &mut HeldVolumes,
    ) -> Result<(String, Vec<String>), VolumeError> {
        let target = self.target(&source.path);
        // Locked while it is copied, so that two copies at a time do not both use what is left.
        let mut copies = self.host_copies.lock().await;
        let others = copies.iter().filter(|(path, _)| **path != target);
        let others: u64 = others.map(|(_, copy)| copy.bytes).sum();
        let before = copies.get(&target).map(|copy| copy.writable.clone());
        let limits = Limits {
            bytes: self.settings.host_path_limit.saturating_sub(others),
            entries: HOST_ENTRIES,
            key: HOST_LIMIT,
        };
        // A directory that is replaced in one step is updated, as kubelet's are.
        let watched = match source.facts.versioned {
            true => Watched::Always,
            false => Watched::Never,
        };
        let (target, copied) = self
            .copied(
                source,
                bind,
                (limits, watched),
                before.unwrap_or_default(),
                held,
            )
            .await?;
        let copy = HostCopy {
            bytes: copied.bytes,
            writable: copied.writable.clone(),
        };
        copies.insert(target.clone(), copy);
        let all_read_only = bind.options.iter().any(|option| option == "rro");
        let writable = match all_read_only {
            true => Vec::new(),
            false => copied.writable,
        };
        Ok((target, writable))
    }

    /// Path in the guest for the copy of a source.
    fn target(&self, source: &Path) -> String {
        let digest = Sha256::digest(source.as_os_str().as_encoded_bytes());
        let name = copy_name(source, &hex(&digest[..8]));
        shared_path(GUEST_SHARED, &self.sandbox, &name.to_string_lossy())
    }

    fn empty_dir(&self, way: &Way, source: &Source, spec: &GuestSpec) -> EmptyDir {
        let huge = match way {
            Way::HugePages { page_bytes, .. } => spec.huge_page_limit(*page_bytes),
            _ => None,
        };
        empty_dir::whole(way, &self.sandbox, &source.facts, huge)
    }

    /// A file or directory within an `emptyDir`.
    fn part_of_empty_dir(
        &self,
        owner: &Owner,
        bind: &HostBind,
        source: &Source,
        parent: Option<Parent>,
        spec: &GuestSpec,
    ) -> Result<EmptyDir, VolumeError> {
        let Some(Parent { volume, part, .. }) = parent else {
            return Err(refused(
                bind,
                "it is not found within its emptyDir".to_owned(),
            ));
        };
        if plain_path(&part).is_none() {
            return Err(refused(
                bind,
                "its path within its emptyDir contains \"..\" or is not UTF-8".to_owned(),
            ));
        }
        let asked = BindRequest {
            source: &volume.path,
            real: &volume.real,
            owner,
            destination: &bind.destination,
            read_only: bind.read_only(),
            options: &bind.options,
            part_of: None,
            fs_type: None,
            direct: None,
        };
        let way = classify(&asked, &volume.facts, &self.settings)
            .map_err(|reason| refused(bind, reason))?;
        Ok(empty_dir::part(
            self.empty_dir(&way, &volume, spec),
            &part,
            &source.facts,
        ))
    }

    /// Makes the directories that were not made yet, and adds the storages to `provided`. Returns
    /// the volume's path in the guest.
    async fn make_empty_dir(
        &self,
        volume: EmptyDir,
        provided: &mut Provided,
    ) -> Result<String, VolumeError> {
        for directory in volume.directories {
            let path = directory.path.clone();
            if self.made.lock().contains(&path) {
                continue;
            }
            self.agent
                .copy_file(directory)
                .await
                .map_err(|source| VolumeError::Agent {
                    path: Path::new(&path).to_owned(),
                    source,
                })?;
            self.made.lock().insert(path);
        }
        for storage in volume.storages {
            if !provided
                .storages
                .iter()
                .any(|other| other.mount_point == storage.mount_point)
            {
                provided.storages.push(storage);
            }
        }
        Ok(volume.path)
    }
}

pub(super) fn refused(bind: &HostBind, reason: String) -> VolumeError {
    VolumeError::Refused {
        destination: bind.destination.clone(),
        source_path: bind.source.clone(),
        reason,
    }
}
