//! The runtime options containerd sends with a container.

use std::path::PathBuf;

use containerd_shim_protos::protobuf::{
    self, CodedInputStream, rt::WireType, well_known_types::any::Any,
};

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

/// Field of `runtimeoptions.v1.Options` (containerd, pkg/runtimeoptions/v1/api.proto):
/// 1 type_url, 2 config_path, 3 config_body.
const CONFIG_PATH: u32 = 2;

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
    let path = read_config_path(&options.value).map_err(OptionsError::Invalid)?;
    match path.map(PathBuf::from) {
        Some(path) if path.is_relative() => Err(OptionsError::Relative(path)),
        path => Ok(path),
    }
}

fn read_config_path(message: &[u8]) -> protobuf::Result<Option<String>> {
    let mut input = CodedInputStream::from_bytes(message);
    let mut path = None;
    while !input.eof()? {
        let tag = input.read_raw_varint32()?;
        let wire_type = WireType::new(tag & 7).unwrap_or(WireType::LengthDelimited);
        if tag >> 3 == CONFIG_PATH && wire_type == WireType::LengthDelimited {
            path = Some(input.read_string()?).filter(|path| !path.is_empty());
        } else {
            input.skip_field(wire_type)?;
        }
    }
    Ok(path)
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
    fn damage_is_an_error() {
        assert!(config_path(Some(&any("runtimeoptions.v1.Options", b"\x12\x7f/a"))).is_err());
        assert!(config_path(Some(&any("runtimeoptions.v1.Options", b"\x12\x01a"))).is_err());
    }
}
