//! Where the files of modules and of tests are.

use crate::{Finding, Kind, Sources};

/// A module that several programs of a crate's tests share.
const SHARED: &str = "\"../";

/// Modules and tests in places that the others are not in.
pub(super) fn places(sources: &Sources) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in sources.of(&[Kind::Product, Kind::Test]) {
        let finding = |line, problem: &str| Finding {
            path: file.path.clone(),
            line,
            problem: problem.to_owned(),
        };
        let folder = file.path.trim_end_matches(".rs").to_owned() + "/";
        if sources
            .files
            .iter()
            .any(|other| other.path.starts_with(&folder))
        {
            findings.push(finding(
                0,
                "has a folder of the same name: it is that folder's mod.rs",
            ));
        }
        if file.path.ends_with("_tests.rs") {
            findings.push(finding(
                0,
                "holds the tests of a module: it is that module's tests.rs",
            ));
        }
        if is_undeclared(sources, &file.path) {
            findings.push(finding(0, "no `mod` names it, so it is not compiled"));
        }
        let elsewhere = (1..).zip(file.text.lines()).filter(|(_, line)| {
            line.trim_start().starts_with("#[path = \"") && !line.contains(SHARED)
        });
        findings
            .extend(elsewhere.map(|(line, _)| finding(line, "a module is where its name says")));
    }
    findings
}

/// Whether it is a module's file in a crate's `src`, and the module above it does not name it.
fn is_undeclared(sources: &Sources, path: &str) -> bool {
    let Some((folder, name)) = path.rsplit_once('/') else {
        return false;
    };
    let (folder, name) = match name.trim_end_matches(".rs") {
        "mod" => folder.rsplit_once('/').unwrap_or(("", folder)),
        name => (folder, name),
    };
    let inside = format!("{folder}/");
    let is_root = matches!(name, "lib" | "main") || inside.ends_with("/src/bin/");
    let is_module = inside.contains("/src/") && !is_root;
    let parents = ["mod.rs", "lib.rs", "main.rs"].map(|parent| format!("{folder}/{parent}"));
    let declares = |line: &str| line.trim_end().ends_with(&format!("mod {name};"));
    let mut parents = sources
        .files
        .iter()
        .filter(|file| parents.contains(&file.path));
    is_module && !parents.any(|parent| parent.text.lines().any(declares))
}

#[cfg(test)]
mod tests {
    use super::places;
    use crate::{Kind, Source, Sources};

    #[test]
    fn one_style_of_modules_and_of_tests() {
        let file = |path: &str, text: &str| Source {
            path: path.to_owned(),
            kind: Kind::Product,
            text: text.to_owned(),
        };
        let files = vec![
            file("a/src/lib.rs", "pub mod one;\nmod three;\nmod four_tests;"),
            file("a/src/one.rs", "mod two;"),
            file("a/src/one/two.rs", ""),
            file("a/src/three/mod.rs", "#[cfg(test)]\nmod tests;"),
            file("a/src/three/tests.rs", ""),
            file("a/src/four_tests.rs", ""),
            file("a/src/five.rs", "\n#[path = \"six.rs\"]\nmod tests;"),
        ];
        let found = places(&Sources {
            root: "/".into(),
            files,
        });
        let found: Vec<(&str, usize)> = found
            .iter()
            .map(|found| (&*found.path, found.line))
            .collect();
        assert_eq!(
            found,
            [
                ("a/src/one.rs", 0),
                ("a/src/one/two.rs", 0),
                ("a/src/four_tests.rs", 0),
                ("a/src/five.rs", 0),
                ("a/src/five.rs", 2)
            ]
        );
    }
}
