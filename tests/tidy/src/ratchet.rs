//! How many findings each folder may still have.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{Finding, RULES, Rule, Sources};

/// Findings that are shown of one folder; `cargo run -p tidy` shows all.
const SHOWN: usize = 30;

/// What stands above the numbers.
const HEAD: &str = "\
# How many findings of each rule a folder may still have. A number may only shrink, and a folder
# that is not listed may have none. `cargo run -p tidy -- lower` lowers the numbers to what is left.
";

/// The numbers of `ratchet.toml`: of each rule, by folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ratchet(BTreeMap<String, BTreeMap<String, usize>>);

impl Ratchet {
    /// Reads the file beside this crate's manifest.
    pub fn read() -> io::Result<Self> {
        Self::parse(&fs::read_to_string(path())?)
    }

    fn parse(text: &str) -> io::Result<Self> {
        toml::from_str(text).map(Self).map_err(io::Error::other)
    }

    /// How many findings of this rule the folder may have.
    #[must_use]
    pub fn allowed(&self, rule: &str, folder: &str) -> usize {
        let of_rule = self.0.get(rule);
        of_rule
            .and_then(|folders| folders.get(folder))
            .copied()
            .unwrap_or(0)
    }

    /// The same with each number lowered to what the sources still have.
    #[must_use]
    pub fn lowered(&self, sources: &Sources) -> Self {
        self.limited(sources, |found, allowed| found.min(allowed))
    }

    /// The numbers that the sources have now, whatever was allowed.
    ///
    /// For the day when a folder is renamed or split.
    #[must_use]
    pub fn counted(&self, sources: &Sources) -> Self {
        self.limited(sources, |found, _| found)
    }

    fn limited(&self, sources: &Sources, limit: fn(usize, usize) -> usize) -> Self {
        let of_rule = |rule: &Rule| {
            let folders = by_folder(rule.findings(sources)).into_iter();
            let folders = folders.map(|(folder, found)| {
                let allowed = self.allowed(rule.name, &folder);
                (folder, limit(found.len(), allowed))
            });
            (
                rule.name.to_owned(),
                folders.filter(|(_, count)| *count > 0).collect(),
            )
        };
        let rules = RULES.iter().map(of_rule);
        Self(
            rules
                .filter(|(_, folders): &(_, BTreeMap<_, _>)| !folders.is_empty())
                .collect(),
        )
    }

    /// Writes the file beside this crate's manifest.
    pub fn write(&self) -> io::Result<()> {
        fs::write(path(), self.text())
    }

    fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for (rule, folders) in &self.0 {
            let _ = writeln!(text, "\n[{rule}]");
            for (folder, count) in folders {
                let _ = writeln!(text, "{folder} = {count}");
            }
        }
        text
    }
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ratchet.toml")
}

fn by_folder(findings: Vec<Finding>) -> BTreeMap<String, Vec<Finding>> {
    let mut folders: BTreeMap<String, Vec<Finding>> = BTreeMap::new();
    for finding in findings {
        folders
            .entry(finding.folder().to_owned())
            .or_default()
            .push(finding);
    }
    folders
}

/// Whether the sources keep a rule as far as the ratchet asks. An error is what to print: the
/// findings of each folder that has more than it may have.
pub fn verdict(rule: &Rule, sources: &Sources, ratchet: &Ratchet) -> Result<(), String> {
    let mut text = String::new();
    for (folder, found) in by_folder(rule.findings(sources)) {
        let allowed = ratchet.allowed(rule.name, &folder);
        if found.len() <= allowed {
            continue;
        }
        let _ = writeln!(
            text,
            "{} ({folder}: {} found, {allowed} allowed)",
            rule.says,
            found.len()
        );
        for finding in found.iter().take(SHOWN) {
            let _ = writeln!(text, "  {finding}");
        }
        if found.len() > SHOWN {
            let _ = writeln!(
                text,
                "  and {} more: cargo run -p tidy -- {}",
                found.len() - SHOWN,
                rule.name
            );
        }
    }
    if text.is_empty() { Ok(()) } else { Err(text) }
}

#[cfg(test)]
mod tests {
    use super::{HEAD, Ratchet, verdict};
    use crate::{Finding, Rule, Sources};

    fn found(_: &Sources) -> Vec<Finding> {
        let finding = |path: &str| Finding {
            path: path.to_owned(),
            line: 3,
            problem: "wrong".to_owned(),
        };
        vec![finding("shim/src/main.rs"), finding("README.md")]
    }

    const RULE: Rule = Rule {
        name: "rule",
        says: "No",
        find: found,
    };

    fn sources() -> Sources {
        Sources {
            root: "/".into(),
            files: Vec::new(),
        }
    }

    #[test]
    fn a_folder_may_have_what_is_listed_and_no_more() {
        let both = Ratchet::parse("[rule]\nshim = 1\ntop = 1\n").unwrap();
        assert_eq!(verdict(&RULE, &sources(), &both), Ok(()));
        let one = Ratchet::parse("[rule]\ntop = 2\n").unwrap();
        let refused = verdict(&RULE, &sources(), &one).unwrap_err();
        assert_eq!(
            refused,
            "No (shim: 1 found, 0 allowed)\n  shim/src/main.rs:3: wrong\n"
        );
    }

    #[test]
    fn what_is_written_is_read() {
        let ratchet = Ratchet::parse("[b]\nx = 2\n[a]\nguest-agent = 1\n").unwrap();
        let text = ratchet.text();
        assert_eq!(
            text,
            format!("{HEAD}\n[a]\nguest-agent = 1\n\n[b]\nx = 2\n")
        );
        assert_eq!(Ratchet::parse(&text).unwrap(), ratchet);
    }
}
