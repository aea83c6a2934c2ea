//! The superblock of an erofs image (Linux, fs/erofs/erofs_fs.h).

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
};

/// Offset of the superblock in the image, in bytes.
const OFFSET: u64 = 1024;
/// Length of the superblock, in bytes.
const LENGTH: usize = 128;
const MAGIC: [u8; 4] = 0xe0f5_e1e2_u32.to_le_bytes();
const BLOCK_BITS: usize = 12;
const BLOCKS: usize = 36;
const EXTRA_DEVICES: usize = 86;

/// Those fields of a superblock that are used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    block_bits: u8,
    blocks: u32,
    /// Number of further devices with data of the image.
    pub extra_devices: u16,
}

impl Superblock {
    /// The superblock of an image; `None` if it is none, or is cut off.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(image: &File) -> io::Result<Option<Self>> {
        let mut bytes = [0; LENGTH];
        match image.read_exact_at(&mut bytes, OFFSET) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            read => read.map(|()| Self::parse(&bytes)),
        }
    }

    fn parse(bytes: &[u8; LENGTH]) -> Option<Self> {
        if bytes[..MAGIC.len()] != MAGIC {
            return None;
        }
        let [a, b, c, d] = [0, 1, 2, 3].map(|place| bytes[BLOCKS + place]);
        Some(Self {
            block_bits: bytes[BLOCK_BITS],
            blocks: u32::from_le_bytes([a, b, c, d]),
            extra_devices: u16::from_le_bytes([bytes[EXTRA_DEVICES], bytes[EXTRA_DEVICES + 1]]),
        })
    }

    /// Size of the file system in the image, in bytes; `None` if it is more than 64 bits can hold.
    #[must_use]
    pub fn content_bytes(&self) -> Option<u64> {
        let bytes = u64::from(self.blocks).checked_shl(self.block_bits.into())?;
        (bytes >> self.block_bits == u64::from(self.blocks)).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn image(superblock: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[0; OFFSET as usize]).unwrap();
        file.write_all(superblock).unwrap();
        file
    }

    fn superblock(block_bits: u8) -> [u8; LENGTH] {
        let mut bytes = [0xaa; LENGTH];
        bytes[..4].copy_from_slice(&[0xe2, 0xe1, 0xf5, 0xe0]);
        bytes[12] = block_bits;
        bytes[36..40].copy_from_slice(&3_u32.to_le_bytes());
        bytes[86..88].copy_from_slice(&258_u16.to_le_bytes());
        bytes
    }

    #[test]
    fn size_and_devices_are_read() {
        let found = Superblock::read(&image(&superblock(12))).unwrap().unwrap();
        assert_eq!(found.content_bytes(), Some(3 << 12));
        assert_eq!(found.extra_devices, 258);
    }

    #[test]
    fn what_is_no_image_is_none() {
        let whole = superblock(12);
        assert_eq!(Superblock::read(&image(&whole[..127])).unwrap(), None);
        assert_eq!(Superblock::read(&image(&[0; LENGTH])).unwrap(), None);
        assert_eq!(
            Superblock::read(&tempfile::tempfile().unwrap()).unwrap(),
            None
        );
        let directory = File::open("/").unwrap();
        assert!(Superblock::read(&directory).is_err());
    }

    #[test]
    fn a_size_beyond_all_numbers_is_none() {
        for bits in [63, 64, 255] {
            let found = Superblock::read(&image(&superblock(bits)))
                .unwrap()
                .unwrap();
            assert_eq!(found.content_bytes(), None, "{bits}");
        }
    }
}
