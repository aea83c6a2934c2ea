//! QEMU's arguments in the making, and the syntax of their values.

use std::path::Path;

use crate::{Error, Result};

/// Arguments, without the program's name.
#[derive(Default)]
pub struct OptionLine(Vec<String>);

impl OptionLine {
    /// Adds an option that has no value.
    pub fn flag(&mut self, flag: &str) {
        self.0.push(flag.to_owned());
    }

    /// Adds an option with its value.
    pub fn option(&mut self, name: &str, value: impl Into<String>) {
        self.flag(name);
        self.0.push(value.into());
    }

    /// The arguments in the order in which they were added.
    pub fn into_arguments(self) -> Vec<String> {
        self.0
    }
}

/// In QEMU's option syntax a comma ends a value unless it is doubled.
pub fn escape(value: &str) -> String {
    value.replace(',', ",,")
}

/// QMP and the command line carry text, so a path has to be text too.
pub fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .ok_or_else(|| Error::InvalidSpec(format!("path {} is not UTF-8", path.display())))
}
