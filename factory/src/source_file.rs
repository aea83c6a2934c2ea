//! Files that a template depends on: what they were when it was made, and whether they still are.
//!
//! Hashing a kernel or a VMM's binary costs tens of milliseconds, too much for a pod's start.
//! A stamp (device, inode, size, modification and change time) costs one `stat`. The change time
//! cannot be set from user space, so an equal stamp means an unchanged file; only a file whose
//! stamp differs is hashed again.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use system::encoding::hex;

const PAGE: usize = 4096;
const CHUNK: usize = 256 * PAGE;
static ZERO: [u8; PAGE] = [0; PAGE];

/// What `stat` says about a file's identity and its last change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileStamp {
    device: u64,
    inode: u64,
    /// Length of the file in bytes.
    pub size: u64,
    /// Seconds and nanoseconds since the epoch.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    /// The stamp of an open file or of `stat`'s answer.
    pub fn of(meta: &std::fs::Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// A file as a pod finds it: known by its stamp, not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StampedFile {
    /// Its path, as it was asked for.
    pub path: PathBuf,
    /// Its stamp at that moment.
    pub stamp: FileStamp,
}

/// A file whose content is known by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DigestedFile {
    /// Its path when the digest was computed.
    pub path: PathBuf,
    /// Its stamp when the digest was computed.
    pub stamp: FileStamp,
    /// SHA-256 of the content, in hex.
    pub sha256: String,
}

impl StampedFile {
    /// Takes the stamp of a regular file; symbolic links are followed.
    ///
    /// # Errors
    /// There is none, or it is not a regular file.
    pub fn inspect(path: &Path) -> io::Result<Self> {
        let meta = std::fs::metadata(path)?;
        if !meta.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        Ok(Self {
            path: path.to_owned(),
            stamp: FileStamp::of(&meta),
        })
    }

    /// The file with its digest: that of `known` if its stamp is the same, or else computed.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn digest(&self, known: Option<&DigestedFile>) -> io::Result<DigestedFile> {
        let sha256 = match known {
            Some(known) if known.stamp == self.stamp => known.sha256.clone(),
            _ => sha256(&mut File::open(&self.path)?)?,
        };
        Ok(DigestedFile {
            path: self.path.clone(),
            stamp: self.stamp,
            sha256,
        })
    }
}

/// SHA-256 of everything that can be read, in hex.
pub(crate) fn sha256(from: &mut impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match from.read(&mut chunk)? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&chunk[..n]),
        }
    }
}

/// Digest of guest memory, in hex: SHA-256 over the number and content of every page that is not
/// all zero. The content decides, not which pages the tmpfs has allocated, and a mostly empty
/// memory is read at the speed of a copy.
pub(crate) fn memory_digest(memory: &mut impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut page_number: u64 = 0;
    loop {
        let filled = read_full(memory, &mut chunk)?;
        for page in chunk[..filled].chunks(PAGE) {
            if page != &ZERO[..page.len()] {
                hash.update(page_number.to_le_bytes());
                hash.update(page);
            }
            page_number += 1;
        }
        if filled < CHUNK {
            hash.update(page_number.to_le_bytes());
            return Ok(hex(&hash.finalize()));
        }
    }
}

fn read_full(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_of_an_unchanged_file_is_not_computed_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kernel");
        std::fs::write(&path, b"one").unwrap();
        let first = StampedFile::inspect(&path).unwrap().digest(None).unwrap();

        let mut known = first.clone();
        known.sha256 = "known".into();
        let again = StampedFile::inspect(&path)
            .unwrap()
            .digest(Some(&known))
            .unwrap();
        assert_eq!(again.sha256, "known");

        // Until the clock of the file system has moved on: some kernels stamp in ticks of 4 ms.
        while StampedFile::inspect(&path).unwrap().stamp == known.stamp {
            std::fs::write(&path, b"two").unwrap();
        }
        let changed = StampedFile::inspect(&path)
            .unwrap()
            .digest(Some(&known))
            .unwrap();
        assert_ne!(changed.sha256, "known");
        assert_ne!(changed.sha256, first.sha256);
    }

    #[test]
    fn same_length_and_restored_mtime_still_changes_the_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kernel");
        std::fs::write(&path, b"one").unwrap();
        let before = StampedFile::inspect(&path).unwrap();
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        let began = std::time::Instant::now();
        while before.stamp == StampedFile::inspect(&path).unwrap().stamp {
            assert!(began.elapsed().as_secs() < 5, "the change is not seen");
            std::os::unix::fs::FileExt::write_at(&file, b"two", 0).unwrap();
            file.set_modified(modified).unwrap();
        }
    }

    #[test]
    fn memory_digest_sees_one_bit_and_its_place() {
        let mut memory = vec![0u8; 3 * PAGE];
        let empty = memory_digest(&mut memory.as_slice()).unwrap();
        memory[5] = 1;
        let first = memory_digest(&mut memory.as_slice()).unwrap();
        memory[5] = 0;
        memory[PAGE + 5] = 1;
        let second = memory_digest(&mut memory.as_slice()).unwrap();
        let longer = memory_digest(&mut vec![0u8; 4 * PAGE].as_slice()).unwrap();
        let all = [empty, first, second, longer];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
    }

    #[test]
    fn a_directory_is_no_source_file() {
        assert!(StampedFile::inspect(Path::new("/")).is_err());
    }
}
