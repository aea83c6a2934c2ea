//! The files of the work tree that rules read.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Folders that hold what a build made, and never a source.
const BUILT: [&str; 2] = ["target", "build"];

/// What a file is to the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Rust that is built into a program or a library.
    Product,
    /// Rust that only tests are built from.
    Test,
    /// A page of Markdown.
    Page,
    /// What an operator reads and changes: configuration and manifests.
    Setting,
}

/// One file.
#[derive(Debug, Clone)]
pub struct Source {
    /// Relative to the top folder, with `/` between its parts.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// All of its text.
    pub text: String,
}

impl Source {
    /// The lines that are built into the product: all of them without the module of tests at the
    /// end.
    #[must_use]
    pub fn product(&self) -> &str {
        let tests = "\n#[cfg(test)]\nmod ";
        let inline = |at: &usize| {
            self.text[at + tests.len()..]
                .lines()
                .next()
                .is_some_and(|l| l.ends_with('{'))
        };
        match self.text.find(tests).filter(inline) {
            Some(at) => &self.text[..=at],
            None => &self.text,
        }
    }

    /// Whether it is Rust.
    #[must_use]
    pub fn is_rust(&self) -> bool {
        matches!(self.kind, Kind::Product | Kind::Test)
    }
}

/// All files that rules read.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The top folder.
    pub root: PathBuf,
    /// In the order of their paths.
    pub files: Vec<Source>,
}

impl Sources {
    /// Reads the work tree that this crate was built in.
    pub fn read() -> io::Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here.ancestors().nth(2).unwrap_or(here).to_owned();
        let mut files = Vec::new();
        collect(&root, &root, &mut files)?;
        files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(Self { root, files })
    }

    /// The Rust files of the product.
    pub fn product(&self) -> impl Iterator<Item = &Source> {
        self.of(&[Kind::Product])
    }

    /// The files of these kinds.
    pub fn of<'a>(&'a self, kinds: &'a [Kind]) -> impl Iterator<Item = &'a Source> {
        self.files.iter().filter(|file| kinds.contains(&file.kind))
    }
}

fn collect(root: &Path, directory: &Path, files: &mut Vec<Source>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        if entry.file_type()?.is_dir() {
            if !BUILT.contains(&&*name) {
                collect(root, &path, files)?;
            }
            continue;
        }
        let relative = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .to_string_lossy()
            .into_owned();
        if let Some(kind) = kind(&relative) {
            let text = fs::read_to_string(&path)?;
            files.push(Source {
                path: relative,
                kind,
                text,
            });
        }
    }
    Ok(())
}

fn kind(path: &str) -> Option<Kind> {
    let (_, extension) = path.rsplit_once('.')?;
    let parts: Vec<&str> = path.split('/').collect();
    match extension {
        "md" => Some(Kind::Page),
        "rs" => {
            let is_test = |part: &&str| {
                matches!(*part, "tests" | "fuzz" | "tests.rs") || part.ends_with("_tests.rs")
            };
            Some(if parts.iter().any(is_test) {
                Kind::Test
            } else {
                Kind::Product
            })
        }
        "toml" | "yaml" if path == "configuration.toml" || parts[0] == "deploy" => {
            Some(Kind::Setting)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Source, kind};

    #[test]
    fn a_file_is_known_by_its_path() {
        assert_eq!(kind("shim/src/main.rs"), Some(Kind::Product));
        assert_eq!(kind("shim/build.rs"), Some(Kind::Product));
        assert_eq!(kind("shim/src/service/tests.rs"), Some(Kind::Test));
        assert_eq!(kind("shim/src/options_tests.rs"), Some(Kind::Test));
        assert_eq!(kind("tests/cri/pods.rs"), Some(Kind::Test));
        assert_eq!(kind("docs/adr/0001-x.md"), Some(Kind::Page));
        assert_eq!(kind("configuration.toml"), Some(Kind::Setting));
        assert_eq!(kind("shim/Cargo.toml"), None);
    }

    #[test]
    fn tests_at_the_end_are_no_product() {
        let source = |text: &str| Source {
            path: "a.rs".to_owned(),
            kind: Kind::Product,
            text: text.to_owned(),
        };
        let inline = source("fn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n");
        assert_eq!(inline.product(), "fn a() {}\n\n");
        let elsewhere = source("fn a() {}\n\n#[cfg(test)]\nmod tests;\n\nfn c() {}\n");
        assert_eq!(elsewhere.product(), elsewhere.text);
    }
}
