//! Identifiers of sandboxes, containers and execs.

/// Longest identifier, in bytes: containerd's own limit.
pub const MAX_ID_BYTES: usize = 76;

/// The text cannot be an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "Invalid identifier {shown:?}: expected 1 to 76 of letters, digits, '_', '.' and '-', the \
     first a letter or a digit"
)]
pub struct InvalidId {
    /// The text, cut to the longest length an identifier may have.
    pub shown: String,
}

/// Checks that `id` may name a sandbox, a container or an exec. A valid one is also a safe file
/// name: it has no separator and does not start with a dot.
pub fn validate_id(id: &str) -> Result<(), InvalidId> {
    let inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'-');
    let valid = id.len() <= MAX_ID_BYTES
        && id.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric())
        && id.bytes().all(inner);
    if valid {
        Ok(())
    } else {
        Err(InvalidId {
            shown: id.chars().take(MAX_ID_BYTES).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_containerd_makes() {
        for id in [
            "a",
            "0f",
            "test-1",
            "a.b_c",
            &"f".repeat(64),
            &"x".repeat(76),
        ] {
            assert_eq!(validate_id(id), Ok(()), "{id}");
        }
    }

    #[test]
    fn refuses_paths_and_lengths() {
        for id in [
            "",
            ".",
            "..",
            "-a",
            "_a",
            "a/b",
            "a b",
            "a\0",
            "ä",
            "a\n",
            &"x".repeat(77),
        ] {
            assert!(validate_id(id).is_err(), "{id:?}");
        }
    }
}
