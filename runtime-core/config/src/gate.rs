//! The annotations that the operator allows pods to set.

use regex::Regex;

/// The patterns of `enable_annotations`.
///
/// As in Kata each is a regular expression that need not match the whole name, and the name is the
/// part after `io.katacontainers.config.hypervisor.`.
#[derive(Debug, Clone, Default)]
pub struct AnnotationGate(Vec<Regex>);

impl AnnotationGate {
    pub(super) fn new(patterns: Vec<Regex>) -> Self {
        Self(patterns)
    }

    /// Whether a pod may set the key of this name.
    pub fn allows(&self, key: &str) -> bool {
        self.0.iter().any(|pattern| pattern.is_match(key))
    }
}
