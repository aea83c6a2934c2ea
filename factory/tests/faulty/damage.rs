//! What is done to a template's files, and how it is undone.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    os::unix::fs::{FileExt, PermissionsExt, chown, symlink},
    path::Path,
};

pub fn cut(path: &Path) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(path.metadata().unwrap().len() / 2).unwrap();
}

pub fn flip(path: &Path) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let at = path.metadata().unwrap().len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

pub fn remove(path: &Path) {
    fs::remove_file(path).unwrap();
}

pub fn give_away(path: &Path) {
    chown(path, Some(1), None).unwrap();
}

pub fn open_up(path: &Path) {
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

pub fn other_version(dir: &Path) {
    let path = dir.join("manifest.json");
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    manifest["format_version"] = 99.into();
    fs::write(path, manifest.to_string()).unwrap();
}

pub fn link(dir: &Path) {
    fs::rename(dir.join("state"), dir.join("elsewhere")).unwrap();
    symlink("elsewhere", dir.join("state")).unwrap();
}

pub fn directory(dir: &Path) {
    remove(&dir.join("state"));
    fs::create_dir(dir.join("state")).unwrap();
    fs::set_permissions(dir.join("state"), Permissions::from_mode(0o700)).unwrap();
}

pub fn failed_before(dir: &Path) {
    fs::write(dir.join("failures"), "1 one\n2 two\n3 three\n").unwrap();
    fs::set_permissions(dir.join("failures"), Permissions::from_mode(0o600)).unwrap();
}

/// The files of a template that tests may write: they count by content.
pub struct Saved {
    state: Vec<u8>,
    manifest: Vec<u8>,
}

impl Saved {
    pub fn read(dir: &Path) -> Self {
        Self {
            state: fs::read(dir.join("state")).unwrap(),
            manifest: fs::read(dir.join("manifest.json")).unwrap(),
        }
    }

    pub fn restore(&self, dir: &Path) {
        for name in ["state", "manifest.json", "failures", "elsewhere"] {
            let path = dir.join(name);
            let _ = fs::remove_dir(&path);
            let _ = fs::remove_file(&path);
        }
        fs::set_permissions(dir, Permissions::from_mode(0o700)).unwrap();
        for (name, content) in [("state", &self.state), ("manifest.json", &self.manifest)] {
            let path = dir.join(name);
            File::create(&path)
                .unwrap()
                .write_all_at(content, 0)
                .unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        }
    }
}
