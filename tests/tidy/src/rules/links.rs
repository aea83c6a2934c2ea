//! Links of pages to files of the work tree, and the pages that an index leaves out.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use crate::{Finding, Kind, Source, Sources, markdown::Page};

/// Pages that tell what was: their paths may be gone.
const OF_THE_PAST: [&str; 2] = ["docs/adr/", "CHANGELOG.md"];

/// Folders that a build makes.
const MADE: [&str; 2] = ["target", "build"];

/// Folders of pages whose README.md links each page.
const INDEXED: [&str; 2] = ["docs", "docs/adr"];

/// Relative links, anchors among them, that lead nowhere, and paths between back-ticks that do.
/// Pages that their folder's index does not link.
pub(super) fn broken(sources: &Sources) -> Vec<Finding> {
    let mut findings = INDEXED.map(|folder| unlisted(sources, folder)).concat();
    for file in sources.of(&[Kind::Page]) {
        let page = Page::read(&file.text);
        let finding = |line, problem: String| Finding {
            path: file.path.clone(),
            line,
            problem,
        };
        for (line, link) in &page.links {
            if !is_elsewhere(link) && !leads(sources, file, &page, link) {
                findings.push(finding(*line, format!("{link} leads nowhere")));
            }
        }
        if OF_THE_PAST.iter().any(|past| file.path.starts_with(past)) {
            continue;
        }
        for (line, code) in &page.code {
            if path_in(sources, code).is_some_and(|path| !sources.root.join(path).exists()) {
                findings.push(finding(*line, format!("{code} is not there")));
            }
        }
    }
    findings
}

/// The pages of a folder that its README.md does not link.
fn unlisted(sources: &Sources, folder: &str) -> Vec<Finding> {
    let index = format!("{folder}/README.md");
    let Some(text) = sources.files.iter().find(|file| file.path == index) else {
        return Vec::new();
    };
    let links = Page::read(&text.text).links;
    let pages = sources.of(&[Kind::Page]).filter_map(|page| {
        let (parent, name) = page.path.rsplit_once('/')?;
        let linked = links.iter().any(|(_, link)| link == name);
        (parent == folder && name != "README.md" && !linked).then(|| Finding {
            path: index.clone(),
            line: 0,
            problem: format!("does not link {name}"),
        })
    });
    pages.collect()
}

/// Whether the link has a scheme.
fn is_elsewhere(link: &str) -> bool {
    link.split_once(':')
        .is_some_and(|(scheme, _)| scheme.bytes().all(|b| b.is_ascii_alphabetic()))
}

fn leads(sources: &Sources, from: &Source, page: &Page, link: &str) -> bool {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    if path.is_empty() {
        return page.anchors.iter().any(|known| known == anchor);
    }
    let directory = Path::new(&from.path).parent().unwrap_or(Path::new(""));
    let target = sources.root.join(directory).join(path);
    if !target.exists() {
        return false;
    }
    let is_page = target
        .extension()
        .is_some_and(|extension| extension == "md");
    anchor.is_empty() || !is_page || {
        let text = fs::read_to_string(&target).unwrap_or_default();
        Page::read(&text)
            .anchors
            .iter()
            .any(|known| known == anchor)
    }
}

/// The path that stands in the code, if it is one below a folder of the work tree.
fn path_in<'a>(sources: &Sources, code: &'a str) -> Option<&'a str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
    let (folder, rest) = code.split_once('/')?;
    let is_path = code.chars().all(plain) && !rest.is_empty() && !MADE.contains(&folder);
    let normal = PathBuf::from(code)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let begins = |file: &Source| {
        file.path
            .split_once('/')
            .is_some_and(|(first, _)| first == folder)
    };
    (is_path && normal && sources.files.iter().any(begins)).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::broken;
    use crate::{Kind, Source, Sources};

    #[test]
    fn what_leads_nowhere_is_found() {
        let root = Sources::read().unwrap().root;
        let page = Source {
            path: "docs/page.md".to_owned(),
            kind: Kind::Page,
            text: "# Top it is\n[a](../Cargo.toml) [b](https://x.y/z) [c](#top-it-is) \
                   [d](absent.md)\n[e](#absent) `docs/absent.md` `docs/adr` `/docs/x` `docs/*.md`\n"
                .to_owned(),
        };
        let found = broken(&Sources {
            root,
            files: vec![page],
        });
        let found: Vec<&str> = found.iter().map(|found| &*found.problem).collect();
        assert_eq!(
            found,
            [
                "absent.md leads nowhere",
                "#absent leads nowhere",
                "docs/absent.md is not there"
            ]
        );
    }
}
