//! What a pod may change by annotations: little, and only where the operator allows it.

use std::collections::BTreeMap;

use super::{
    Config, command_line,
    error::quote,
    hypervisor,
    keys::hypervisor::{DEFAULT_MEMORY, DEFAULT_VCPUS, KERNEL_PARAMS, MAX_MEMORY_MIB},
};

const PREFIX: &str = "io.katacontainers.config.";

/// An annotation that the pod cannot have. The pod is not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnnotationError {
    /// The operator does not allow it.
    #[error("Annotation {0} is not enabled (enable_annotations in the configuration)")]
    NotEnabled(String),
    /// Imprint does not act on it, and its author relies on it.
    #[error("Annotation {0} is not supported")]
    Unsupported(String),
    /// A value that cannot be.
    #[error("Annotation {name} = \"{value}\": {reason}")]
    Invalid {
        /// The annotation.
        name: String,
        /// Its value, shortened.
        value: String,
        /// Why not.
        reason: String,
    },
}

impl Config {
    /// The configuration with what the pod's annotations change. Annotations outside of
    /// `io.katacontainers.config.` are not looked at.
    ///
    /// # Errors
    ///
    /// For the first annotation, in the order of the alphabet, that is not enabled, not supported
    /// or not valid.
    pub fn with_annotations(
        &self,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Self, AnnotationError> {
        let mut config = self.clone();
        for (name, value) in annotations {
            let Some(key) = name.strip_prefix(PREFIX) else {
                continue;
            };
            let Some(key) = key.strip_prefix("hypervisor.") else {
                return Err(AnnotationError::Unsupported(quote(name)));
            };
            if !self.hypervisor.annotations.allows(key) {
                return Err(AnnotationError::NotEnabled(quote(name)));
            }
            config.apply(name, key, value)?;
        }
        Ok(config)
    }

    fn apply(&mut self, name: &str, key: &str, value: &str) -> Result<(), AnnotationError> {
        let invalid = |reason: &str| AnnotationError::Invalid {
            name: quote(name),
            value: quote(value),
            reason: reason.to_owned(),
        };
        const VCPUS: &str = DEFAULT_VCPUS.name();
        const MEMORY: &str = DEFAULT_MEMORY.name();
        const PARAMS: &str = KERNEL_PARAMS.name();
        match key {
            VCPUS => {
                let vcpus: f64 = value.parse().map_err(|_| invalid("Not a number"))?;
                if !vcpus.is_finite() || vcpus <= 0.0 {
                    return Err(invalid("Must be more than 0"));
                }
                self.hypervisor.vcpus = hypervisor::vcpus(vcpus, self.hypervisor.max_vcpus);
            }
            MEMORY => {
                let mib = value.parse().map_err(|_| invalid("Not a number of MiB"))?;
                if !(MIN_MEMORY_MIB..=MAX_MEMORY_MIB).contains(&mib) {
                    let most = MAX_MEMORY_MIB;
                    return Err(invalid(&format!("Must be from {MIN_MEMORY_MIB} to {most}")));
                }
                self.hypervisor.memory_mib = mib;
            }
            PARAMS => {
                let params = &mut self.hypervisor.kernel_params;
                if !params.is_empty() {
                    params.push(' ');
                }
                params.push_str(value);
                if let Some(problem) = hypervisor::kernel_params_problem(params) {
                    return Err(invalid(&problem));
                }
                let line = command_line::assemble(&self.hypervisor, self.agent.debug);
                if line.len() > command_line::MAX_LEN {
                    return Err(invalid("The kernel's command line becomes too long"));
                }
            }
            _ => return Err(AnnotationError::Unsupported(quote(name))),
        }
        Ok(())
    }
}

/// As in Kata: what a pod asks for must be enough to boot.
const MIN_MEMORY_MIB: u32 = 256;
