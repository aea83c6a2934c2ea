//! What fails leaves nothing, and says why.

use std::{
    env,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    time::{Duration, Instant},
};

use super::{super::fingerprint::Fingerprint, *};

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing() {
    if !possible() {
        return;
    }
    in_namespace(|| {
        let fixture = Fixture::new();
        let cache = fixture.dir.path().join("cache");
        mount(
            Some("small"),
            &cache,
            Some("tmpfs"),
            MsFlags::empty(),
            Some("size=4m"),
        )
        .unwrap();
        let small = RootfsCache::open(&cache, MANY_BYTES).unwrap();
        let image_of = |tree: &Path| small.image_of(&Tree::Directory(tree.to_owned()));
        image_of(&fixture.tree("fits", &"1".repeat(3 << 20))).unwrap();
        // It fits once the other one is gone.
        image_of(&fixture.tree("fits too", &"2".repeat(3 << 20))).unwrap();
        assert_eq!(fixture.files().len(), 1);
        let error = image_of(&fixture.tree("does not", &"3".repeat(5 << 20))).unwrap_err();
        assert!(matches!(error, RootfsError::Full { .. }), "{error}");
        assert_eq!(fixture.files(), Vec::<String>::new());
        // A child that another test is just starting holds a copy of every descriptor for a moment.
        let free = || rustix::fs::statvfs(&cache).map(|all| all.f_bfree * all.f_frsize);
        let deadline = Instant::now() + Duration::from_secs(10);
        while free().unwrap() <= 3 << 20 {
            assert!(
                Instant::now() < deadline,
                "{} bytes are free",
                free().unwrap()
            );
            std::thread::yield_now();
        }
    });
}

#[test]
fn an_absent_mkfs_is_named() {
    if !possible() {
        return;
    }
    in_namespace(|| {
        let fixture = Fixture::new();
        let tree = fixture.tree("tree", "a");
        for dir in ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"] {
            mount(
                Some("none"),
                dir,
                Some("tmpfs"),
                MsFlags::empty(),
                None::<&str>,
            )
            .unwrap();
        }
        let error = fixture.image_of(&tree).unwrap_err();
        assert!(error.to_string().contains("erofs-utils"), "{error}");
    });
}

#[test]
fn a_mkfs_that_was_killed_is_distinguished_from_one_that_failed() {
    if !possible() {
        return;
    }
    for (end, is_kill) in [
        ("kill -KILL $$", true),
        ("kill -TERM $$", false),
        ("false", false),
    ] {
        in_namespace(|| {
            let fixture = Fixture::new();
            let tree = fixture.tree("tree", "a");
            let script = fixture.dir.path().join("script");
            fs::write(&script, format!("#!/bin/sh\n{end}\n")).unwrap();
            fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
            for dir in ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"] {
                let program = Path::new(dir).join("mkfs.erofs");
                if program.exists() {
                    let none = None::<&str>;
                    mount(Some(&script), &program, none, MsFlags::MS_BIND, none).unwrap();
                }
            }
            let error = fixture.image_of(&tree).unwrap_err();
            assert_eq!(error.is_kill(), is_kill, "{error}");
        });
    }
}

/// mkfs.erofs 1.5 cannot; a newer one may.
#[test]
fn a_name_of_the_greatest_length_works_or_is_named() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let tree = fixture.tree("tree", "a");
    fs::write(tree.join("n".repeat(255)), "x").unwrap();
    if let Err(error) = fixture.image_of(&tree) {
        assert!(
            error.to_string().contains("has a name of 255 bytes"),
            "{error}"
        );
        assert_eq!(fixture.files(), Vec::<String>::new());
    }
}

#[test]
fn a_tree_that_changes_is_noticed() {
    let fixture = Fixture::new();
    let dir = fixture.tree("tree", "a");
    let before = Fingerprint::compute(&Tree::Directory(dir.clone())).unwrap();
    before.still_true().unwrap();
    fs::write(dir.join("file"), "b").unwrap();
    let error = before.still_true().unwrap_err();
    assert!(matches!(error, RootfsError::Changed { .. }), "{error}");
}

#[test]
fn a_damaged_image_is_made_anew() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let tree = fixture.tree("tree", "a");
    let path = fixture.image_of(&tree).unwrap().0.path().to_owned();
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(100)
        .unwrap();
    let (image, made) = fixture.image_of(&tree).unwrap();
    assert!(made && image.bytes() > 1000);
}

#[test]
fn what_is_no_tree_is_refused() {
    let fixture = Fixture::new();
    let tree = fixture.tree("tree", "a");
    let link = fixture.dir.path().join("link");
    std::os::unix::fs::symlink(&tree, &link).unwrap();
    for path in [&tree.join("file"), &tree.join("absent"), &link] {
        let error = fixture.image_of(path).unwrap_err();
        assert!(matches!(error, RootfsError::Io { .. }), "{error}");
    }
    assert_eq!(fixture.files(), Vec::<String>::new());
}

const VICTIM: &str = "IMPRINT_TEST_VICTIM";

/// The other half of the next test: makes an image until it is killed.
#[test]
fn victim() {
    let Some(dir) = env::var_os(VICTIM).map(PathBuf::from) else {
        return;
    };
    let cache = RootfsCache::open(dir.join("cache"), MANY_BYTES).unwrap();
    let _ = cache.image_of(&Tree::Directory(dir.join("tree")));
}

#[test]
fn a_killed_maker_leaves_nothing() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let tree = fixture.tree("tree", "a");
    // A fifo in place of mkfs.erofs's input would never end; large files take long enough.
    for number in 0..40 {
        let file = fs::File::create(tree.join(format!("large{number}"))).unwrap();
        file.set_len(4 << 20).unwrap();
    }
    let locks = fixture.dir.path().join("cache/locks");
    let (_, module) = module_path!().split_once("::").unwrap();
    let mut victim = Command::new(env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::victim")])
        .env(VICTIM, fixture.dir.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_for_file(&locks);
    victim.kill().unwrap();
    assert_eq!(
        victim.wait().unwrap().signal(),
        Some(9),
        "it was done before it was killed"
    );
    assert_eq!(fixture.files(), Vec::<String>::new());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(text(fixture.dir.path())));
    assert_eq!(files_in(&locks).len(), 1);
    // The lock it left is taken over, and then removed.
    let begun = Instant::now();
    assert!(fixture.image_of(&tree).unwrap().1);
    eprintln!("made after all in {:?}", begun.elapsed());
    assert_eq!(files_in(&locks), Vec::<String>::new());
}

/// Waits by inotify until there is a file in `dir`, at most 20 seconds.
fn wait_for_file(dir: &Path) {
    use rustix::{
        event::{PollFd, PollFlags, Timespec, poll},
        fs::inotify,
    };
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&watch, dir, inotify::WatchFlags::CREATE).unwrap();
    if files_in(dir).is_empty() {
        let timeout = Timespec {
            tv_sec: 20,
            tv_nsec: 0,
        };
        let ready = poll(&mut [PollFd::new(&watch, PollFlags::IN)], Some(&timeout)).unwrap();
        assert_eq!(ready, 1, "no file in {dir:?}");
    }
}
