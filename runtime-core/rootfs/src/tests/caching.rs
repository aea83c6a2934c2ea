//! One image for what is equal, another for what differs, and no more of them than allowed.

use std::{
    io::Read,
    os::unix::fs::PermissionsExt,
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{super::tree::Overlay, *};

#[test]
fn equal_trees_share_an_image() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let tree = fixture.tree("tree", "a");
    let copy = fixture.dir.path().join("copy");
    run("cp", &["-a", text(&tree), text(&copy)]);
    let (first, made) = fixture.image_of(&tree).unwrap();
    let (again, made_again) = fixture.image_of(&copy).unwrap();
    assert!(made && !made_again);
    assert_eq!(first.path(), again.path());
    assert_eq!(fixture.files().len(), 1);
}

/// A stream of entries in which the content of a file had its length behind it only: the content of
/// f in one tree is what the other tree's f and the next file begin with.
#[test]
fn content_that_looks_like_the_next_file_gives_another_image() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let tree = |name: &str, files: &[(&str, &[u8], u32)]| {
        let tree = fixture.dir.path().join(name);
        fs::create_dir(&tree).unwrap();
        for (name, content, mode) in files {
            let path = tree.join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
            run("touch", &["-d", "@5", text(&path)]);
        }
        tree
    };
    let number = |value: usize| (value as i128).to_le_bytes().to_vec();
    let field = |bytes: &[u8]| [&(bytes.len() as u64).to_le_bytes(), bytes].concat();
    // Name; first of its links, mode, owner, group, time.
    let head = |name: &str, mode| {
        let numbers = [0, mode, 0, 0, 5, 0].map(number);
        [field(name.as_bytes()), numbers.concat()].concat()
    };
    let attribute = 16 + head("z", 0).len() as u64;
    let content = [
        b"harmless".to_vec(),
        number(8),
        head("g", 0o100_644),
        field(b"user.a"),
        attribute.to_le_bytes().to_vec(),
    ]
    .concat();
    let value = [number(content.len()), head("z", 0o104_755)].concat();
    assert_eq!(value.len() as u64, attribute);
    let one = tree("one", &[("f", b"harmless", 0o644), ("g", b"", 0o644)]);
    let none = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(one.join("g"), "user.a", &value, none).unwrap();
    let other = tree("other", &[("f", &content, 0o644), ("z", b"", 0o4755)]);
    let (first, _) = fixture.image_of(&one).unwrap();
    let (second, made) = fixture.image_of(&other).unwrap();
    assert!(made && first.path() != second.path());
}

#[test]
fn the_same_tree_gives_the_same_image() {
    if !possible() {
        return;
    }
    let read = || {
        let fixture = Fixture::new();
        let tree = fixture.tree("tree", "a");
        run(
            "touch",
            &["-d", "@1000000000.5", text(&tree.join("file")), text(&tree)],
        );
        let (image, _) = fixture.image_of(&tree).unwrap();
        fs::read(image.path()).unwrap()
    };
    assert!(read() == read());
}

/// Time, size and length stay the same: what may clamp times cannot hide a change.
#[test]
fn a_changed_file_is_noticed() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let tree = fixture.tree("tree", "one");
    run("touch", &["-d", "@5", text(&tree.join("file"))]);
    fixture.image_of(&tree).unwrap();
    fs::write(tree.join("file"), "two").unwrap();
    run("touch", &["-d", "@5", text(&tree.join("file"))]);
    let (_, made) = fixture.image_of(&tree).unwrap();
    assert!(made);
    assert_eq!(fixture.files().len(), 2);
}

#[test]
fn a_layer_is_known_without_being_read() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let upper = fixture.dir.path().join("upper");
    fs::create_dir(&upper).unwrap();
    let lower = fixture.tree("lower", "a");
    let overlay = |upper: &Path, lower: &Path| {
        Tree::Overlay(Overlay {
            upper: Some(upper.to_owned()),
            lowers: vec![lower.to_owned()],
            options: Vec::new(),
        })
    };
    let made = |tree: &Tree| fixture.cache.image_of(tree).unwrap().1;
    assert!(made(&overlay(&upper, &lower)));
    let other_upper = fixture.dir.path().join("upper of another container");
    fs::create_dir(&other_upper).unwrap();
    assert!(!made(&overlay(&other_upper, &lower)));
    fs::write(other_upper.join("file"), "b").unwrap();
    assert!(
        made(&overlay(&other_upper, &lower)),
        "a file in the upper layer was not noticed"
    );
    // Another snapshot under the same path.
    fs::remove_dir_all(&lower).unwrap();
    fixture.tree("lower", "a");
    assert!(
        made(&overlay(&upper, &lower)),
        "another directory in the layer's place"
    );
}

#[test]
fn many_at_once_make_one_image() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let tree = fixture.tree("tree", &"x".repeat(1 << 20));
    let (start, made) = (Barrier::new(8), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                let (_image, new) = fixture.image_of(&tree).unwrap();
                made.fetch_add(usize::from(new), Ordering::SeqCst);
            });
        }
    });
    assert_eq!(made.into_inner(), 1);
    assert_eq!(fixture.files().len(), 1);
    let locks = fixture.dir.path().join("cache/locks");
    assert_eq!(files_in(&locks), Vec::<String>::new());
}

#[test]
fn what_is_unused_for_longest_goes_first() {
    if !possible() {
        return;
    }
    let mut fixture = Fixture::new();
    fixture.cache = RootfsCache::open(fixture.dir.path().join("cache"), 3 << 20).unwrap();
    let image = |number: u8| {
        let tree = fixture.tree(
            &format!("tree{number}"),
            &number.to_string().repeat(1_200_000),
        );
        fixture.image_of(&tree).unwrap().0
    };
    let path = |image: LeasedImage| image.path().to_owned();
    let leased = image(1);
    let (second, third) = (path(image(2)), path(image(3)));
    // Three do not fit: the first is in use, so the second had to go.
    assert!(leased.path().exists() && !second.exists() && third.exists());
    // A VMM has the file open; without the lease it may be removed, and is still readable.
    let mut open = fs::File::open(leased.path()).unwrap();
    let first = path(leased);
    let fourth = path(image(4));
    assert!(!first.exists() && third.exists() && fourth.exists());
    assert!(open.read_to_end(&mut Vec::new()).unwrap() > 1_000_000);
}
