//! The rules, one file each.

mod doc_comments;
mod errors;
mod files;
mod layout;
mod lines;
mod links;
mod logs;
mod variables;
mod words;

use crate::{Finding, Sources};

/// A rule that sources are held to.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// One word, as in `ratchet.toml`.
    pub name: &'static str,
    /// What it asks, in a sentence.
    pub says: &'static str,
    /// Finds what breaks it, in any order.
    pub find: fn(&Sources) -> Vec<Finding>,
}

impl Rule {
    /// What breaks it, in the order of paths and lines.
    #[must_use]
    pub fn findings(&self, sources: &Sources) -> Vec<Finding> {
        let mut findings = (self.find)(sources);
        findings.sort();
        findings
    }
}

/// All of them.
pub const RULES: [Rule; 11] = [
    Rule {
        name: "doc_comments",
        says: "A doc comment says what the name does not: more than three words",
        find: doc_comments::short,
    },
    Rule {
        name: "doc_lines",
        says: "A line of a page has at most 100 characters, or is one sentence",
        find: lines::of_pages,
    },
    Rule {
        name: "error_sources",
        says: "An error's text does not repeat its source: whoever prints it prints the chain",
        find: errors::repeated_sources,
    },
    Rule {
        name: "error_texts",
        says: "An error's text begins with a capital letter and has no full stop at its end",
        find: errors::texts,
    },
    Rule {
        name: "file_lengths",
        says: "A file has at most 450 lines, and half of the files at most 150",
        find: files::lengths,
    },
    Rule {
        name: "layout",
        says: "A module with files is a mod.rs, its tests are beside it, and a mod names each file",
        find: layout::places,
    },
    Rule {
        name: "links",
        says: "A relative link, and a path between back-ticks, names something that is there",
        find: links::broken,
    },
    Rule {
        name: "logs",
        says: "A log message is a verb and an object, with a small letter and no full stop",
        find: logs::messages,
    },
    Rule {
        name: "rust_lines",
        says: "A line of Rust has at most 100 characters",
        find: lines::of_rust,
    },
    Rule {
        name: "variables",
        says: "docs/environment.md lists every variable whose name begins with IMPRINT_",
        find: variables::unlisted,
    },
    Rule {
        name: "words",
        says: "Texts use the words of docs/glossary.md",
        find: words::private,
    },
];

#[cfg(test)]
mod tests {
    use crate::{Kind, Source, Sources};

    fn one(path: &str, kind: Kind, text: &str) -> Sources {
        let file = Source {
            path: path.to_owned(),
            kind,
            text: text.to_owned(),
        };
        Sources {
            root: "/".into(),
            files: vec![file],
        }
    }

    /// Sources of one file of the product.
    pub(super) fn product(text: &str) -> Sources {
        one("shim/src/main.rs", Kind::Product, text)
    }

    /// Sources of one page.
    pub(super) fn page(text: &str) -> Sources {
        one("docs/page.md", Kind::Page, text)
    }
}
