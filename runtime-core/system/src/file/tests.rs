use std::{
    os::unix::fs::MetadataExt,
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

use super::*;

/// A file, a link to it, a fifo and a directory.
fn directory() -> (TempDir, [PathBuf; 4]) {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["file", "link", "fifo", "dir"].map(|name| dir.path().join(name));
    let [file, link, fifo, below] = &paths;
    fs::write(file, "content").unwrap();
    symlink(file, link).unwrap();
    mknodat(CWD, fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    fs::create_dir(below).unwrap();
    (dir, paths)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn kind<T>(done: io::Result<T>) -> ErrorKind {
    done.map(drop).unwrap_err().kind()
}

#[test]
fn no_link_is_followed_and_no_fifo_waited_for() {
    let (_dir, [file, link, fifo, below]) = directory();
    let all: [fn(&Path) -> io::Result<File>; 5] = [
        open,
        open_regular,
        open_or_make,
        open_to_append,
        open_to_change,
    ];
    for opens in all {
        assert_eq!(opens(&link).unwrap_err().raw_os_error(), Some(libc::ELOOP));
        opens(&file).unwrap();
    }
    open(&fifo).unwrap();
    open(&below).unwrap();
    for other in [&fifo, &below] {
        assert_eq!(kind(open_regular(other)), ErrorKind::InvalidInput);
    }
}

#[test]
fn only_what_is_to_be_made_is_made_and_it_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new");
    for opens in [open, open_regular, open_to_change] {
        assert_eq!(kind(opens(&path)), ErrorKind::NotFound);
    }
    for makes in [open_or_make, open_to_append, make] {
        makes(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(kind(make(&path)), ErrorKind::AlreadyExists);
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn what_is_there_is_kept_changed_or_added_to() {
    let (_dir, [file, ..]) = directory();
    open_or_make(&file).unwrap().write_all(b"C").unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"Content");
    open_to_append(&file).unwrap().write_all(b"s").unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"Contents");
    let mut text = String::new();
    let mut changed = open_to_change(&file).unwrap();
    changed.write_all(b"x").unwrap();
    changed.read_to_string(&mut text).unwrap();
    assert_eq!(text, "ontents");
}

#[test]
fn a_content_is_read_up_to_its_limit() {
    let (_dir, [file, link, ..]) = directory();
    assert_eq!(read(&file, 7).unwrap(), b"content");
    assert_eq!(read(&file, u64::MAX).unwrap(), b"content");
    assert_eq!(kind(read(&file, 6)), ErrorKind::FileTooLarge);
    assert_eq!(read_bounded(&b"ab"[..], 2).unwrap(), b"ab");
    assert_eq!(
        kind(read_bounded(io::repeat(0), 2)),
        ErrorKind::FileTooLarge
    );
    assert!(read(&link, 7).is_err());
    assert_eq!(read_linked(&link, 7).unwrap(), b"content");
    assert_eq!(kind(read_linked(&link, 6)), ErrorKind::FileTooLarge);
}

#[test]
fn a_link_that_an_operator_names_must_lead_to_a_file() {
    let (dir, [_, link, fifo, below]) = directory();
    for other in [&fifo, &below] {
        fs::remove_file(&link).unwrap();
        symlink(other, &link).unwrap();
        assert_eq!(kind(read_linked(&link, 7)), ErrorKind::InvalidInput);
    }
    drop(dir);
}

#[test]
fn what_is_replaced_is_private_and_leaves_nothing_beside() {
    let (dir, [file, link, _, below]) = directory();
    for path in [&file, &link, &dir.path().join("new")] {
        replace(path, b"other").unwrap();
        assert_eq!(
            (fs::read(path).unwrap(), mode(path)),
            (b"other".to_vec(), 0o600)
        );
    }
    // It was the link that was replaced.
    assert!(fs::symlink_metadata(&link).unwrap().is_file());
    replace_link(&file, Path::new("anywhere")).unwrap();
    assert_eq!(fs::read_link(&file).unwrap(), Path::new("anywhere"));
    assert!(replace(&below, b"").is_err());
    assert!(replace_link(&below, Path::new("anywhere")).is_err());
    assert_eq!(kind(replace(Path::new("/"), b"")), ErrorKind::InvalidInput);
    let names = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let mut left = names.filter(|name| name.as_encoded_bytes().starts_with(b"."));
    assert_eq!(left.next(), None);
}

#[test]
fn a_writer_waits_for_no_other_one() {
    let dir = tempfile::tempdir().unwrap();
    let (path, left) = (dir.path().join("file"), dir.path().join(".file.new"));
    // As of a process that is frozen while it writes.
    let other = make(&left).unwrap();
    other.lock().unwrap();
    replace(&path, b"less").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"less");
}

#[test]
fn a_file_is_at_its_path_until_another_is() {
    let (dir, [path, ..]) = directory();
    let file = open(&path).unwrap();
    assert!(is_at(&file, &path).unwrap());
    fs::rename(&path, dir.path().join("elsewhere")).unwrap();
    assert!(!is_at(&file, &path).unwrap());
    fs::write(&path, "another").unwrap();
    assert!(!is_at(&file, &path).unwrap());
}

#[test]
fn a_reader_sees_all_of_one_content_whoever_writes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let contents = [b'a', b'b'].map(|letter| vec![letter; 64 << 10]);
    replace(&path, &contents[0]).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers = contents.each_ref().map(|content| {
            let path = &path;
            scope.spawn(move || (0..200).for_each(|_| replace(path, content).unwrap()))
        });
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                assert!(contents.contains(&fs::read(&path).unwrap()));
            }
        });
        let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
    });
}
