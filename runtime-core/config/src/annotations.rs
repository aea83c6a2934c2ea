//! The few settings that a pod may change by annotations, if the operator allows it.

use std::collections::BTreeMap;

use super::{
    Config, command_line,
    error::quote,
    hypervisor,
    keys::hypervisor::{DEFAULT_MEMORY, DEFAULT_VCPUS, KERNEL_PARAMS, MAX_MEMORY_MIB},
};

const PREFIX: &str = "io.katacontainers.config.";

/// An annotation that is refused. The pod is not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnnotationError {
    /// `enable_annotations` has no pattern for it.
    #[error("Annotation {0} is not enabled (enable_annotations in the configuration)")]
    NotEnabled(String),
    /// It would have no effect, although its author relies on it.
    #[error("Annotation {0} is not supported")]
    Unsupported(String),
    /// Its value is invalid.
    #[error("Annotation {name} = \"{value}\": {reason}")]
    Invalid {
        /// The annotation's whole name.
        name: String,
        /// The annotation's value, cut and escaped.
        value: String,
        /// What a value must be.
        reason: String,
    },
}

impl Config {
    /// The configuration with the changes of the pod's annotations. Annotations outside of
    /// `io.katacontainers.config.` are ignored.
    ///
    /// # Errors
    ///
    /// The first annotation, in the order of the alphabet, that is not enabled, not supported or
    /// invalid.
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
            PARAMS => self
                .append_kernel_params(value)
                .map_err(|problem| invalid(&problem))?,
            _ => return Err(AnnotationError::Unsupported(quote(name))),
        }
        Ok(())
    }

    /// Appends to the kernel's command line, or returns why that is not possible.
    fn append_kernel_params(&mut self, value: &str) -> Result<(), String> {
        let params = &mut self.hypervisor.kernel_params;
        if !params.is_empty() {
            params.push(' ');
        }
        params.push_str(value);
        if let Some(problem) = hypervisor::kernel_params_problem(params) {
            return Err(problem);
        }
        let line = command_line::assemble(&self.hypervisor, self.agent.debug);
        if line.len() > command_line::MAX_LEN {
            return Err("The kernel's command line becomes too long".to_owned());
        }
        Ok(())
    }
}

/// The least memory that a pod may ask for, as in Kata: enough to boot.
const MIN_MEMORY_MIB: u32 = 256;
