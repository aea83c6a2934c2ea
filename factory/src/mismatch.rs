//! The parts of an identity, and how two of them differ, in words.

use std::fmt;

use crate::source_file::DigestedFile;

/// One named part of an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name in messages, as in "kernel command line".
    pub name: &'static str,
    /// The text that is compared and goes into the key; of a file its digest.
    value: String,
    /// The same in words: a text in quotes, a file with its path.
    shown: String,
}

impl Field {
    pub(crate) fn text(name: &'static str, value: &str) -> Self {
        Self {
            name,
            value: value.to_owned(),
            shown: format!("{value:?}"),
        }
    }

    pub(crate) fn number(name: &'static str, value: u32) -> Self {
        Self {
            name,
            value: value.to_string(),
            shown: value.to_string(),
        }
    }

    pub(crate) fn file(name: &'static str, file: &DigestedFile) -> Self {
        // Twelve digits tell two files apart and still fit a log line.
        let shown = format!("{} (sha256 {:.12})", file.path.display(), file.sha256);
        Self {
            name,
            value: file.sha256.clone(),
            shown,
        }
    }

    /// What is compared and digested.
    pub(crate) fn value(&self) -> &str {
        &self.value
    }

    /// Whether both are the same, wherever a file lies.
    pub(crate) fn matches(&self, wanted: &Self) -> bool {
        self.name == wanted.name && self.value == wanted.value
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// A part of the identity in which a template is not what a pod wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The part as the template has it.
    pub template: Field,
    /// The part as the pod wants it.
    pub wanted: Field,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, has, wanted) = (self.template.name, &self.template, &self.wanted);
        write!(f, "{name}: template has {has}, wanted {wanted}")
    }
}
