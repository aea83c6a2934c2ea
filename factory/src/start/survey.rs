//! Gathers the facts: what is requested, what the VMM can do, which templates there are.

use std::sync::Arc;

use hypervisors::{Hypervisor, VmSize, VmSpec};

use super::{
    Timeouts, decide,
    decide::preference,
    facts::{Candidate, Condition, Facts, Found, Templates},
    plan::Plan,
};
use crate::{
    identity::{IdentityError, TemplateIdentity},
    store::{TemplateStore, blocking},
    template::Template,
    unusable::Unusable,
};

/// The request for a VM.
#[derive(Debug, Clone)]
pub struct Request {
    /// The VM as the configuration describes it, with the size of a pod that asks for nothing.
    pub spec: VmSpec,
    /// The size that the pod needs: in each part at least that of `spec`.
    pub wanted: VmSize,
    /// Whether a running VM may be resized.
    pub may_grow: bool,
    /// The node's templates; `None` if they are not enabled.
    pub templates: Option<TemplateStore>,
    /// The timeouts of its steps.
    pub timeouts: Timeouts,
}

/// The facts about a VM to start, and a lease of the template that will be restored: its files stay
/// where they are as long as this value lives.
#[derive(Debug)]
pub struct Survey {
    pub(super) facts: Facts,
    pub(super) template: Option<Arc<Template>>,
}

impl Survey {
    /// Gathers the facts about the VM that `request` asks for. Reads all manifests, and the state
    /// files (some 350 KiB) of matching templates until one of them is good. A file whose stamp has
    /// changed since a template was made is read in full.
    pub async fn of(request: &Request, vmm: &dyn Hypervisor) -> Self {
        let facts = facts(request, vmm);
        let Some(store) = request
            .templates
            .clone()
            .filter(|_| facts.needs_templates())
        else {
            return Self {
                facts,
                template: None,
            };
        };
        match TemplateIdentity::of(vmm.identity(), &request.spec) {
            Ok(identity) => blocking(move || inspect(facts, &store, &identity)).await,
            Err(error) => Self {
                facts: Facts {
                    templates: Templates::Unknown {
                        path: error.path().to_owned(),
                        why: error.why(),
                    },
                    ..facts
                },
                template: None,
            },
        }
    }

    /// The facts that were gathered.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The plan that these facts lead to.
    #[must_use]
    pub fn plan(&self) -> Plan {
        decide(&self.facts)
    }

    /// The template that will be restored; `None` if the VM will be booted.
    #[must_use]
    pub fn template(&self) -> Option<&Arc<Template>> {
        self.template.as_ref()
    }
}

/// The facts that do not depend on the node's templates.
fn facts(request: &Request, vmm: &dyn Hypervisor) -> Facts {
    let (spec, store) = (&request.spec, request.templates.as_ref());
    Facts {
        templates_enabled: store.is_some(),
        vmm: vmm.identity().vmm,
        can: vmm.capabilities().clone(),
        base: spec.size(),
        wanted: request.wanted,
        max: spec.max_size(),
        may_grow: request.may_grow,
        slots: spec.slots.count,
        slot_bytes: u64::from(spec.slots.mib) << 20,
        first_image: None,
        template_path: store
            .map(|store| store.path().to_owned())
            .unwrap_or_default(),
        templates: Templates::NotSearched,
        failed: Vec::new(),
    }
}

/// Adds the node's templates to the facts. Checks the files of those that can be used until one is
/// good.
fn inspect(mut facts: Facts, store: &TemplateStore, wanted: &TemplateIdentity) -> Survey {
    let mut leases = Vec::new();
    let mut found = match store.list() {
        Err(unusable) => vec![Found::Unusable(unusable)],
        Ok(templates) => {
            let compared = templates.into_iter().map(|template| {
                let (found, lease) = compare(template, wanted);
                leases.push(lease);
                found
            });
            compared.collect()
        }
    };
    let mut template = None;
    for (index, _) in preference(&facts, &found) {
        let (Found::Template(candidate), Some(lease)) = (&mut found[index], leases[index].take())
        else {
            continue;
        };
        match lease.check_files().and_then(|()| lease.check_record()) {
            Ok(()) => {
                candidate.condition = Condition::Good;
                template = Some(Arc::new(lease));
                break;
            }
            Err(why) => candidate.condition = Condition::Bad(why),
        }
    }
    facts.templates = Templates::Found(found);
    Survey { facts, template }
}

/// Compares a template with what is wanted. Its files are not checked.
fn compare(
    template: Result<Template, Unusable>,
    wanted: &TemplateIdentity,
) -> (Found, Option<Template>) {
    let template = match template {
        Ok(template) => template,
        Err(why) => return (Found::Unusable(why), None),
    };
    let made_from = &template.manifest().identity;
    match wanted.digested(Some(made_from)) {
        Err(error) => (Found::Unusable(IdentityError::into_unusable(error)), None),
        Ok(wanted) => {
            let candidate = Candidate {
                key: template.key().to_owned(),
                created: template.manifest().created,
                size: template.size(),
                max_size: template.max_size(),
                mismatches: made_from.mismatches(&wanted),
                condition: Condition::Unchecked,
            };
            (Found::Template(candidate), Some(template))
        }
    }
}
