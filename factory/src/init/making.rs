//! All templates of one command: made one after the other, and removed together if one fails.

use std::path::PathBuf;

use hypervisors::VmSpec;

use super::{InitError, NewTemplates, Progress, building::Building, make, place};
use crate::{identity::TemplateIdentity, mount, store::TemplateStore, template::Template};

/// What a command has made so far.
pub(super) struct Making {
    store: TemplateStore,
    /// Whether the tmpfs was mounted for these templates, and so goes with them.
    mounted: bool,
    /// The template that is being made.
    building: Option<Building>,
    /// The finished ones, which shims can find and may have clones of.
    published: Vec<PathBuf>,
}

impl Making {
    /// Makes sure that there is a tmpfs with room for all. On an error nothing new is left.
    pub(super) async fn begin(
        store: &TemplateStore,
        old: &[PathBuf],
        specs: &[VmSpec],
    ) -> Result<Self, InitError> {
        let memory_mib = specs.iter().map(|spec| u64::from(spec.memory.mib)).sum();
        place::check_memory(memory_mib)?;
        Ok(Self {
            mounted: place::prepare(store, memory_mib, specs.len(), old).await?,
            store: store.clone(),
            building: None,
            published: Vec::new(),
        })
    }

    /// Makes all templates, in order, and returns them with their leases.
    pub(super) async fn all(
        &mut self,
        new: &NewTemplates<'_>,
        wanted: Vec<(&VmSpec, TemplateIdentity)>,
        progress: Progress<'_>,
    ) -> Result<Vec<Template>, InitError> {
        let mut templates = Vec::new();
        for (spec, identity) in wanted {
            let size = spec.size();
            let building = self
                .building
                .insert(Building::new(&self.store, spec.memory.mib)?);
            let begun = |step| progress(step, size);
            let template = make(building, new, spec, identity, &begun).await?;
            self.published.push(template.dir().to_owned());
            self.building = None;
            templates.push(template);
        }
        Ok(templates)
    }

    /// Removes everything that was made, and returns `error` with what could not be removed.
    pub(super) async fn undo(self, error: InitError) -> InitError {
        let mut left = Vec::new();
        if let Some(building) = self.building {
            building.undo(&mut left).await;
        }
        for dir in &self.published {
            if let Err(e) = self.store.retire(dir).await {
                left.push(format!("{} ({e})", dir.display()));
            }
        }
        if self.mounted {
            let path = self.store.path();
            let removed = mount::unmount(path).and_then(|()| std::fs::remove_dir(path));
            if let Err(e) = removed {
                left.push(format!("{} ({e})", path.display()));
            }
        }
        if left.is_empty() {
            error
        } else {
            InitError::LeftBehind {
                error: Box::new(error),
                left,
            }
        }
    }
}
