//! Rule 2: what the top-level modules of a crate use of each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use crate::{
    Error,
    circle::Graph,
    paths::{self, Found, ModuleFile},
};

/// A place where one top-level module names another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// Line, counted from 1.
    pub line: usize,
}

/// The top-level modules of a library or a binary, by name: which uses which, and where.
#[derive(Debug, Default)]
pub struct Modules {
    /// A module, another one that it names, and the places.
    pub arrows: BTreeMap<(String, String), Vec<Place>>,
    /// Where a module takes in all names of the root, so that what it uses cannot be seen.
    pub globs: Vec<Place>,
}

impl Modules {
    /// The same without the places.
    #[must_use]
    pub fn graph(&self) -> Graph<'_> {
        let mut graph = Graph::new();
        for (from, to) in self.arrows.keys() {
            graph.entry(from).or_default().insert(to);
        }
        graph
    }
}

/// A file that was looked through.
struct File {
    path: PathBuf,
    /// The module that it is the text of; empty for the root.
    module: Vec<String>,
    found: Found,
}

/// Follows the modules from the root file at `root` and collects what they use.
///
/// # Errors
/// A file that is not there, or is not Rust.
pub fn of(root: &Path) -> Result<Modules, Error> {
    let files = files(root)?;
    let top = files.iter().filter_map(|file| file.module.first());
    let top: BTreeSet<&String> = top.collect();
    let exports: BTreeMap<&String, &String> = files
        .iter()
        .flat_map(|file| &file.found.exports)
        .map(|(name, first)| (name, first))
        .collect();
    let mut modules = Modules::default();
    for file in &files {
        let Some(from) = file.module.first() else {
            continue;
        };
        for name in &file.found.names {
            let place = Place {
                file: file.path.clone(),
                line: name.line,
            };
            if name.name == "*" {
                modules.globs.push(place);
                continue;
            }
            let to = [Some(&name.name), exports.get(&name.name).copied()];
            let to = to.into_iter().flatten().find(|name| top.contains(name));
            if let Some(to) = to.filter(|to| *to != from) {
                let arrow = (from.clone(), to.clone());
                modules.arrows.entry(arrow).or_default().push(place);
            }
        }
    }
    Ok(modules)
}

fn files(root: &Path) -> Result<Vec<File>, Error> {
    let mut files = Vec::new();
    let mut left = vec![(root.to_owned(), Vec::new())];
    while let Some((path, module)) = left.pop() {
        let text = std::fs::read_to_string(&path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let found =
            paths::look(&text, &module).map_err(|error| format!("{}: {error}", path.display()))?;
        for inner in &found.files {
            let inner_path = place_of(&path, &module, inner, path == root);
            left.push((inner_path, inner.module.clone()));
        }
        files.push(File {
            path,
            module,
            found,
        });
    }
    Ok(files)
}

/// The file of a module that is declared in `file`, which is the text of `module`.
fn place_of(file: &Path, module: &[String], inner: &ModuleFile, is_root: bool) -> PathBuf {
    let parent = file.parent().unwrap_or(file);
    if let Some(path) = &inner.path {
        return parent.join(path);
    }
    let stands_for_directory = is_root || file.ends_with("mod.rs");
    let mut directory = match stands_for_directory {
        true => parent.to_owned(),
        false => file.with_extension(""),
    };
    // Modules in braces have directories too.
    directory.extend(&inner.module[module.len()..]);
    let own = directory.with_extension("rs");
    match own.is_file() {
        true => own,
        false => directory.join("mod.rs"),
    }
}
