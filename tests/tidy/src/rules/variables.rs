//! Environment variables, and the page that lists them.

use crate::{Finding, Kind, Sources, rust};

/// The page that lists them.
const PAGE: &str = "docs/environment.md";

/// What their names begin with.
const PREFIX: &str = "IMPRINT_";

/// Variables in strings of Rust that the page does not have.
pub(super) fn unlisted(sources: &Sources) -> Vec<Finding> {
    let page = sources.files.iter().find(|file| file.path == PAGE);
    let listed = page.map_or("", |page| &page.text);
    let mut findings = Vec::new();
    for file in sources.of(&[Kind::Product, Kind::Test]) {
        let strings = rust::strings(rust::tokens(&file.text)).into_iter();
        let names = strings.filter(|string| is_name(&string.text) && !has(listed, &string.text));
        findings.extend(names.map(|string| Finding {
            path: file.path.clone(),
            line: string.line,
            problem: format!("{} is not in {PAGE}", string.text),
        }));
    }
    findings
}

fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    text.len() > PREFIX.len() && text.starts_with(PREFIX) && text.chars().all(plain)
}

/// Whether the page has the name, and not only a longer one.
fn has(page: &str, name: &str) -> bool {
    page.contains(&format!("`{name}`"))
}

#[cfg(test)]
mod tests {
    use super::unlisted;
    use crate::{Kind, Source, Sources};

    #[test]
    fn each_variable_is_on_the_page() {
        let file = |path: &str, kind, text: &str| Source {
            path: path.to_owned(),
            kind,
            text: text.to_owned(),
        };
        let code = r#"fn a() { var("IMPRINT_ONE"); var("IMPRINT_TWO"); var("IMPRINT_"); }"#;
        let files = vec![
            file(
                "docs/environment.md",
                Kind::Page,
                "`IMPRINT_ONE` `IMPRINT_TWO_MORE`",
            ),
            file("shim/src/main.rs", Kind::Product, code),
        ];
        let found = unlisted(&Sources {
            root: "/".into(),
            files,
        });
        assert_eq!(found.len(), 1);
        assert!(found[0].problem.starts_with("IMPRINT_TWO "));
    }
}
