//! Encodes what an image stores of a file. Different files have different bytes: each part has a
//! fixed length or is preceded by its length, so the bytes of one part cannot be mistaken for the
//! next.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// Receives the encoded bytes, as a digest does.
pub(super) trait Sink {
    fn add(&mut self, bytes: &[u8]);
}

impl Sink for Sha256 {
    fn add(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}

/// Adds a part of any length.
pub(super) fn field(sink: &mut impl Sink, bytes: &[u8]) {
    sink.add(&(bytes.len() as u64).to_le_bytes());
    sink.add(bytes);
}

/// Adds a part of fixed length.
pub(super) fn number(sink: &mut impl Sink, value: impl Into<i128>) {
    sink.add(&value.into().to_le_bytes());
}

/// One name in a tree, and what it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Path within the tree.
    pub(super) name: Vec<u8>,
    pub(super) target: Target,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A hard link to the file of the entry this many entries before.
    Same(u64),
    File(File),
}

/// A file of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// Permissions and type, as in stat(2).
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Time of the last change, in seconds and nanoseconds. Directories have none: theirs is when a
    /// copy was made, and equal copies should have one image.
    pub(super) changed: Option<(i64, i64)>,
    /// Extended attributes by name.
    pub(super) attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// A directory, a fifo or a socket has none.
    None,
    Device(u64),
    Link(Vec<u8>),
    /// Of a regular file: its length and digest, since it is read piece by piece.
    Bytes {
        length: u64,
        digest: [u8; 32],
    },
}

impl Entry {
    pub(super) fn encode(&self, sink: &mut impl Sink) {
        field(sink, &self.name);
        match &self.target {
            Target::Same(before) => number(sink, *before),
            Target::File(file) => {
                number(sink, 0);
                file.encode(sink);
            }
        }
    }
}

impl File {
    fn encode(&self, sink: &mut impl Sink) {
        for value in [self.mode, self.uid, self.gid] {
            number(sink, value);
        }
        number(sink, i128::from(self.changed.is_some()));
        if let Some((seconds, nanos)) = self.changed {
            number(sink, seconds);
            number(sink, nanos);
        }
        number(sink, self.attributes.len() as u64);
        for (name, value) in &self.attributes {
            field(sink, name);
            field(sink, value);
        }
        match &self.content {
            Content::None => sink.add(&[0]),
            Content::Device(device) => {
                sink.add(&[1]);
                number(sink, *device);
            }
            Content::Link(target) => {
                sink.add(&[2]);
                field(sink, target);
            }
            Content::Bytes { length, digest } => {
                sink.add(&[3]);
                number(sink, *length);
                sink.add(digest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*};

    use super::*;

    impl Sink for Vec<u8> {
        fn add(&mut self, bytes: &[u8]) {
            self.extend(bytes);
        }
    }

    /// Reads a stream back. What can be read back in one way is the stream of one tree only.
    struct Decoder<'a>(&'a [u8]);

    impl Decoder<'_> {
        fn take(&mut self, bytes: usize) -> Vec<u8> {
            let (taken, rest) = self.0.split_at(bytes);
            self.0 = rest;
            taken.to_vec()
        }

        fn field(&mut self) -> Vec<u8> {
            let length = u64::from_le_bytes(self.take(8).try_into().unwrap());
            self.take(usize::try_from(length).unwrap())
        }

        fn number<T: TryFrom<i128, Error: std::fmt::Debug>>(&mut self) -> T {
            let value = i128::from_le_bytes(self.take(16).try_into().unwrap());
            T::try_from(value).unwrap()
        }

        fn file(&mut self) -> File {
            let [mode, uid, gid] = [self.number(), self.number(), self.number()];
            let timed = self.number::<i128>() == 1;
            let changed = timed.then(|| (self.number(), self.number()));
            let count: usize = self.number();
            let attributes = (0..count).map(|_| (self.field(), self.field())).collect();
            let content = match self.take(1)[0] {
                0 => Content::None,
                1 => Content::Device(self.number()),
                2 => Content::Link(self.field()),
                3 => Content::Bytes {
                    length: self.number(),
                    digest: self.take(32).try_into().unwrap(),
                },
                other => panic!("{other}"),
            };
            File {
                mode,
                uid,
                gid,
                changed,
                attributes,
                content,
            }
        }

        fn entries(mut self) -> Vec<Entry> {
            let mut entries = Vec::new();
            while !self.0.is_empty() {
                let name = self.field();
                let target = match self.number() {
                    0 => Target::File(self.file()),
                    before => Target::Same(before),
                };
                entries.push(Entry { name, target });
            }
            entries
        }
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        collection::vec(any::<u8>(), 0..40)
    }

    fn content() -> impl Strategy<Value = Content> {
        prop_oneof![
            Just(Content::None),
            any::<u64>().prop_map(Content::Device),
            bytes().prop_map(Content::Link),
            (any::<u64>(), any::<[u8; 32]>())
                .prop_map(|(length, digest)| Content::Bytes { length, digest }),
        ]
    }

    fn file() -> impl Strategy<Value = File> {
        let attributes = collection::btree_map(bytes(), bytes(), 0..3);
        let owner = any::<(u32, u32, u32)>();
        (owner, any::<Option<(i64, i64)>>(), attributes, content()).prop_map(
            |((mode, uid, gid), changed, attributes, content)| File {
                mode,
                uid,
                gid,
                changed,
                attributes,
                content,
            },
        )
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let target = prop_oneof![
            (1..u64::MAX).prop_map(Target::Same),
            file().prop_map(Target::File),
        ];
        (bytes(), target).prop_map(|(name, target)| Entry { name, target })
    }

    proptest! {
        #[test]
        fn different_trees_have_different_streams(tree in collection::vec(entry(), 0..6)) {
            let mut stream = Vec::new();
            tree.iter().for_each(|entry| entry.encode(&mut stream));
            prop_assert_eq!(Decoder(&stream).entries(), tree);
        }
    }
}
