//! The table of crates in `docs/architecture.md`.

use std::collections::BTreeSet;

/// One row: a place in the repository, and what it may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Directory of the crate, relative to the repository, as in `runtime-core/config`.
    pub place: String,
    /// Names of the crates that it may use.
    pub may_use: BTreeSet<String>,
    /// Its line in the page, counted from 1.
    pub line: usize,
}

/// Title of the table's first column.
const PLACE: &str = "Crate";
/// Title of the table's last column.
const MAY_USE: &str = "May depend on";

/// Reads the table whose first column is *Crate* and whose last is *May depend on*. A place that is
/// no crate may be in a row too. The order is that of the page.
#[must_use]
pub fn read(page: &str) -> Vec<Row> {
    let mut lines = (1..).zip(page.lines());
    lines.find(|(_, line)| {
        let cells = cells(line);
        cells.first() == Some(&PLACE) && cells.last() == Some(&MAY_USE)
    });
    let body = lines.skip(1).take_while(|(_, line)| line.starts_with('|'));
    body.flat_map(|(number, line)| rows(number, line)).collect()
}

fn rows(line: usize, text: &str) -> Vec<Row> {
    let cells = cells(text);
    let (Some(places), Some(may_use)) = (cells.first(), cells.last()) else {
        return Vec::new();
    };
    let row = |place: &str| Row {
        place: place.trim_end_matches('/').to_owned(),
        may_use: quoted(may_use).map(str::to_owned).collect(),
        line,
    };
    quoted(places).map(row).collect()
}

fn cells(line: &str) -> Vec<&str> {
    let inner = line.trim().strip_prefix('|').unwrap_or_default();
    let inner = inner.strip_suffix('|').unwrap_or(inner);
    inner.split('|').map(str::trim).collect()
}

/// What stands in backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# A page

| Crate | Else |
|---|---|
| `no` | `no` |

| Crate | Open it to change | May depend on |
|---|---|---|
| `leaf` | `x` | - |
| `a/b`, `guest/` | what | `leaf` and `c` |

| `not` | of it | any more |
";

    #[test]
    fn the_right_table_is_read_to_its_end() {
        let row = |place: &str, may_use: &[&str], line| Row {
            place: place.to_owned(),
            may_use: may_use.iter().map(|&name| name.to_owned()).collect(),
            line,
        };
        let expected = [
            row("leaf", &[], 9),
            row("a/b", &["c", "leaf"], 10),
            row("guest", &["c", "leaf"], 10),
        ];
        assert_eq!(read(PAGE), expected);
        assert_eq!(read("no table"), []);
    }
}
