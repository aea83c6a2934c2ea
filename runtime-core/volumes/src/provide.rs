//! Brings all volumes of one container into the guest.

use std::{path::Path, sync::Arc};

use oci::{GUEST_SHARED, GuestSpec, HostBind};
use sha2::{Digest, Sha256};
use slog::{debug, warn};
use system::encoding::hex;
use tokio::task::spawn_blocking;

use super::{
    Copy, HeldVolumes, Provided, Taken, Termination, VolumeError, Volumes, Watcher,
    classify::{Asked, Way, classify, copy_name, plain, shared_path},
    direct,
    empty_dir::{self, Making},
    kubelet::{self, Place},
    look::{self, Source, Whole},
    owner::Owner,
    termination::PATH_ANNOTATION,
    tree::{Limits, Summary},
};

/// How much kubelet writes for one volume. The API server takes no object over 1 MiB; a projected
/// volume is made of several.
const CONFIG: Limits = Limits {
    bytes: 16 << 20,
    entries: 4096,
    key: "volumes that kubelet writes",
};
/// Files, directories and links of one path of the host.
const HOST_ENTRIES: u32 = 16_384;
/// The configuration's key.
const HOST_LIMIT: &str = "host_path_copy_limit_mib, for all of a pod";

/// A source, and what was decided.
struct Looked {
    source: Source,
    way: Way,
    owner: Owner,
    /// The volume that it is a part of.
    whole: Option<Whole>,
}

/// Whether a copy is kept up to date.
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
    /// The first volume that cannot be had. Disks are unplugged again.
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
        let Looked {
            source,
            way,
            owner,
            whole,
        } = self.look(container, bind).await?;
        debug!(self.log, "volume"; "container" => container,
            "destination" => %bind.destination.display(), "way" => ?way);
        match way {
            Way::Config | Way::PodFile => {
                // What a runtime writes for a pod hardly ever changes; a Secret does.
                let watched = match way {
                    Way::Config => Watched::Always,
                    _ => Watched::IfPossible,
                };
                let (target, _) = self
                    .copied(
                        source,
                        bind,
                        (CONFIG, watched),
                        Vec::new(),
                        &mut provided.held,
                    )
                    .await?;
                spec.provide(bind, &target);
            }
            Way::Snapshot { wanted_to_write } => {
                let (target, memory) = self.snapshot(source, bind, &mut provided.held).await?;
                for inner in memory {
                    let inside = format!("{target}/{inner}");
                    spec.provide_inner(bind, &inner, &inside)
                        .map_err(|error| refused(bind, error.to_string()))?;
                }
                if wanted_to_write {
                    warn!(self.log, "path of the host is a read-only copy in the guest";
                        "container" => container, "path" => %bind.source.display(),
                        "destination" => %bind.destination.display());
                }
                spec.provide_read_only(bind, &target);
            }
            Way::TerminationLog => {
                provided.held.termination = Some(Termination::of(&source)?);
                // Of this container alone, unlike other copies.
                let copy = Copy::new(source, bind.guest_path.clone(), false, CONFIG);
                copy.refresh(&self.agent).await?;
                spec.annotate(PATH_ANNOTATION, &bind.destination.to_string_lossy());
                spec.provide(bind, &bind.guest_path);
            }
            Way::Memory { .. } | Way::HugePages { .. } | Way::Scratch { .. } => {
                let making = self.making(&way, &source, spec);
                let path = self.make(making, provided).await?;
                spec.provide(bind, &path);
            }
            Way::PartOfEmptyDir { .. } => {
                let making = self.part(&owner, bind, &source, whole, spec)?;
                let path = self.make(making, provided).await?;
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

    /// Opens the source and decides. Not on the runtime's threads: a host's path may hang.
    async fn look(&self, container: &str, bind: &HostBind) -> Result<Looked, VolumeError> {
        let (bind, settings) = (bind.clone(), self.settings.clone());
        let mut owner = self.owner(container);
        let path = bind.source.clone();
        let looking = spawn_blocking(move || {
            let source = Source::open(&bind.source)?;
            let root = &settings.kubelet_root;
            // A node without kubelet has none.
            owner.pods = owner.pods.canonicalize().unwrap_or(owner.pods);
            let whole = match owner.place(root, &bind.source, &source.real) {
                Some(Place::Subpath { name }) => look::whole_of(root, &owner, &source, name)?,
                _ => None,
            };
            let direct = direct::left_for(&settings.direct_volumes, &bind.source)?;
            let asked = Asked {
                source: &bind.source,
                real: &source.real,
                owner: &owner,
                destination: &bind.destination,
                read_only: bind.read_only(),
                options: &bind.options,
                fs_type: bind.fs_type.as_deref(),
                direct: direct.as_ref(),
                part_of: whole.as_ref().map(|whole| whole.plugin.as_str()),
            };
            let way = classify(&asked, &source.facts, &settings)
                .map_err(|reason| refused(&bind, reason))?;
            Ok(Looked {
                source,
                way,
                owner,
                whole,
            })
        });
        looking.await.unwrap_or(Err(VolumeError::Ended { path }))
    }

    /// What this pod is known by, kubelet's directory as it is configured.
    fn owner(&self, container: &str) -> Owner {
        Owner {
            uid: self.pod_uid.clone(),
            pods: kubelet::pods(&self.settings.kubelet_root),
            ids: [self.sandbox.clone(), container.to_owned()],
        }
    }

    /// A copy that the sandbox's containers share: its path in the guest, and what was copied.
    async fn copied(
        &self,
        source: Source,
        bind: &HostBind,
        (limits, watched): (Limits, Watched),
        memory: Vec<String>,
        held: &mut HeldVolumes,
    ) -> Result<(String, Summary), VolumeError> {
        let target = self.target(&source.path);
        let recursive = bind.options.iter().any(|option| option == "rbind");
        let copy = self.copies.of(source.identity, || {
            Copy::new(source, target, recursive, limits).leaving(memory)
        })?;
        match (watched, self.watch(&copy, watched).await) {
            (_, Ok(())) => {}
            (Watched::IfPossible, Err(error)) => {
                warn!(self.log, "file of the pod is not kept up to date";
                    "path" => %copy.source.path.display(), "error" => %error);
            }
            (_, Err(error)) => return Err(error),
        }
        let summary = copy.refresh(&self.agent).await?;
        if summary.left_out > 0 {
            warn!(self.log, "sockets, fifos, devices or other file systems were not copied";
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

    /// A copy of the host's files, within what is left of the sandbox's allowance; and the paths in it
    /// that stay writable, if the mount does not ask for the contrary: memory of the host, mounted below.
    async fn snapshot(
        &self,
        source: Source,
        bind: &HostBind,
        held: &mut HeldVolumes,
    ) -> Result<(String, Vec<String>), VolumeError> {
        let target = self.target(&source.path);
        // Held while it is copied, so that two at once do not each take what is left.
        let mut taken = self.taken.lock().await;
        let others = taken.iter().filter(|(path, _)| **path != target);
        let others: u64 = others.map(|(_, taken)| taken.bytes).sum();
        let before = taken.get(&target).map(|taken| taken.memory.clone());
        let limits = Limits {
            bytes: self.settings.host_path_limit.saturating_sub(others),
            entries: HOST_ENTRIES,
            key: HOST_LIMIT,
        };
        // A directory that is replaced as kubelet does it is kept up to date as kubelet's are.
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
        let now = Taken {
            bytes: copied.bytes,
            memory: copied.memory.clone(),
        };
        taken.insert(target.clone(), now);
        let all_read_only = bind.options.iter().any(|option| option == "rro");
        let memory = match all_read_only {
            true => Vec::new(),
            false => copied.memory,
        };
        Ok((target, memory))
    }

    fn target(&self, source: &Path) -> String {
        let digest = Sha256::digest(source.as_os_str().as_encoded_bytes());
        let name = copy_name(source, &hex(&digest[..8]));
        shared_path(GUEST_SHARED, &self.sandbox, &name.to_string_lossy())
    }

    fn making(&self, way: &Way, source: &Source, spec: &GuestSpec) -> Making {
        let huge = match way {
            Way::HugePages { page_bytes, .. } => spec.huge_page_limit(*page_bytes),
            _ => None,
        };
        empty_dir::making(way, &self.sandbox, &source.facts, huge)
    }

    /// A directory within an `emptyDir`.
    fn part(
        &self,
        owner: &Owner,
        bind: &HostBind,
        source: &Source,
        whole: Option<Whole>,
        spec: &GuestSpec,
    ) -> Result<Making, VolumeError> {
        let Some(Whole { volume, part, .. }) = whole else {
            return Err(refused(
                bind,
                "it is not found within its emptyDir".to_owned(),
            ));
        };
        if plain(&part).is_none() {
            return Err(refused(
                bind,
                "its path within its emptyDir is not plain".to_owned(),
            ));
        }
        let asked = Asked {
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
            self.making(&way, &volume, spec),
            &part,
            &source.facts,
        ))
    }

    /// Makes directories that were not made yet, and notes storages.
    async fn make(&self, making: Making, provided: &mut Provided) -> Result<String, VolumeError> {
        for directory in making.directories {
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
        for storage in making.storages {
            if !provided
                .storages
                .iter()
                .any(|other| other.mount_point == storage.mount_point)
            {
                provided.storages.push(storage);
            }
        }
        Ok(making.path)
    }
}

pub(super) fn refused(bind: &HostBind, reason: String) -> VolumeError {
    VolumeError::Refused {
        destination: bind.destination.clone(),
        source_path: bind.source.clone(),
        reason,
    }
}
