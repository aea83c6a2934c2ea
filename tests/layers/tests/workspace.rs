//! This workspace keeps its layers.

#![allow(missing_docs, clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use layers::{
    arrows,
    circle::{circles, through},
    modules::{self, Modules, Place},
    table, workspace,
};

/// The page with the table of crates.
const PAGE: &str = "docs/architecture.md";

/// Arrows between modules of a crate that are in a circle and are still to be removed: the crate,
/// the module, and what it should not use.
const STILL_THERE: &[(&str, &str, &str)] = &[];

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    here.canonicalize().unwrap()
}

/// The problems, if there are any, as one text.
fn none(problems: &[String], rule: &str) {
    let found = problems.join("\n");
    assert!(problems.is_empty(), "{rule}\n{found}\n");
}

#[test]
fn crates_use_only_what_the_table_allows() {
    let page = fs::read_to_string(root().join(PAGE)).unwrap();
    let table = table::read(&page);
    assert!(!table.is_empty(), "{PAGE} has no table of crates");
    let packages = workspace::packages(&root()).unwrap();
    let problems = arrows::problems(&root(), PAGE, &table, &packages);
    none(
        &problems,
        "Crates use only crates of rows above (\"What is where\"):",
    );
}

#[test]
fn modules_of_a_crate_do_not_use_each_other_in_a_circle() {
    let mut problems = Vec::new();
    let mut excused = Vec::new();
    for package in workspace::packages(&root()).unwrap() {
        for file in &package.roots {
            let mut modules = modules::of(file).unwrap();
            excuse(&package.name, &mut modules, &mut excused);
            let circles = circles(&modules.graph());
            let told = circles
                .iter()
                .map(|circle| tell(&package.name, circle, &modules));
            problems.extend(told);
            problems.extend(modules.globs.iter().map(|place| {
                format!(
                    "{} uses all names of its crate's root; name those that it needs",
                    at(place)
                )
            }));
        }
    }
    let stale = STILL_THERE.iter().filter(|arrow| !excused.contains(arrow));
    problems.extend(stale.map(|(package, from, to)| {
        format!("{package}: `{from}` uses `{to}` in no circle; remove it from the exceptions")
    }));
    none(&problems, "Modules of a crate use each other in a circle:");
}

/// Takes out the exceptions that are in a circle.
fn excuse<'a>(
    package: &str,
    modules: &mut Modules,
    excused: &mut Vec<&'a (&'a str, &'a str, &'a str)>,
) {
    for arrow in STILL_THERE.iter().filter(|arrow| arrow.0 == package) {
        let key = (arrow.1.to_owned(), arrow.2.to_owned());
        if through(&modules.graph(), arrow.1).is_some() && modules.arrows.remove(&key).is_some() {
            excused.push(arrow);
        }
    }
}

/// A circle with the first place of each arrow in it.
fn tell(package: &str, circle: &[&str], modules: &Modules) -> String {
    let mut text = format!("{package}: {} -> {}", circle.join(" -> "), circle[0]);
    let nexts = circle.iter().skip(1).chain(circle.first());
    for (from, to) in circle.iter().zip(nexts) {
        let places = &modules.arrows[&((*from).to_owned(), (*to).to_owned())];
        let more = match places.len() {
            1 => String::new(),
            all => format!(" and {} more", all - 1),
        };
        write!(text, "\n    {}: `{from}` uses `{to}`{more}", at(&places[0])).unwrap();
    }
    text
}

fn at(place: &Place) -> String {
    let file = place.file.strip_prefix(root()).unwrap_or(&place.file);
    format!("{}:{}", file.display(), place.line)
}
