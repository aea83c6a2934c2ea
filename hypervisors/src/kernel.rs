//! Whether a file is a kernel that a VMM can start. QEMU takes any file for an ancient kernel
//! and runs it, so the question is answered before it is asked.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use crate::{Error, Result};

/// `XEN_ELFNOTE_PHYS32_ENTRY`: the 32-bit entry point of a PVH boot
/// (<https://xenbits.xen.org/docs/unstable/misc/pvh.html>).
const PHYS32_ENTRY: u32 = 18;
/// The longest note segment that is searched; a kernel's has less than 1 KiB.
const NOTES_LIMIT: u64 = 64 << 10;
/// `e_phnum` of a kernel is below ten.
const SEGMENTS_LIMIT: u16 = 64;
const PT_NOTE: u32 = 4;

/// Checks that `path` can be opened and has the form of a kernel.
///
/// # Errors
/// The file cannot be read, or is neither a bzImage nor an ELF file with a PVH entry point.
pub fn check(path: &Path) -> Result<()> {
    let failed = |source| Error::Io {
        action: "Reading kernel",
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    if is_kernel(&file).map_err(failed)? {
        return Ok(());
    }
    Err(Error::InvalidSpec(format!(
        "{} is no kernel (neither a bzImage nor an ELF file with a PVH entry point)",
        path.display()
    )))
}

fn is_kernel(file: &File) -> io::Result<bool> {
    Ok(is_bzimage(file)? || has_pvh_entry(file)?)
}

/// The "HdrS" of the Linux/x86 boot protocol, at 202h.
fn is_bzimage(file: &File) -> io::Result<bool> {
    Ok(bytes_at::<4>(file, 0x202)? == Some(*b"HdrS"))
}

fn has_pvh_entry(file: &File) -> io::Result<bool> {
    let Some(header) = bytes_at::<64>(file, 0)? else {
        return Ok(false);
    };
    let (magic, class, little_endian) = (&header[..4], header[4], header[5] == 1);
    if magic != b"\x7fELF" || !little_endian {
        return Ok(false);
    }
    let table = match class {
        1 => Segments::elf32(&header),
        2 => Segments::elf64(&header),
        _ => return Ok(false),
    };
    for index in 0..table.count.min(SEGMENTS_LIMIT) {
        let Some((offset, length)) = table.note_segment(file, index)? else {
            continue;
        };
        let mut notes = vec![0; length.min(NOTES_LIMIT) as usize];
        let read = file.read_at(&mut notes, offset)?;
        if notes_name_entry(&notes[..read]) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The program header table of an ELF file.
struct Segments {
    wide: bool,
    offset: u64,
    entry_size: u16,
    count: u16,
}

impl Segments {
    fn elf32(header: &[u8; 64]) -> Self {
        let offset = u64::from(u32_at(header, 28));
        Self {
            wide: false,
            offset,
            entry_size: u16_at(header, 42),
            count: u16_at(header, 44),
        }
    }

    fn elf64(header: &[u8; 64]) -> Self {
        let offset = u64_at(header, 32);
        Self {
            wide: true,
            offset,
            entry_size: u16_at(header, 54),
            count: u16_at(header, 56),
        }
    }

    /// Offset and length of segment `index`, if it holds notes.
    fn note_segment(&self, file: &File, index: u16) -> io::Result<Option<(u64, u64)>> {
        let at = u64::from(index) * u64::from(self.entry_size);
        let Some(at) = self.offset.checked_add(at) else {
            return Ok(None);
        };
        let Some(entry) = bytes_at::<56>(file, at)? else {
            return Ok(None);
        };
        if u32_at(&entry, 0) != PT_NOTE {
            return Ok(None);
        }
        Ok(Some(if self.wide {
            (u64_at(&entry, 8), u64_at(&entry, 32))
        } else {
            (u64::from(u32_at(&entry, 4)), u64::from(u32_at(&entry, 16)))
        }))
    }
}

fn notes_name_entry(mut notes: &[u8]) -> bool {
    while notes.len() >= 12 {
        let (name_size, value_size) = (u32_at(notes, 0) as usize, u32_at(notes, 4) as usize);
        let (kind, rest) = (u32_at(notes, 8), &notes[12..]);
        if kind == PHYS32_ENTRY && name_size == 4 && rest.starts_with(b"Xen\0") {
            return true;
        }
        let Some(size) = padded(name_size).checked_add(padded(value_size)) else {
            return false;
        };
        let Some(next) = rest.get(size..) else {
            return false;
        };
        notes = next;
    }
    false
}

fn padded(size: usize) -> usize {
    size.saturating_add(3) & !3
}

fn bytes_at<const N: usize>(file: &File, offset: u64) -> io::Result<Option<[u8; N]>> {
    let mut bytes = [0; N];
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        // An offset beyond what pread(2) takes comes from a header that is no kernel's.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
        Err(error) => Err(error),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn verdict(content: &[u8]) -> bool {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        is_kernel(&file).unwrap()
    }

    fn note(name: &[u8], kind: u32, value: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        for word in [name.len() as u32, value.len() as u32, kind] {
            note.extend(word.to_le_bytes());
        }
        for part in [name, value] {
            note.extend(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    fn elf64(notes: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 64 + 56];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[32] = 64;
        file[54] = 56;
        file[56] = 1;
        file[64] = PT_NOTE as u8;
        file[64 + 8] = 120;
        file[64 + 32..64 + 40].copy_from_slice(&(notes.len() as u64).to_le_bytes());
        file.extend(notes);
        file
    }

    #[test]
    fn a_vmlinux_with_a_pvh_note_is_a_kernel() {
        let notes = [note(b"Linux\0", 1, b"x"), note(b"Xen\0", 18, &[0; 8])].concat();
        assert!(verdict(&elf64(&notes)));
    }

    #[test]
    fn an_elf_file_without_that_note_is_none() {
        assert!(!verdict(&elf64(&note(b"Xen\0", 6, b"linux"))));
        assert!(!verdict(&elf64(&note(b"GNU\0", 18, &[0; 8]))));
        assert!(!verdict(&std::fs::read("/proc/self/exe").unwrap()));
    }

    #[test]
    fn a_bzimage_is_a_kernel() {
        let mut image = vec![0; 0x400];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        assert!(verdict(&image));
    }

    #[test]
    fn other_files_are_none() {
        for content in [&b""[..], b"\x7fELF", b"hello", &[0; 4096], &[0xff; 4096]] {
            assert!(!verdict(content));
        }
    }

    #[test]
    fn hostile_offsets_and_sizes_are_survived() {
        let mut file = elf64(&note(b"Xen\0", 18, &[0; 8]));
        file[32..40].fill(0xff);
        assert!(!verdict(&file));
        let mut file = elf64(&[0xff; 64]);
        file[56] = 0xff;
        assert!(!verdict(&file));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = check(Path::new("/no/such/vmlinux")).unwrap_err();
        assert_eq!(error.to_string(), "Reading kernel /no/such/vmlinux failed");
    }
}
