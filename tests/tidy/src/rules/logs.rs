//! Messages of the log. Whether the first of their words is a verb is left to the reader.

use proc_macro2::TokenTree;

use crate::{
    Finding, Kind, Sources,
    rust::{self, Text},
};

/// The macros that log.
const MACROS: [&str; 6] = ["crit", "error", "warn", "info", "debug", "trace"];

/// Messages that begin or end like a sentence, or are one word.
pub(super) fn messages(sources: &Sources) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in sources.of(&[Kind::Product]) {
        rust::sequences(rust::tokens(file.product()), &mut |tokens| {
            let messages = tokens.windows(3).filter_map(message);
            findings.extend(messages.filter_map(|message| judge(&file.path, &message)));
        });
    }
    findings
}

/// The message of a call of one of the macros: its first argument that is a string.
fn message(tokens: &[TokenTree]) -> Option<Text> {
    let [name, mark, TokenTree::Group(arguments)] = tokens else {
        return None;
    };
    let logs = MACROS.iter().any(|known| rust::is_word(name, known)) && rust::is_mark(mark, '!');
    logs.then(|| {
        arguments
            .stream()
            .into_iter()
            .find_map(|token| rust::string(&token))
    })?
}

fn judge(path: &str, message: &Text) -> Option<Finding> {
    let text = &message.text;
    // The words of the guest, or of another program, are passed on.
    if text.starts_with('{') {
        return None;
    }
    let mut letters = text.chars();
    let first = letters.next().is_some_and(char::is_uppercase);
    // A name such as QMP keeps its capital letters.
    let capital = first && letters.next().is_some_and(char::is_lowercase);
    (capital || text.ends_with('.') || !text.contains(' ')).then(|| Finding {
        path: path.to_owned(),
        line: message.line,
        problem: format!(
            "{text:?} is no log message: a verb and an object, as in \"volume attached\""
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::messages;
    use crate::rules::tests::product;

    #[test]
    fn messages_are_told_from_sentences() {
        let found = messages(&product(
            r#"fn a() {
    info!(log, "Volume attached"; "a" => 1);
    warn!(log, "volume attached.");
    slog::error!(log, "QMP failed"; "Key" => "Value.");
    debug!(log, "answered");
}
"#,
        ));
        let lines: Vec<usize> = found.iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [2, 3, 5]);
    }
}
