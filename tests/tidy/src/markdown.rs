//! Pages of Markdown: their prose, links, headings and code.

use std::ops::Range;

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd};

/// What a page consists of, each with its line.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// Text that is read as sentences, without code.
    pub(crate) prose: Vec<(usize, String)>,
    /// Where links and images point to.
    pub(crate) links: Vec<(usize, String)>,
    /// What stands between back-ticks.
    pub(crate) code: Vec<(usize, String)>,
    /// The names that headings are linked by.
    pub(crate) anchors: Vec<String>,
    /// Lines of blocks of code and of tables, which cannot be wrapped.
    pub(crate) fixed: Vec<Range<usize>>,
}

impl Page {
    pub(crate) fn read(text: &str) -> Self {
        let mut page = Self::default();
        let line = |at: usize| text[..at].matches('\n').count() + 1;
        let mut in_code = false;
        let mut heading: Option<String> = None;
        for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
            match event {
                Event::Start(Tag::CodeBlock(_)) => {
                    in_code = true;
                    page.fixed.push(line(range.start)..line(range.end) + 1);
                }
                Event::Start(Tag::Table(_)) => {
                    page.fixed.push(line(range.start)..line(range.end) + 1)
                }
                Event::End(TagEnd::CodeBlock) => in_code = false,
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    page.anchors.extend(heading.take().as_deref().map(anchor));
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push((line(range.start), dest_url.into_string()));
                }
                Event::Text(words) if !in_code => {
                    extend(heading.as_mut(), &words);
                    page.prose.push((line(range.start), words.into_string()));
                }
                Event::Code(words) => {
                    extend(heading.as_mut(), &words);
                    page.code.push((line(range.start), words.into_string()));
                }
                _ => {}
            }
        }
        page
    }
}

fn extend(heading: Option<&mut String>, words: &CowStr<'_>) {
    if let Some(heading) = heading {
        heading.push_str(words);
    }
}

/// The name that a heading is linked by, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[cfg(test)]
mod tests {
    use super::Page;

    #[test]
    fn a_page_is_taken_apart() {
        let page = Page::read(
            "# What `a` is, now\n\nSee [b](c.md#d) and `e f`.\n\n\
             ```\ncode\n```\n\n| a |\n|---|\n| b |\n",
        );
        assert_eq!(page.anchors, ["what-a-is-now"]);
        assert_eq!(page.links, [(3, "c.md#d".to_owned())]);
        assert_eq!(page.code, [(1, "a".to_owned()), (3, "e f".to_owned())]);
        assert!(page.prose.iter().all(|(_, text)| text != "code\n"));
        assert_eq!(page.fixed, [5..8, 9..13]);
    }
}
