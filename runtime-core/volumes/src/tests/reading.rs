//! Trees of the host, cut into pieces.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use agent_client::agent::CopyFileRequest;
use nix::mount::umount;

use super::{mount_memory, publish, with_own_mounts};
use crate::{
    VolumeError,
    source::Source,
    tree::{Job, Limits, PIECE, Summary, read},
};

const LIMITS: Limits = Limits {
    bytes: 8 << 20,
    entries: 64,
    key: "test",
};

fn job(path: &Path, limits: Limits) -> Job {
    Job {
        source: Source::open(path).unwrap(),
        target: "/t".into(),
        recursive: true,
        limits,
        current: None,
        guest_owned: Vec::new(),
    }
}

fn pieces(job: &Job) -> Result<(Vec<CopyFileRequest>, Summary), VolumeError> {
    let mut pieces = Vec::new();
    let summary = read(job, &mut |piece| {
        pieces.push(piece);
        true
    })?;
    Ok((pieces, summary))
}

fn paths(pieces: &[CopyFileRequest]) -> Vec<&str> {
    pieces.iter().map(|piece| piece.path.as_str()).collect()
}

#[test]
fn a_tree_is_copied_with_modes_links_and_nothing_special() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fs::create_dir(root.join("d")).unwrap();
    fs::set_permissions(root.join("d"), fs::Permissions::from_mode(0o2750)).unwrap();
    fs::write(root.join("d/f"), "content").unwrap();
    fs::set_permissions(root.join("d/f"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("/etc/passwd", root.join("l")).unwrap();
    nix::unistd::mkfifo(&root.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (pieces, summary) = pieces(&job(root, LIMITS)).unwrap();
    assert_eq!(paths(&pieces), ["/t", "/t/d", "/t/d/f", "/t/l"]);
    assert_eq!(
        (summary.bytes, summary.entries, summary.left_out),
        (7, 4, 1)
    );
    let by_path = |path: &str| pieces.iter().find(|piece| piece.path == path).unwrap();
    assert_eq!(by_path("/t/d").file_mode, 0o042_750);
    assert_eq!(by_path("/t/d/f").file_mode, 0o100_640);
    assert_eq!(by_path("/t/d/f").dir_mode, 0o2750);
    assert_eq!(by_path("/t/l").data, b"/etc/passwd");
    assert_eq!(by_path("/t/l").file_mode & 0o170_000, 0o120_000);
}

#[test]
fn large_files_come_in_pieces_and_empty_ones_too() {
    let dir = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..PIECE * 2 + 5).map(|n| (n % 251) as u8).collect();
    fs::write(dir.path().join("large"), &content).unwrap();
    fs::write(dir.path().join("none"), "").unwrap();
    let (pieces, _) = pieces(&job(dir.path(), LIMITS)).unwrap();
    let large: Vec<_> = pieces
        .iter()
        .filter(|piece| piece.path == "/t/large")
        .collect();
    let sizes: Vec<usize> = large.iter().map(|piece| piece.data.len()).collect();
    assert_eq!(sizes, [PIECE, PIECE, 5]);
    assert!(
        large
            .iter()
            .all(|piece| piece.file_size == content.len() as i64)
    );
    let offsets: Vec<i64> = large.iter().map(|piece| piece.offset).collect();
    assert_eq!(offsets, [0, PIECE as i64, 2 * PIECE as i64]);
    let joined: Vec<u8> = large.iter().flat_map(|piece| piece.data.clone()).collect();
    assert_eq!(joined, content);
    assert_eq!(
        pieces
            .iter()
            .filter(|piece| piece.path == "/t/none")
            .count(),
        1
    );
}

#[test]
fn what_kubelet_writes_is_ordered_for_an_atomic_change() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), "..1", &[("a", "one"), ("b", "two")]);
    // Left by an earlier change that is still being tidied up.
    fs::create_dir(dir.path().join("..0")).unwrap();
    let first = job(dir.path(), LIMITS);
    let (copied, summary) = pieces(&first).unwrap();
    let expected = [
        "/t",
        "/t/..1",
        "/t/..1/a",
        "/t/..1/b",
        "/t/..data",
        "/t/a",
        "/t/b",
    ];
    assert_eq!(paths(&copied), expected);
    let again = Job {
        current: summary.current,
        ..job(dir.path(), LIMITS)
    };
    assert_eq!(paths(&pieces(&again).unwrap().0), ["/t", "/t/a", "/t/b"]);
}

#[test]
fn limits_hold() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(dir.path().join(name), "0123456789").unwrap();
    }
    let few = pieces(&job(
        dir.path(),
        Limits {
            bytes: 25,
            ..LIMITS
        },
    ))
    .unwrap_err();
    assert!(
        matches!(few, VolumeError::TooLarge { limit: 25, .. }),
        "{few}"
    );
    let many = pieces(&job(
        dir.path(),
        Limits {
            entries: 2,
            ..LIMITS
        },
    ))
    .unwrap_err();
    assert!(matches!(many, VolumeError::TooMany { .. }), "{many}");
    let mut deep = dir.path().join("deep");
    for _ in 0..70 {
        fs::create_dir(&deep).unwrap();
        deep.push("d");
    }
    let deep = pieces(&job(
        dir.path(),
        Limits {
            entries: 1000,
            ..LIMITS
        },
    ))
    .unwrap_err();
    assert!(matches!(deep, VolumeError::TooMany { .. }), "{deep}");
}

#[test]
fn a_directory_exchanged_for_a_link_leads_nowhere() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "host").unwrap();
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    let job = job(dir.path(), LIMITS);
    let mut seen = Vec::new();
    // The exchange happens while the tree is read: after the root, before what is in it.
    let outcome = read(&job, &mut |piece| {
        if piece.path == "/t" {
            fs::write(dir.path().join("d2"), "").unwrap();
        }
        if piece.path == "/t/d" {
            fs::remove_dir(dir.path().join("d")).unwrap();
            symlink(outside.path(), dir.path().join("d")).unwrap();
        }
        seen.push(piece);
        true
    });
    assert!(outcome.is_ok() || matches!(outcome, Err(VolumeError::Changing { .. })));
    assert!(
        seen.iter()
            .all(|piece| !piece.data.windows(4).any(|part| part == b"host"))
    );
}

#[test]
fn a_file_that_shrinks_is_not_half_copied() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    fs::write(&path, vec![1; PIECE + 1]).unwrap();
    let job = job(dir.path(), LIMITS);
    let outcome = read(&job, &mut |piece| {
        if piece.path == "/t/f" {
            fs::write(&path, "short").unwrap();
        }
        true
    });
    assert!(
        matches!(outcome, Err(VolumeError::Changing { .. })),
        "{outcome:?}"
    );
}

/// Names are held while what is below is read. At each level there are as many as may be copied.
#[test]
fn names_of_all_levels_together_are_within_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let mut level = dir.path().to_owned();
    for _ in 0..20 {
        for number in 0..50 {
            fs::write(level.join(format!("file{number}")), "").unwrap();
        }
        level = level.join("above-the-files");
        fs::create_dir(&level).unwrap();
    }
    let limits = Limits {
        entries: 60,
        ..LIMITS
    };
    let mut read_on = 0;
    let error = read(&job(dir.path(), limits), &mut |_| {
        read_on += 1;
        true
    })
    .unwrap_err();
    assert!(matches!(error, VolumeError::TooMany { .. }), "{error}");
    assert!(
        read_on <= 3,
        "{read_on} pieces before the second directory was too much"
    );
}

#[test]
fn what_the_guest_may_have_written_to_is_not_sent_again() {
    with_own_mounts(|| {
        let dir = tempfile::tempdir().unwrap();
        let memory = dir.path().join("memory");
        fs::create_dir(&memory).unwrap();
        mount_memory(&memory);
        fs::create_dir(memory.join("sub")).unwrap();
        fs::write(memory.join("sub/file"), "12345").unwrap();
        fs::write(dir.path().join("outside"), "123").unwrap();

        let mut job = job(dir.path(), LIMITS);
        let (first, summary) = pieces(&job).unwrap();
        let all = [
            "/t",
            "/t/memory",
            "/t/memory/sub",
            "/t/memory/sub/file",
            "/t/outside",
        ];
        assert_eq!(paths(&first), all);
        assert_eq!(summary.writable, ["memory"]);
        job.guest_owned = summary.writable.clone();
        let (again, counted) = pieces(&job).unwrap();
        assert_eq!(paths(&again), ["/t", "/t/outside"]);
        assert_eq!(counted, summary, "the guest still has it");
        // The host's memory is there no more: the path is a directory like others.
        umount(&memory).unwrap();
        assert_eq!(
            paths(&pieces(&job).unwrap().0),
            ["/t", "/t/memory", "/t/outside"]
        );
    });
}
