//! What lies in a template's directory: the names, and the version of all of it.

/// Version of the template's layout and of the manifest. A change of either changes it.
pub const FORMAT_VERSION: u32 = 3;

/// The file that names everything a clone inherits. A directory without it is no template.
pub(crate) const MANIFEST: &str = "manifest.json";

/// The guest's memory. Beside the templates, a link of this name leads to the newest one's.
pub(crate) const MEMORY: &str = "memory";

/// The record of failed restores. Missing as long as none failed.
pub(crate) const FAILURES: &str = "failures";

/// How the directory of a template in the making begins.
pub(crate) const BUILDING: &str = ".building-";
