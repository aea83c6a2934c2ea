//! How long lines are.

use crate::{Finding, Kind, Sources, markdown::Page};

/// Characters that a line has at most; `max_width` of `rustfmt.toml`, which spares comments and
/// strings.
const WIDTH: usize = 100;

/// Words that end with a full stop and end no sentence.
const SHORT: [&str; 4] = ["e.g.", "i.e.", "cf.", "vs."];

/// Lines of Rust that are too long.
pub(super) fn of_rust(sources: &Sources) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in sources.of(&[Kind::Product, Kind::Test]) {
        let long = numbered(&file.text).filter(|(_, text)| text.chars().count() > WIDTH);
        findings.extend(long.map(|(line, text)| finding(&file.path, line, text)));
    }
    findings
}

/// Lines of pages and settings that are too long and hold more than one sentence.
pub(super) fn of_pages(sources: &Sources) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in sources.of(&[Kind::Page, Kind::Setting]) {
        let fixed = match file.kind {
            Kind::Page => Page::read(&file.text).fixed,
            _ => Vec::new(),
        };
        let long = numbered(&file.text).filter(|(line, text)| {
            text.chars().count() > WIDTH
                && !fixed.iter().any(|lines| lines.contains(line))
                && sentences(text) > 1
        });
        findings.extend(long.map(|(line, text)| finding(&file.path, line, text)));
    }
    findings
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines())
}

fn finding(path: &str, line: usize, text: &str) -> Finding {
    Finding {
        path: path.to_owned(),
        line,
        problem: format!("has {} characters", text.chars().count()),
    }
}

/// How many sentences the line begins or goes on with.
fn sentences(line: &str) -> usize {
    let words: Vec<&str> = line.split_whitespace().collect();
    let ends = |word: &str| {
        let bare = word.trim_end_matches(['*', ')', '"', '`', '\'']);
        let is_number = bare
            .trim_end_matches('.')
            .bytes()
            .all(|byte| byte.is_ascii_digit());
        bare.ends_with(['.', '?', '!']) && !is_number && !SHORT.contains(&bare)
    };
    let begins = |word: &str| {
        let first = word.chars().find(|c| !matches!(c, '*' | '(' | '"' | '['));
        first.is_some_and(|first| first.is_uppercase() || first == '`')
    };
    1 + words
        .windows(2)
        .filter(|pair| ends(pair[0]) && begins(pair[1]))
        .count()
}

#[cfg(test)]
mod tests {
    use super::{of_pages, of_rust, sentences};
    use crate::rules::tests::{page, product};

    #[test]
    fn a_line_of_rust_has_a_hundred_characters() {
        assert!(of_rust(&product(&"\u{e4}".repeat(100))).is_empty());
        assert_eq!(of_rust(&product(&"a".repeat(101))).len(), 1);
    }

    #[test]
    fn a_long_line_of_a_page_is_one_sentence() {
        let long = "word ".repeat(30);
        assert!(of_pages(&page(&format!("{long}end."))).is_empty());
        assert_eq!(of_pages(&page(&format!("{long}end. More."))).len(), 1);
        assert!(of_pages(&page(&format!("| a |\n|---|\n| {long}end. More. |"))).is_empty());
    }

    #[test]
    fn sentences_are_counted() {
        assert_eq!(sentences("1. One, e.g. This one"), 1);
        assert_eq!(sentences("One (so it is). `two` follows. Three"), 3);
    }
}
