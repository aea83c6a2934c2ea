//! Paths and modules in the text of one source file.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// What is found in a file.
#[derive(Debug, Default)]
pub struct Found {
    /// Names that lead from a module to an item of the crate's root, or to what is below it.
    pub names: Vec<Name>,
    /// Modules whose text is in another file.
    pub files: Vec<ModuleFile>,
    /// What the file itself makes known by a `use`, if it is a root: a name, and the first part of
    /// its path.
    pub exports: Vec<(String, String)>,
}

/// A name of the crate's root, used.
#[derive(Debug, PartialEq, Eq)]
pub struct Name {
    /// The name; `*` for all of them.
    pub name: String,
    /// Line, counted from 1.
    pub line: usize,
}

/// `mod name;`
#[derive(Debug, PartialEq, Eq)]
pub struct ModuleFile {
    /// The module's path from the crate's root.
    pub module: Vec<String>,
    /// What `#[path]` says.
    pub path: Option<String>,
}

/// Looks through a file with the text of `module`. What is for tests only is left out.
///
/// # Errors
/// It is not Rust.
pub fn look(text: &str, module: &[String]) -> Result<Found, proc_macro2::LexError> {
    let mut look = Look {
        module: module.to_vec(),
        found: Found::default(),
    };
    let tokens = list(text.parse()?);
    if module.is_empty() {
        look.exports(&tokens);
    }
    look.items(&tokens);
    Ok(look.found)
}

struct Look {
    module: Vec<String>,
    found: Found,
}

impl Look {
    fn items(&mut self, tokens: &[TokenTree]) {
        let mut attributes: Vec<TokenStream> = Vec::new();
        let mut rest = tokens;
        while let [first, tail @ ..] = rest {
            rest = tail;
            if is(first, '#') {
                let after = tail
                    .iter()
                    .position(|token| !is(token, '!'))
                    .unwrap_or_default();
                if let Some(TokenTree::Group(group)) = tail.get(after) {
                    // An inner attribute is about what is around it.
                    attributes.extend((after == 0).then(|| group.stream()));
                    rest = &tail[after + 1..];
                }
                continue;
            }
            let given = std::mem::take(&mut attributes);
            if given.iter().any(is_for_tests) {
                rest = after_item(&tokens[tokens.len() - tail.len() - 1..]);
                continue;
            }
            rest = match first {
                TokenTree::Ident(word) if *word == "mod" => self.module(tail, &given),
                TokenTree::Ident(word) if *word == "crate" => self.path(Vec::new(), tail),
                TokenTree::Ident(word) if *word == "super" => self.path(self.above(), tail),
                TokenTree::Group(group) => {
                    self.items(&list(group.stream()));
                    tail
                }
                _ => tail,
            };
        }
    }

    /// Behind `mod`.
    fn module<'a>(
        &mut self,
        tokens: &'a [TokenTree],
        attributes: &[TokenStream],
    ) -> &'a [TokenTree] {
        let [TokenTree::Ident(name), next, rest @ ..] = tokens else {
            return tokens;
        };
        self.module.push(name.to_string());
        match next {
            TokenTree::Group(group) => self.items(&list(group.stream())),
            _ => self.found.files.push(ModuleFile {
                module: self.module.clone(),
                path: attributes.iter().find_map(path_attribute),
            }),
        }
        self.module.pop();
        rest
    }

    fn above(&self) -> Vec<String> {
        let above = self.module.len().saturating_sub(1);
        self.module[..above].to_vec()
    }

    /// Behind the `crate` or `super` that stands for `base`. Answers what comes behind the path.
    fn path<'a>(&mut self, base: Vec<String>, tokens: &'a [TokenTree]) -> &'a [TokenTree] {
        match tokens {
            [one, other, rest @ ..] if is(one, ':') && is(other, ':') => self.tree(base, rest),
            _ => tokens,
        }
    }

    /// A name, a `super`, or several of them in braces, within `base`. Answers what comes behind.
    fn tree<'a>(&mut self, mut base: Vec<String>, tokens: &'a [TokenTree]) -> &'a [TokenTree] {
        match tokens {
            [TokenTree::Ident(word), rest @ ..] if *word == "super" => {
                base.pop();
                self.path(base, rest)
            }
            [TokenTree::Group(group), rest @ ..] => {
                let inner = list(group.stream());
                for element in inner.split(|token| is(token, ',')) {
                    self.tree(base.clone(), element);
                }
                rest
            }
            [token, rest @ ..] => {
                let name = base.first().cloned().unwrap_or_else(|| token.to_string());
                let line = token.span().start().line;
                self.found.names.push(Name { name, line });
                rest
            }
            [] => tokens,
        }
    }

    /// The names of the root's own `use` statements.
    fn exports(&mut self, tokens: &[TokenTree]) {
        for statement in tokens.split(|token| is(token, ';')) {
            let start = statement.iter().rposition(|token| is_word(token, "use"));
            if let Some(start) = start {
                self.leaves(None, &statement[start + 1..]);
            }
        }
    }

    fn leaves(&mut self, first: Option<&str>, tokens: &[TokenTree]) {
        match tokens {
            [TokenTree::Ident(word), one, other, rest @ ..] if is(one, ':') && is(other, ':') => {
                let word = word.to_string();
                let own = word == "crate" || word == "self";
                let next = first.or((!own).then_some(word.as_str()));
                self.leaves(next.map(str::to_owned).as_deref(), rest);
            }
            [TokenTree::Group(group), ..] => {
                let inner = list(group.stream());
                for element in inner.split(|token| is(token, ',')) {
                    self.leaves(first, element);
                }
            }
            [.., TokenTree::Ident(name)] => {
                let name = name.to_string();
                let first = first.map_or_else(|| name.clone(), str::to_owned);
                self.found.exports.push((name, first));
            }
            _ => {}
        }
    }
}

fn list(stream: TokenStream) -> Vec<TokenTree> {
    stream.into_iter().collect()
}

fn is(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(found) if found.as_char() == sign)
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(found) if *found == word)
}

/// What comes behind an item: it ends with a semicolon or with a body.
fn after_item(tokens: &[TokenTree]) -> &[TokenTree] {
    let is_end = |token: &TokenTree| is(token, ';') || is_braces(token);
    let end = tokens.iter().position(is_end);
    end.map_or(&[], |end| &tokens[end + 1..])
}

fn is_braces(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

/// `cfg(test)`, or what needs it among other things.
fn is_for_tests(attribute: &TokenStream) -> bool {
    match list(attribute.clone()).as_slice() {
        [word, TokenTree::Group(condition)] => is_word(word, "cfg") && needs_test(condition),
        _ => false,
    }
}

fn needs_test(condition: &Group) -> bool {
    match list(condition.stream()).as_slice() {
        [word] => is_word(word, "test"),
        [word, TokenTree::Group(all)] if is_word(word, "all") => list(all.stream())
            .iter()
            .any(|token| is_word(token, "test")),
        _ => false,
    }
}

/// `path = "..."`
fn path_attribute(attribute: &TokenStream) -> Option<String> {
    match list(attribute.clone()).as_slice() {
        [word, _, TokenTree::Literal(text)] if is_word(word, "path") => {
            Some(text.to_string().trim_matches('"').to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(module: &[&str], text: &str) -> Vec<(String, usize)> {
        let module: Vec<String> = module.iter().map(|&part| part.to_owned()).collect();
        let found = look(text, &module).unwrap();
        let names = found.names.into_iter();
        names.map(|found| (found.name, found.line)).collect()
    }

    fn named(expected: &[(&str, usize)]) -> Vec<(String, usize)> {
        let owned = expected
            .iter()
            .map(|(name, line)| ((*name).to_owned(), *line));
        owned.collect()
    }

    #[test]
    fn names_of_the_root_are_found_however_they_are_reached() {
        let text = "use crate::a::{B, c};\n\
            use super::{super::d, own,\n    super::e::{f, g}};\n\
            fn x(y: crate::h::Y) -> super::super::i::Z { vec![crate::j!()] }\n\
            mod inner { use super::super::super::k; use crate::*; }\n";
        let expected = [
            ("a", 1),
            ("d", 2),
            ("m", 2),
            ("e", 3),
            ("h", 4),
            ("i", 4),
            ("j", 4),
        ];
        let expected = [&expected[..], &[("k", 5), ("*", 5)]].concat();
        assert_eq!(names(&["m", "n"], text), named(&expected));
    }

    #[test]
    fn what_is_for_tests_and_what_is_no_path_is_left_out() {
        let text = "pub(crate) fn a() {}\n\
            //! crate::comment\n\
            /// [`crate::documentation`]\n\
            #[cfg(test)]\npub mod tests { use crate::b; }\n\
            #[cfg(all(test, unix))] use crate::c;\n\
            #[cfg(not(test))] use crate::d;\n\
            const TEXT: &str = \"crate::e\";\n";
        // A comment of the file comes first.
        let text = text.replace("//! crate::comment\n", "// crate::comment\n");
        assert_eq!(names(&["m"], &text), named(&[("d", 7)]));
    }

    #[test]
    fn files_of_modules_and_names_of_the_root_are_found() {
        let text = "mod a;\n#[path = \"../else.rs\"]\nmod b;\n#[cfg(test)]\nmod tests;\n\
            mod c { mod d; }\n\
            pub use a::{Error, inner::{Deep as Renamed, self}};\n\
            use crate::b::Result;\n";
        let found = look(text, &[]).unwrap();
        let file = |module: &[&str], path: Option<&str>| ModuleFile {
            module: module.iter().map(|&part| part.to_owned()).collect(),
            path: path.map(str::to_owned),
        };
        let expected = [
            file(&["a"], None),
            file(&["b"], Some("../else.rs")),
            file(&["c", "d"], None),
        ];
        assert_eq!(found.files, expected);
        let exports: Vec<(&str, &str)> = found
            .exports
            .iter()
            .map(|(name, first)| (name.as_str(), first.as_str()))
            .collect();
        let expected = [
            ("Error", "a"),
            ("Renamed", "a"),
            ("self", "a"),
            ("Result", "b"),
        ];
        assert_eq!(exports, expected);
    }
}
