//! The manifest: what a template was made from and what its files must be, as one bounded file.
//!
//! Its presence in a template's directory is the template's existence, so it is written last. It
//! carries a digest of itself, so a flipped bit anywhere in it counts as damage.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};
use system::file;

use crate::{
    identity::KnownIdentity,
    layout::FORMAT_VERSION,
    source_file::{FileStamp, sha256},
    unusable::Unusable,
};

/// No manifest is longer: fields are paths, one command line and a few digests.
const MAX_LENGTH: u64 = 64 * 1024;

/// What a template was made from and consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Digest of the identity, in hex.
    pub key: String,
    /// Random text that only this template's guest was booted with, in hex; a clone finds it in
    /// `/proc/cmdline` as `imprint.template=<nonce>`.
    pub nonce: String,
    /// When it was made, in seconds since the epoch.
    pub created: u64,
    /// What it was made from.
    pub(crate) identity: KnownIdentity,
    /// The file with the guest's memory.
    pub(crate) memory: MemoryFile,
    /// The files with the state of the VM, as the VMM wrote them, sorted by name.
    pub(crate) state: Vec<StateFile>,
}

/// The memory file, whose content is too long to be read at a pod's start: its stamp stands for it.
/// Clones map it privately and never change it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemoryFile {
    pub(crate) stamp: FileStamp,
    /// SHA-256 over the pages that are not all zero, in hex, as
    /// [`memory_digest`](crate::source_file::memory_digest) makes it.
    pub(crate) digest: String,
}

/// A file of the VMM's state, short enough to be read and compared at every start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StateFile {
    pub(crate) name: String,
    pub(crate) length: u64,
    pub(crate) sha256: String,
}

/// The file's form: the version can be read whatever the rest is.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    format_version: u32,
    sha256: String,
    template: Manifest,
}

#[derive(Deserialize)]
struct VersionOnly {
    format_version: u32,
}

impl Manifest {
    /// What the template was made from: name and value of each part of its identity, in words.
    pub fn made_from(&self) -> Vec<(&'static str, String)> {
        self.identity
            .fields()
            .into_iter()
            .map(|field| (field.name, field.to_string()))
            .collect()
    }

    /// The manifest as a file's content.
    pub(crate) fn encode(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&Envelope {
            format_version: FORMAT_VERSION,
            sha256: self.digest()?,
            template: self.clone(),
        })
    }

    /// Reads and checks a manifest. The content may be anything.
    ///
    /// # Errors
    /// It is of another version, or it is damaged.
    pub(crate) fn decode(from: impl Read) -> Result<Self, Unusable> {
        let text = file::read_bounded(from, MAX_LENGTH).map_err(|e| damaged(&e))?;
        let version: VersionOnly = serde_json::from_slice(&text).map_err(|e| damaged(&e))?;
        if version.format_version != FORMAT_VERSION {
            return Err(Unusable::FormatVersion {
                found: version.format_version,
            });
        }
        let envelope: Envelope = serde_json::from_slice(&text).map_err(|e| damaged(&e))?;
        let manifest = envelope.template;
        if manifest.digest().map_err(|e| damaged(&e))? != envelope.sha256 {
            return Err(damaged(&"its content is not what its digest says"));
        }
        if manifest.identity.key() != manifest.key {
            return Err(damaged(&"its key is not that of its identity"));
        }
        let plain = |name: &str| !name.is_empty() && !name.contains('/') && !name.starts_with('.');
        match manifest.state.iter().find(|file| !plain(&file.name)) {
            Some(file) => Err(damaged(&format!(
                "{:?} is no name of a state file",
                file.name
            ))),
            None => Ok(manifest),
        }
    }

    fn digest(&self) -> serde_json::Result<String> {
        let text = serde_json::to_vec(self)?;
        sha256(&mut text.as_slice()).map_err(|e: io::Error| serde_json::Error::io(e))
    }
}

fn damaged(why: &dyn std::fmt::Display) -> Unusable {
    Unusable::Damaged {
        what: format!("manifest: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::{TemplateIdentity, tests::files};

    fn sample() -> Manifest {
        let dir = tempfile::tempdir().unwrap();
        let (vmm, spec) = files(dir.path());
        let identity = TemplateIdentity::of(&vmm, &spec)
            .unwrap()
            .digested(None)
            .unwrap();
        let stamp = identity.kernel.stamp;
        Manifest {
            key: identity.key(),
            nonce: "a1".into(),
            created: 1_700_000_000,
            identity,
            memory: MemoryFile {
                stamp,
                digest: "00".into(),
            },
            state: vec![StateFile {
                name: "state".into(),
                length: 3,
                sha256: "11".into(),
            }],
        }
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        let manifest = sample();
        let text = manifest.encode().unwrap();
        assert_eq!(Manifest::decode(text.as_slice()).unwrap(), manifest);
    }

    #[test]
    fn another_version_is_named_whatever_the_rest_is() {
        let text = br#"{"format_version": 7, "anything": []}"#;
        let unusable = Manifest::decode(&text[..]).unwrap_err();
        assert!(
            matches!(unusable, Unusable::FormatVersion { found: 7 }),
            "{unusable}"
        );
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let good = sample();
        let text = good.encode().unwrap();
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut flipped = text.clone();
                flipped[at] ^= 1 << bit;
                if let Ok(read) = Manifest::decode(flipped.as_slice()) {
                    assert_eq!(
                        read, good,
                        "byte {at} bit {bit} changed the manifest unseen"
                    );
                }
            }
        }
    }

    #[test]
    fn an_endless_manifest_is_refused() {
        let unusable = Manifest::decode(io::repeat(b' ')).unwrap_err();
        assert!(unusable.to_string().contains("more than"), "{unusable}");
    }

    #[test]
    fn a_state_file_outside_the_template_is_refused() {
        for name in ["../state", "/etc/passwd", "", ".hidden", ".."] {
            let mut manifest = sample();
            manifest.state[0].name = name.into();
            let text = manifest.encode().unwrap();
            assert!(Manifest::decode(text.as_slice()).is_err(), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_a_reason(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
            prop_assert!(Manifest::decode(bytes.as_slice()).is_err());
        }

        #[test]
        fn any_cut_or_splice_ends_in_a_reason_or_the_same(
            cut in any::<prop::sample::Index>(),
            splice in prop::collection::vec(any::<u8>(), 0..16),
        ) {
            let good = sample();
            let text = good.encode().unwrap();
            let at = cut.index(text.len());
            let mut changed = text[..at].to_vec();
            changed.extend(&splice);
            prop_assert!(Manifest::decode(changed.as_slice()).is_err());
            changed.extend(&text[at..]);
            if let Ok(read) = Manifest::decode(changed.as_slice()) {
                prop_assert_eq!(read, good);
            }
        }

        #[test]
        fn values_of_any_kind_survive(
            nonce in ".*", name in "[a-z][a-z.]{0,20}",
            length in any::<u64>(), created in any::<u64>(),
        ) {
            let mut manifest = sample();
            manifest.nonce = nonce;
            manifest.created = created;
            manifest.state[0] = StateFile { name, length, sha256: String::new() };
            let text = manifest.encode().unwrap();
            prop_assert_eq!(Manifest::decode(text.as_slice()).unwrap(), manifest);
        }
    }
}
