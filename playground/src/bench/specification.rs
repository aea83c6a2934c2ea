//! The promises, read from `SPECIFICATION.md` itself, so that what it says is what is enforced.

use std::collections::BTreeMap;

use crate::{Error, Result};

const TEXT: &str = include_str!("../../../SPECIFICATION.md");

/// What a measure may be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bound {
    /// The name of the measure, as the table has it between back-ticks.
    pub name: String,
    /// As it is written, with its unit.
    pub text: String,
    /// What the design is held against, as it is written; no promise.
    pub aim: String,
    limit: f64,
    at_least: bool,
}

/// How a promise stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Verdict {
    /// It was kept, by this value.
    Kept(f64),
    /// It was broken, by this value.
    Broken(f64),
    /// Nothing was sampled that tells.
    NotMeasured,
}

impl Bound {
    /// How it stands with these measures.
    pub(super) fn verdict(&self, measures: &BTreeMap<&'static str, f64>) -> Verdict {
        match measures.get(self.name.as_str()) {
            None => Verdict::NotMeasured,
            Some(&value) if self.at_least == (value < self.limit) && value != self.limit => {
                Verdict::Broken(value)
            }
            Some(&value) => Verdict::Kept(value),
        }
    }
}

/// All bounds that are promised.
pub(super) fn bounds() -> Result<Vec<Bound>> {
    parse(TEXT)
}

/// Rows of the table of promises: the first cell is a name in backquotes, the third a bound.
fn parse(text: &str) -> Result<Vec<Bound>> {
    let section = text
        .split("\n## ")
        .find(|section| section.starts_with("Promises\n"))
        .ok_or_else(|| Error::Unexpected("SPECIFICATION.md has no Promises".to_owned()))?;
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let bad = || Error::Unexpected(format!("SPECIFICATION.md: no bound is in {row:?}"));
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, name, _, bound, ..] = cells.as_slice() else {
            return Err(bad());
        };
        let mut words = bound.split(' ');
        let at_least = match words.next() {
            Some("≥") => true,
            Some("≤") => false,
            _ => return Err(bad()),
        };
        let aim = cells.get(4).copied().unwrap_or_default();
        let limit = words.next().and_then(|word| word.parse().ok());
        Ok(Bound {
            name: name.trim_matches('`').to_owned(),
            text: (*bound).to_owned(),
            aim: aim.to_owned(),
            limit: limit.ok_or_else(bad)?,
            at_least,
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::measures;

    #[test]
    fn every_promise_is_of_something_that_is_measured() {
        let measured = measures::measures(&measures::tests::raw());
        let bounds = bounds().unwrap();
        assert!(bounds.len() >= 8, "{bounds:?}");
        for bound in bounds {
            assert!(measured.contains_key(bound.name.as_str()), "{bound:?}");
        }
    }

    #[test]
    fn a_bound_holds_on_its_own_side() {
        let text = "# T\n\n## Promises\n\n| Name | What | Bound |\n|---|---|---|\n\
            | `a` | more | ≥ 2.5 |\n| `b` | less | ≤ 20 MiB | x |\n\n## Others\n\n| `c` |";
        let [a, b] = parse(text).unwrap().try_into().unwrap();
        assert_eq!((&*b.name, &*b.text, &*b.aim), ("b", "≤ 20 MiB", "x"));
        let verdict =
            |bound: &Bound, value| bound.verdict(&BTreeMap::from([("a", value), ("b", value)]));
        assert_eq!(verdict(&a, 2.5), Verdict::Kept(2.5));
        assert_eq!(verdict(&a, 2.0), Verdict::Broken(2.0));
        assert_eq!(verdict(&b, 20.0), Verdict::Kept(20.0));
        assert_eq!(verdict(&b, 3.0), Verdict::Kept(3.0));
        assert_eq!(verdict(&b, 20.1), Verdict::Broken(20.1));
        assert_eq!(a.verdict(&BTreeMap::new()), Verdict::NotMeasured);
        for bad in [
            "",
            "\n## Promises\n| `a` | what | fast |",
            "\n## Promises\n| `a` | what | ≥ fast |",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
