//! Texts of errors that `thiserror` makes.

use proc_macro2::{Delimiter, Group, TokenTree};

use crate::{
    Finding, Kind, Sources,
    rust::{self, Text},
};

/// Names that are written small where a sentence begins, too.
const NAMES: [&str; 6] = ["containerd", "runc", "ttrpc", "erofs", "ext4", "virtiofsd"];

/// An error's text, with what follows it in the attribute and the fields it may name.
struct Variant {
    text: Text,
    arguments: Vec<TokenTree>,
    fields: Option<Group>,
}

/// Texts that contain the text of their own source.
pub(super) fn repeated_sources(sources: &Sources) -> Vec<Finding> {
    findings(sources, |variant| {
        let source = source(variant.fields.as_ref()?)?;
        let placed = [format!("{{{source}}}"), format!("{{{source}:")];
        let inline = placed
            .iter()
            .any(|placed| variant.text.text.contains(placed));
        let passed = variant.arguments.iter().any(|token| names(token, &source));
        (inline || passed).then(|| format!("{:?} repeats its source", variant.text.text))
    })
}

/// Texts that begin with a small letter, or end like a sentence.
pub(super) fn texts(sources: &Sources) -> Vec<Finding> {
    findings(sources, |variant| {
        let text = &variant.text.text;
        let first = text.split_whitespace().next().unwrap_or_default();
        let is_word = first
            .chars()
            .all(|c| c.is_lowercase() || matches!(c, ',' | '-' | '\''));
        let small = is_word && !first.is_empty() && !NAMES.contains(&first);
        (small || text.ends_with('.'))
            .then(|| format!("{text:?} is not in sentence case without a full stop"))
    })
}

fn findings(sources: &Sources, judge: fn(&Variant) -> Option<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in sources.of(&[Kind::Product]) {
        rust::sequences(rust::tokens(file.product()), &mut |tokens| {
            let variants = (0..tokens.len()).filter_map(|at| variant(&tokens[at..]));
            findings.extend(variants.filter_map(|variant| {
                Some(Finding {
                    path: file.path.clone(),
                    line: variant.text.line,
                    problem: judge(&variant)?,
                })
            }));
        });
    }
    findings
}

/// The variant, or the struct, whose `#[error("...")]` is at the start.
fn variant(tokens: &[TokenTree]) -> Option<Variant> {
    let inside = rust::attribute(tokens, "error")??;
    let mut inside = inside.stream().into_iter();
    let text = rust::string(&inside.next()?)?;
    let after = tokens[2..]
        .iter()
        .take_while(|token| !rust::is_mark(token, ',') && !rust::is_mark(token, ';'));
    let fields = after.filter_map(|token| match token {
        TokenTree::Group(group) if group.delimiter() != Delimiter::Bracket => Some(group),
        _ => None,
    });
    // `pub(crate) struct` has a group before that of the fields.
    let fields = fields.last().cloned();
    Some(Variant {
        text,
        arguments: inside.collect(),
        fields,
    })
}

/// The name, or the number, of the field that is the source.
fn source(fields: &Group) -> Option<String> {
    let tokens: Vec<TokenTree> = fields.stream().into_iter().collect();
    let mut number = 0;
    let mut marked = false;
    let mut depth = 0_i32;
    for (at, token) in tokens.iter().enumerate() {
        marked |= ["source", "from"]
            .iter()
            .any(|name| rust::attribute(&tokens[at..], name).is_some());
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '<' => depth += 1,
            TokenTree::Punct(punct) if punct.as_char() == '>' => depth -= 1,
            TokenTree::Punct(punct) if punct.as_char() == ',' && depth == 0 => number += 1,
            TokenTree::Ident(ident) if ident != "pub" => {
                let is_field = tokens
                    .get(at + 1)
                    .is_some_and(|next| rust::is_mark(next, ':'))
                    && !tokens
                        .get(at + 2)
                        .is_some_and(|next| rust::is_mark(next, ':'));
                if fields.delimiter() == Delimiter::Brace
                    && is_field
                    && (marked || ident == "source")
                {
                    return Some(ident.to_string());
                }
                if fields.delimiter() == Delimiter::Parenthesis && marked {
                    return Some(number.to_string());
                }
            }
            _ => {}
        }
    }
    None
}

/// Whether the argument has to do with the field.
fn names(token: &TokenTree, field: &str) -> bool {
    match token {
        TokenTree::Group(group) => group.stream().into_iter().any(|token| names(&token, field)),
        TokenTree::Ident(ident) => ident == field,
        TokenTree::Literal(literal) => literal.to_string() == field,
        TokenTree::Punct(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{repeated_sources, texts};
    use crate::rules::tests::product;

    const ERRORS: &str = r#"
enum Error {
    #[error("Opening {} failed", path.display())]
    Fine { path: PathBuf, source: io::Error },
    #[error("opening {path}: {source}")]
    Small { path: String, source: io::Error },
    #[error("Reading {0}: {1:?}.")]
    Tuple(Map<A, B>, #[from] io::Error),
    #[error("Ended: {}", chain(cause))]
    Passed { #[source] cause: Cause },
    #[error("containerd said {0}")]
    Text(String),
    #[error(transparent)]
    Through(#[from] Other),
}
#[error("virtio-blk is absent: {0}")]
pub(crate) struct Whole(#[source] Cause);
"#;

    fn lines(findings: Vec<crate::Finding>) -> Vec<usize> {
        let mut lines: Vec<usize> = findings.into_iter().map(|finding| finding.line).collect();
        lines.sort_unstable();
        lines
    }

    #[test]
    fn repeated_sources_are_found_by_name_number_and_argument() {
        assert_eq!(lines(repeated_sources(&product(ERRORS))), [5, 7, 9, 16]);
    }

    #[test]
    fn texts_are_in_sentence_case() {
        assert_eq!(lines(texts(&product(ERRORS))), [5, 7, 16]);
    }
}
