//! Rust as tokens: its string literals, its comments, and its macros.

use std::str::FromStr;

use proc_macro2::{Group, LineColumn, Literal, TokenStream, TokenTree};

/// A piece of text and the line it begins in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// The tokens of a source; none where it is no Rust, which the compiler says better.
pub(crate) fn tokens(source: &str) -> TokenStream {
    TokenStream::from_str(source).unwrap_or_default()
}

/// Calls `visit` with the tokens of the source, and with those of each group in it.
pub(crate) fn sequences(tokens: TokenStream, visit: &mut impl FnMut(&[TokenTree])) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    visit(&tokens);
    for token in tokens {
        if let TokenTree::Group(group) = token {
            sequences(group.stream(), visit);
        }
    }
}

/// The text between the quotes of a string literal, as it is written.
pub(crate) fn string(token: &TokenTree) -> Option<Text> {
    let TokenTree::Literal(literal) = token else {
        return None;
    };
    let written = literal.to_string();
    let written = written
        .trim_start_matches(['b', 'r', 'c'])
        .trim_matches('#');
    let text = written.strip_prefix('"')?.strip_suffix('"')?.to_owned();
    Some(Text {
        line: literal.span().start().line,
        text,
    })
}

/// Whether the token is this identifier.
pub(crate) fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

/// Whether the token is this mark.
pub(crate) fn is_mark(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == mark)
}

/// What is in `#[name(...)]`, for the attribute whose `#` is at the start.
pub(crate) fn attribute(tokens: &[TokenTree], name: &str) -> Option<Option<Group>> {
    let [hash, TokenTree::Group(group), ..] = tokens else {
        return None;
    };
    let mut inner = group.stream().into_iter();
    if !is_mark(hash, '#') || !is_word(&inner.next()?, name) {
        return None;
    }
    Some(inner.next().and_then(|token| match token {
        TokenTree::Group(group) => Some(group),
        _ => None,
    }))
}

/// All string literals that are no documentation.
pub(crate) fn strings(tokens: TokenStream) -> Vec<Text> {
    let mut found = Vec::new();
    sequences(tokens, &mut |tokens| {
        let is_doc = tokens.first().is_some_and(|token| is_word(token, "doc"));
        if !is_doc {
            found.extend(tokens.iter().filter_map(string));
        }
    });
    found
}

/// All comments from `//` to the end of their line, of documentation and others, without the marks.
pub(crate) fn comments(source: &str, tokens: TokenStream) -> Vec<Text> {
    let mut literals = Vec::new();
    sequences(tokens, &mut |tokens| {
        let is_doc = tokens.first().is_some_and(|token| is_word(token, "doc"));
        if !is_doc {
            literals.extend(tokens.iter().filter_map(|token| match token {
                TokenTree::Literal(literal) => Some(place(literal)),
                _ => None,
            }));
        }
    });
    let lines = (1..).zip(source.lines());
    lines
        .filter_map(|(line, text)| comment(line, text, &literals))
        .collect()
}

fn place(literal: &Literal) -> (LineColumn, LineColumn) {
    (literal.span().start(), literal.span().end())
}

fn comment(line: usize, text: &str, literals: &[(LineColumn, LineColumn)]) -> Option<Text> {
    let inside = |column: usize| {
        let at = LineColumn { line, column };
        literals.iter().any(|&(start, end)| start <= at && at < end)
    };
    let marks = text.match_indices("//");
    let (at, _) = marks
        .into_iter()
        .find(|(at, _)| !inside(text[..*at].chars().count()))?;
    let text = text[at..].trim_start_matches(['/', '!']).trim().to_owned();
    Some(Text { line, text })
}

#[cfg(test)]
mod tests {
    use super::{Text, comments, strings, tokens};

    const SOURCE: &str = r###"//! Top.
/// Doc "quoted".
fn a() { // why
    b("http://x", r#"two
lines // no"#); // after
}
"###;

    fn text(line: usize, text: &str) -> Text {
        Text {
            line,
            text: text.to_owned(),
        }
    }

    #[test]
    fn strings_are_found_and_documentation_is_none() {
        let expected = [text(4, "http://x"), text(4, "two\nlines // no")];
        assert_eq!(strings(tokens(SOURCE)), expected);
    }

    #[test]
    fn comments_are_found_and_strings_are_none() {
        let expected = [
            text(1, "Top."),
            text(2, "Doc \"quoted\"."),
            text(3, "why"),
            text(5, "after"),
        ];
        assert_eq!(comments(SOURCE, tokens(SOURCE)), expected);
    }
}
