//! The format of what is in a template's directory.

/// Version of the template's layout and of the manifest. A change of either changes it.
pub const FORMAT_VERSION: u32 = 3;
