//! Reads a volume on the host and cuts it into pieces for the agent.
//!
//! Everything is opened relative to the volume's own descriptor, without following links, so no
//! link leads out of it, not even one that is made meanwhile. Links are copied as links; sockets,
//! fifos and devices are left out.

use std::{
    ffi::{CStr, CString},
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::Path,
};

use agent_client::agent::CopyFileRequest;
use rustix::{
    fs::{
        AtFlags, Dir, FileType, Mode, OFlags, RawMode, ResolveFlags, Stat, StatVfsMountFlags,
        fstat, fstatvfs, openat, openat2, readlinkat, statat,
    },
    io::Errno,
};

use super::{
    VolumeError,
    source::{self, CURRENT, Kind, Source, current},
};

/// Most data in one piece, in bytes, as Kata's runtime sends.
pub(super) const PIECE: usize = 1 << 20;
/// The most directories in one path below a volume.
pub(super) const MAX_DEPTH: u32 = 64;
/// The most file systems in memory below one source that stay writable.
const MAX_WRITABLE: usize = 64;
/// Mode of the directory that all copies are in.
const BASE_MODE: u32 = 0o755;
const LINK: RawMode = 0o120_777;

/// How much of a volume may be copied.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// The most content, in bytes.
    pub(super) bytes: u64,
    /// The most files, directories and links.
    pub(super) entries: u32,
    /// Source of the limit of `bytes`, for the error.
    pub(super) key: &'static str,
}

/// A volume that is to be copied.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) source: Source,
    /// Path in the guest.
    pub(super) target: String,
    /// Whether file systems that are mounted below the source are copied too.
    pub(super) recursive: bool,
    pub(super) limits: Limits,
    /// kubelet's name for the content that the guest has already.
    pub(super) current: Option<CString>,
    /// Paths of an earlier [`Summary::writable`], which belong to the guest by now.
    pub(super) guest_owned: Vec<String>,
}

/// What was copied of a volume.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) bytes: u64,
    pub(super) entries: u32,
    /// Number of sockets, fifos, devices and file systems that were left out.
    pub(super) left_out: u32,
    /// The target of [`CURRENT`], if there is one.
    pub(super) current: Option<CString>,
    /// Paths below the source at which memory of the host is mounted writable.
    pub(super) writable: Vec<String>,
}

/// Receives a piece; returns `false` if no more are wanted.
pub(super) type Sink<'a> = dyn FnMut(CopyFileRequest) -> bool + 'a;

/// Reads the whole volume, and passes it to `sink` piece by piece.
///
/// # Errors
/// [`VolumeError::Changing`] if the volume changed meanwhile; then another attempt may succeed.
pub(super) fn read(job: &Job, sink: &mut Sink<'_>) -> Result<Summary, VolumeError> {
    let mut resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    resolve.set(ResolveFlags::NO_XDEV, !job.recursive);
    let mut reader = Reader {
        job,
        sink,
        resolve,
        summary: Summary::default(),
        held: 0,
        skipping: false,
    };
    let source = &job.source;
    match source.facts.kind {
        Kind::File => {
            let file = source.reopen(false).map_err(|e| reader.failed(e))?;
            let stat = fstat(&file).map_err(|e| reader.failed(e))?;
            reader.file(&file, &stat, &job.target, BASE_MODE)?;
        }
        _ => reader.root(&source.handle)?,
    }
    Ok(reader.summary)
}

struct Reader<'a, 's> {
    job: &'a Job,
    sink: &'a mut Sink<'s>,
    resolve: ResolveFlags,
    summary: Summary,
    /// Number of names in memory, of the directories that are being read, one below the other. All
    /// of them are to be copied, so the limit of entries bounds them too.
    held: usize,
    /// Whether this is below one of [`Job::guest_owned`]: entries are counted and not sent.
    skipping: bool,
}

/// A directory of the host that is being read.
struct Directory<'a> {
    handle: BorrowedFd<'a>,
    mode: RawMode,
    /// Path in the guest.
    target: &'a str,
    depth: u32,
}

impl Reader<'_, '_> {
    fn root(&mut self, handle: &OwnedFd) -> Result<(), VolumeError> {
        let stat = fstat(handle).map_err(|e| self.failed(e))?;
        let target = &self.job.target;
        self.emit(&stat, target, BASE_MODE, Vec::new())?;
        let root = Directory {
            handle: handle.as_fd(),
            mode: stat.st_mode,
            target,
            depth: 0,
        };
        match current(handle) {
            Some(current) => self.versioned(&root, current),
            None => {
                let names = self.names(&root)?;
                self.holding(&root, &names)
            }
        }
    }

    /// Reads a volume that kubelet writes: first the current directory, then the link to it, then
    /// the rest. A reader in the guest sees either the old content or the new one.
    fn versioned(&mut self, root: &Directory<'_>, current: CString) -> Result<(), VolumeError> {
        if self.job.current.as_ref() != Some(&current) {
            self.entries(root, std::slice::from_ref(&current))?;
            self.entries(root, &[CURRENT.to_owned()])?;
        }
        let mut names = self.names(root)?;
        names.retain(|name| !name.to_bytes().starts_with(b".."));
        self.holding(root, &names)?;
        if self::current(root.handle).as_ref() != Some(&current) {
            return Err(self.changing());
        }
        self.summary.current = Some(current);
        Ok(())
    }

    /// Names in a directory, sorted, so that equal trees are copied in the same order.
    fn names(&self, directory: &Directory<'_>) -> Result<Vec<CString>, VolumeError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(directory.handle, c".", flags, Mode::empty())
            .and_then(Dir::new)
            .map_err(|e| self.failed(e))?;
        let mut names = Vec::new();
        for entry in dir {
            let entry = entry.map_err(|e| self.failed(e))?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if self.held + names.len() > self.job.limits.entries as usize {
                return Err(self.too_many());
            }
            names.push(name.to_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// As [`entries`](Self::entries), with `names` counted as held meanwhile.
    fn holding(&mut self, directory: &Directory<'_>, names: &[CString]) -> Result<(), VolumeError> {
        self.held += names.len();
        let read = self.entries(directory, names);
        self.held -= names.len();
        read
    }

    fn entries(&mut self, directory: &Directory<'_>, names: &[CString]) -> Result<(), VolumeError> {
        for name in names {
            let stat = statat(directory.handle, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|e| self.failed(e))?;
            let target = format!("{}/{}", directory.target, self.text(name)?);
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => self.directory(directory, name, &target)?,
                FileType::RegularFile => {
                    let file = self.open(directory, name, OFlags::NONBLOCK | OFlags::NOCTTY)?;
                    let stat = fstat(&file).map_err(|e| self.failed(e))?;
                    self.file(&file.into(), &stat, &target, directory.mode)?;
                }
                FileType::Symlink => {
                    let to = readlinkat(directory.handle, name.as_c_str(), Vec::new())
                        .map_err(|e| self.failed(e))?;
                    self.text(&to)?;
                    let mut link = stat;
                    link.st_mode = LINK;
                    self.emit(&link, &target, directory.mode, to.into_bytes())?;
                }
                _ => self.summary.left_out += 1,
            }
        }
        Ok(())
    }

    fn directory(
        &mut self,
        parent: &Directory<'_>,
        name: &CStr,
        target: &str,
    ) -> Result<(), VolumeError> {
        if parent.depth >= MAX_DEPTH {
            return Err(self.too_many());
        }
        let handle = match self.open(parent, name, OFlags::DIRECTORY) {
            // Another file system, and the mount is not recursive.
            Err(VolumeError::Io { source, .. })
                if source.raw_os_error() == Some(Errno::XDEV.raw_os_error()) =>
            {
                self.summary.left_out += 1;
                return Ok(());
            }
            handle => handle?,
        };
        let stat = fstat(&handle).map_err(|e| self.failed(e))?;
        let path = target.strip_prefix(&self.job.target).unwrap_or_default();
        let path = path.trim_start_matches('/');
        let skipping_above = self.skipping;
        let room = self.summary.writable.len() < MAX_WRITABLE;
        if room && self.is_memory(parent, &handle, &stat)? {
            self.skipping |= self.job.guest_owned.iter().any(|owned| owned == path);
            self.summary.writable.push(path.to_owned());
        }
        self.emit(&stat, target, parent.mode, Vec::new())?;
        let directory = Directory {
            handle: handle.as_fd(),
            mode: stat.st_mode,
            target,
            depth: parent.depth + 1,
        };
        let names = self.names(&directory)?;
        self.holding(&directory, &names)?;
        self.skipping = skipping_above;
        Ok(())
    }

    /// Whether a writable tmpfs is mounted at a directory below `parent`.
    fn is_memory(
        &self,
        parent: &Directory<'_>,
        handle: &OwnedFd,
        stat: &Stat,
    ) -> Result<bool, VolumeError> {
        let outside = fstat(parent.handle).map_err(|e| self.failed(e))?;
        if outside.st_dev == stat.st_dev {
            return Ok(false);
        }
        let writable = fstatvfs(handle).map_err(|e| self.failed(e))?;
        let writable = !writable.f_flag.contains(StatVfsMountFlags::RDONLY);
        let memory = source::is_tmpfs(handle).map_err(|e| self.failed(e))?;
        Ok(writable && memory)
    }

    /// Reads a file up to its present size; what is appended meanwhile is not copied.
    fn file(
        &mut self,
        file: &File,
        stat: &Stat,
        target: &str,
        parent_mode: RawMode,
    ) -> Result<(), VolumeError> {
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(self.changing());
        }
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        if size > self.job.limits.bytes.saturating_sub(self.summary.bytes) {
            return Err(VolumeError::TooLarge {
                path: self.job.source.path.clone(),
                limit: self.job.limits.bytes,
                key: self.job.limits.key,
            });
        }
        self.count()?;
        self.summary.bytes += size;
        if self.skipping {
            return Ok(());
        }
        let mut offset = 0;
        loop {
            let length = (size - offset).min(PIECE as u64);
            let mut data = vec![0; usize::try_from(length).unwrap_or(PIECE)];
            match file.read_exact_at(&mut data, offset) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(self.changing()),
                Err(e) => return Err(self.failed(e)),
            }
            self.send(CopyFileRequest {
                file_size: stat.st_size,
                offset: offset.cast_signed(),
                ..piece(stat, target, parent_mode, data)
            })?;
            offset += length;
            if offset >= size {
                return Ok(());
            }
        }
    }

    /// Sends a directory or a link.
    fn emit(
        &mut self,
        stat: &Stat,
        target: &str,
        parent_mode: RawMode,
        data: Vec<u8>,
    ) -> Result<(), VolumeError> {
        self.count()?;
        if self.skipping {
            return Ok(());
        }
        self.send(piece(stat, target, parent_mode, data))
    }

    fn send(&mut self, piece: CopyFileRequest) -> Result<(), VolumeError> {
        if (self.sink)(piece) {
            Ok(())
        } else {
            Err(VolumeError::Ended {
                path: self.job.source.path.clone(),
            })
        }
    }

    fn count(&mut self) -> Result<(), VolumeError> {
        self.summary.entries += 1;
        if self.summary.entries > self.job.limits.entries {
            return Err(self.too_many());
        }
        Ok(())
    }

    fn open(
        &self,
        parent: &Directory<'_>,
        name: &CStr,
        flags: OFlags,
    ) -> Result<OwnedFd, VolumeError> {
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        openat2(parent.handle, name, flags, Mode::empty(), self.resolve).map_err(|e| self.failed(e))
    }

    fn text<'n>(&self, name: &'n CStr) -> Result<&'n str, VolumeError> {
        name.to_str().map_err(|_| VolumeError::Name {
            path: self.job.source.path.clone(),
            name: name.to_string_lossy().into_owned(),
        })
    }

    /// The error of a system call. An entry that is missing, or of another type, since it was
    /// listed means that the volume is changing.
    fn failed(&self, error: impl Into<io::Error>) -> VolumeError {
        let error = error.into();
        let replaced = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::STALE];
        if replaced
            .iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
        {
            return self.changing();
        }
        VolumeError::io("Reading", self.path())(error)
    }

    fn changing(&self) -> VolumeError {
        VolumeError::Changing {
            path: self.path().to_owned(),
        }
    }

    fn too_many(&self) -> VolumeError {
        VolumeError::TooMany {
            path: self.path().to_owned(),
            limit: self.job.limits.entries,
            depth: MAX_DEPTH,
        }
    }

    fn path(&self) -> &Path {
        &self.job.source.path
    }
}

fn piece(stat: &Stat, target: &str, parent_mode: RawMode, data: Vec<u8>) -> CopyFileRequest {
    CopyFileRequest {
        path: target.to_owned(),
        file_mode: stat.st_mode,
        dir_mode: parent_mode & 0o7777,
        uid: stat.st_uid.cast_signed(),
        gid: stat.st_gid.cast_signed(),
        data,
        ..Default::default()
    }
}
