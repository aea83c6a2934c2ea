//! The runtime options containerd sends with a container.

use std::path::PathBuf;

use containerd_shim_protos::protobuf::{self, Message, well_known_types::any::Any};

/// The message, generated from `protos/runtimeoptions.proto`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::panic,
    clippy::unwrap_used
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/runtimeoptions/mod.rs"));
}
use generated::runtimeoptions::Options;

/// Options that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// Not the message it says it is.
    #[error("Runtime options are no valid runtimeoptions.v1.Options")]
    Invalid(#[source] protobuf::Error),
    /// A relative path means nothing here.
    #[error("Configuration path {0:?} of the runtime options is not absolute")]
    Relative(PathBuf),
}

/// The configuration file that the options name, if they do. Options of another type (those of
/// runc, which some clients send to every runtime) name none.
///
/// # Errors
/// The message is damaged, or the path relative.
pub fn config_path(options: Option<&Any>) -> Result<Option<PathBuf>, OptionsError> {
    let Some(options) = options.filter(|any| any.type_url.ends_with("runtimeoptions.v1.Options"))
    else {
        return Ok(None);
    };
    let options = Options::parse_from_bytes(&options.value).map_err(OptionsError::Invalid)?;
    match PathBuf::from(options.config_path) {
        path if path.as_os_str().is_empty() => Ok(None),
        path if path.is_relative() => Err(OptionsError::Relative(path)),
        path => Ok(Some(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(type_url: &str, value: &[u8]) -> Any {
        Any {
            type_url: type_url.into(),
            value: value.to_vec(),
            ..Default::default()
        }
    }

    #[test]
    fn the_path_is_found_among_other_fields() {
        let value = b"\x0a\x01t\x12\x06/a.tml\x1a\x01b";
        let options = any("runtimeoptions.v1.Options", value);
        assert_eq!(config_path(Some(&options)).unwrap(), Some("/a.tml".into()));
    }

    #[test]
    fn no_options_and_those_of_others_name_none() {
        assert_eq!(config_path(None).unwrap(), None);
        assert_eq!(
            config_path(Some(&any("containerd.runc.v1.Options", b"\x12\x02/a"))).unwrap(),
            None
        );
        assert_eq!(
            config_path(Some(&any("runtimeoptions.v1.Options", b""))).unwrap(),
            None
        );
    }

    #[test]
    fn a_relative_path_is_refused() {
        let options = any("runtimeoptions.v1.Options", b"\x12\x01a");
        let error = config_path(Some(&options)).unwrap_err();
        assert!(matches!(error, OptionsError::Relative(_)), "{error}");
    }

    #[test]
    fn damage_is_an_error() {
        assert!(config_path(Some(&any("runtimeoptions.v1.Options", b"\x12\x7f/a"))).is_err());
        assert!(config_path(Some(&any("runtimeoptions.v1.Options", b"\x12\x01\xff"))).is_err());
    }
}
