//! Rule 1: arrows between crates.

use std::path::Path;

use crate::{table::Row, workspace::Package};

/// What is wrong between the table, which is on `page`, and the crates of the workspace at `root`:
/// one line for each, with file and line where to look.
#[must_use]
pub fn problems(root: &Path, page: &str, table: &[Row], packages: &[Package]) -> Vec<String> {
    let mut problems = Vec::new();
    for package in packages {
        match table.iter().find(|row| row.place == package.place) {
            Some(row) => problems.extend(forbidden(root, page, row, package)),
            None => problems.push(format!(
                "{page}: crate `{}` has no row in the table; add one for `{}`, below all that it \
                 uses",
                package.name, package.place
            )),
        }
    }
    problems.extend(
        table
            .iter()
            .flat_map(|row| upward(page, row, table, packages)),
    );
    let gone = table.iter().filter(|row| !root.join(&row.place).is_dir());
    problems.extend(gone.map(|row| {
        let Row { place, line, .. } = row;
        format!("{page}:{line}: there is no directory `{place}`; remove it from the table")
    }));
    problems
}

/// Arrows of a crate that its row does not allow.
fn forbidden<'a>(
    root: &'a Path,
    page: &'a str,
    row: &'a Row,
    package: &'a Package,
) -> impl Iterator<Item = String> + 'a {
    let uses = package.uses.iter();
    uses.filter(|used| !row.may_use.contains(*used))
        .map(move |used| {
            let manifest = format!("{}/Cargo.toml", package.place);
            let text = std::fs::read_to_string(root.join(&manifest)).unwrap_or_default();
            let line = text
                .lines()
                .position(|line| line.starts_with(used.as_str()));
            format!(
                "{manifest}:{}: `{}` must not depend on `{used}`: {page}:{} does not allow it",
                line.unwrap_or_default() + 1,
                package.name,
                row.line
            )
        })
}

/// What a row allows although it is not above.
fn upward<'a>(
    page: &'a str,
    row: &'a Row,
    table: &'a [Row],
    packages: &'a [Package],
) -> impl Iterator<Item = String> + 'a {
    let is_above = |used: &String| {
        let package = packages.iter().find(|package| package.name == *used);
        package.is_some_and(|package| {
            table
                .iter()
                .any(|above| above.line < row.line && above.place == package.place)
        })
    };
    let wrong = row.may_use.iter().filter(move |used| !is_above(used));
    wrong.map(move |used| {
        let Row { place, line, .. } = row;
        format!("{page}:{line}: `{place}` may depend on `{used}`, which is no crate of a row above")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table;

    fn package(name: &str, uses: &[&str]) -> Package {
        Package {
            name: name.to_owned(),
            place: name.to_owned(),
            uses: uses.iter().map(|&used| used.to_owned()).collect(),
            roots: Vec::new(),
        }
    }

    fn found(rows: &str, packages: &[Package]) -> Vec<String> {
        let table = table::read(&format!("| Crate | May depend on |\n|---|---|\n{rows}"));
        // Where no crate is; the places are there, for they are the current directory.
        problems(Path::new("/"), "page.md", &table, packages)
    }

    #[test]
    fn only_what_the_table_does_not_allow_is_told() {
        let rows = "| `proc` | - |\n| `tmp` | `proc` |\n";
        let fine = [package("proc", &[]), package("tmp", &["proc"])];
        assert_eq!(found(rows, &fine), Vec::<String>::new());
        let upward = [package("proc", &["tmp"]), package("tmp", &["proc"])];
        let expected =
            "proc/Cargo.toml:1: `proc` must not depend on `tmp`: page.md:3 does not allow it";
        assert_eq!(found(rows, &upward), [expected]);
    }

    #[test]
    fn the_table_has_every_crate_and_no_arrow_upward() {
        let packages = [package("proc", &[]), package("tmp", &[])];
        let told = found("| `tmp` | `proc` |\n| `absent` | - |\n", &packages);
        assert_eq!(
            told,
            [
                "page.md: crate `proc` has no row in the table; add one for `proc`, below all \
                 that it uses",
                "page.md:3: `tmp` may depend on `proc`, which is no crate of a row above",
                "page.md:4: there is no directory `absent`; remove it from the table",
            ]
        );
    }
}
