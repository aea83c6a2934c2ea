//! The path of a pod's cgroup: `linux.cgroupsPath` in either of its forms.

use std::path::Path;

use super::CgroupError;

/// The slice of units without one (systemd.special(7)).
const DEFAULT_SLICE: &str = "system.slice";
/// Parent of the cgroups of sandboxes without a path.
const DEFAULT_PARENT: &str = "imprint";

/// A cgroup's path, the same in every hierarchy, relative to their roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupPath {
    path: String,
    parent_is_shared: bool,
}

impl CgroupPath {
    /// Parses `linux.cgroupsPath` of sandbox `id`: a path, or systemd's `slice:prefix:name`.
    /// Without one, or with the root, the sandbox gets a cgroup of its own below `imprint`.
    /// `alone`: it is a single container, whose cgroup's parent is named after containerd's
    /// namespace and contains only containers.
    ///
    /// # Errors
    /// It has neither form.
    pub fn parse(given: Option<&Path>, id: &str, alone: bool) -> Result<Self, CgroupError> {
        let default = || Self {
            path: format!("{DEFAULT_PARENT}/{id}"),
            parent_is_shared: true,
        };
        let Some(given) = given else {
            return Ok(default());
        };
        let invalid = || CgroupError::Path(given.to_string_lossy().into_owned());
        let text = given.to_str().ok_or_else(invalid)?;
        if text.contains(char::is_control) {
            return Err(invalid());
        }
        let parts: Vec<&str> = text.split(':').collect();
        if let [slice, prefix, name] = parts[..] {
            return Ok(Self {
                path: systemd(slice, prefix, name).ok_or_else(invalid)?,
                parent_is_shared: false,
            });
        }
        let steps: Vec<&str> = text
            .split('/')
            .filter(|step| !step.is_empty() && *step != ".")
            .collect();
        match steps[..] {
            _ if steps.contains(&"..") => Err(invalid()),
            [] => Ok(default()),
            _ => Ok(Self {
                path: steps.join("/"),
                parent_is_shared: alone && steps.len() == 2,
            }),
        }
    }

    /// The path, without a slash at its beginning.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.path
    }

    pub(super) fn parent_is_shared(&self) -> bool {
        self.parent_is_shared
    }
}

/// The path of systemd's unit. A slice is within the slices whose names are prefixes of its own
/// (systemd.slice(5)).
fn systemd(slice: &str, prefix: &str, name: &str) -> Option<String> {
    let slice = if slice.is_empty() {
        DEFAULT_SLICE
    } else {
        slice
    };
    let stem = slice.strip_suffix(".slice")?;
    if name.is_empty() || [slice, prefix, name].iter().any(|part| part.contains('/')) {
        return None;
    }
    let mut path = String::new();
    // "-.slice" is the root.
    if stem != "-" {
        for (index, _) in stem.match_indices('-').chain([(stem.len(), "")]) {
            let parent = stem.get(..index)?;
            if parent.is_empty() || parent.ends_with('-') {
                return None;
            }
            path.push_str(parent);
            path.push_str(".slice/");
        }
    }
    path.push_str(&if name.ends_with(".slice") {
        name.to_owned()
    } else if prefix.is_empty() {
        format!("{name}.scope")
    } else {
        format!("{prefix}-{name}.scope")
    });
    Some(path)
}
