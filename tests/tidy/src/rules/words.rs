//! Words of one's own for what the field has a word for.

use crate::{Finding, Kind, Source, Sources, markdown::Page, rust};

/// A word, and what to write instead.
struct Word {
    /// In small letters; may be several words.
    word: &'static str,
    instead: &'static str,
    /// Longer phrases in which it is the field's own.
    but: &'static [&'static str],
}

const WORDS: [Word; 14] = [
    Word {
        word: "monitor",
        instead: "VMM",
        but: &["event monitor", "monitor socket"],
    },
    Word {
        word: "monitors",
        instead: "VMMs",
        but: &[],
    },
    Word {
        word: "patience",
        instead: "timeout",
        but: &[],
    },
    Word {
        word: "in vain",
        instead: "timed out after ... waiting for ..., or failed",
        but: &[],
    },
    Word {
        word: "plugged",
        instead: "hot-plugged or attached",
        but: &[],
    },
    Word {
        word: "told",
        instead: "sent, announced or given",
        but: &["told apart"],
    },
    Word {
        word: "stands still",
        instead: "hangs",
        but: &[],
    },
    Word {
        word: "stood still",
        instead: "hung",
        but: &[],
    },
    Word {
        word: "standing still",
        instead: "hanging",
        but: &[],
    },
    Word {
        word: "given up",
        instead: "cancelled or timed out",
        but: &[],
    },
    Word {
        word: "unfit",
        instead: "does not match",
        but: &[],
    },
    Word {
        word: "tally",
        instead: "count",
        but: &[],
    },
    Word {
        word: "nobody",
        instead: "no one, or say who",
        but: &["user nobody", "nobody:"],
    },
    Word {
        word: "somebody",
        instead: "say who",
        but: &[],
    },
];

/// Such words in pages, settings, comments and texts of the product.
pub(super) fn private(sources: &Sources) -> Vec<Finding> {
    let read = sources.of(&[Kind::Product, Kind::Page, Kind::Setting]);
    read.flat_map(of_file).collect()
}

fn of_file(file: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, text) in texts(file) {
        let found = WORDS.iter().filter(|word| contains(&text, word));
        findings.extend(found.map(|word| Finding {
            path: file.path.clone(),
            line,
            problem: format!("\"{}\": {}", word.word, word.instead),
        }));
    }
    findings
}

/// The lines of text that are read by people.
fn texts(file: &Source) -> Vec<(usize, String)> {
    match file.kind {
        Kind::Page => Page::read(&file.text).prose,
        Kind::Setting => (1..).zip(file.text.lines().map(str::to_owned)).collect(),
        Kind::Product | Kind::Test => {
            let tokens = rust::tokens(file.product());
            let comments = rust::comments(file.product(), tokens.clone()).into_iter();
            let mut texts: Vec<(usize, String)> = comments
                .map(|comment| (comment.line, without_code(&comment.text)))
                .collect();
            for string in rust::strings(tokens) {
                // One without a space is a name.
                let lines = (string.line..).zip(string.text.lines().map(str::to_owned));
                let lines = lines.filter(|(_, text)| text.trim().contains(' '));
                texts.extend(lines.map(|(line, text)| (line, without_names(&text))));
            }
            texts
        }
    }
}

/// The text without what stands between back-ticks.
fn without_code(text: &str) -> String {
    text.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

/// The text without what stands between braces, which is code too.
fn without_names(text: &str) -> String {
    text.split(['{', '}']).step_by(2).collect()
}

/// Whether the word stands in the text, as a whole word and in no phrase that is the field's.
fn contains(text: &str, word: &Word) -> bool {
    let mut text = text.to_lowercase();
    for phrase in word.but {
        text = text.replace(phrase, "");
    }
    let joins = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    text.match_indices(word.word).any(|(at, found)| {
        let before = text[..at].chars().next_back();
        let after = text[at + found.len()..].chars().next();
        !before.is_some_and(joins) && !after.is_some_and(joins)
    })
}

#[cfg(test)]
mod tests {
    use super::private;
    use crate::rules::tests::{page, product};

    #[test]
    fn words_are_found_in_comments_and_strings_and_not_in_names() {
        let found = private(&product(
            r#"/// The monitor of a VM.
fn monitor() {
    let a = "monitor"; // `unfit` as a name
    say("Nobody listens: {told}");
}
"#,
        ));
        let lines: Vec<usize> = found.iter().map(|found| found.line).collect();
        assert_eq!(lines, [1, 4]);
    }

    #[test]
    fn words_are_found_in_prose_and_not_in_code() {
        let found = private(&page(
            "A disk is hot-plugged.\n\nIt is plugged. `told`\n\nThe event monitor.\n",
        ));
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].line, &*found[0].problem),
            (3, "\"plugged\": hot-plugged or attached")
        );
    }
}
