//! How a sandbox came to be: as its shim logged it, and as its `start.json` keeps it.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Message of the log line.
const MESSAGE: &str = "sandbox started";

/// How one sandbox was started.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Start {
    /// The way it was started: `restored` or `booted`.
    #[serde(rename = "start_path")]
    pub path: String,
    /// Key of the template it was restored from.
    pub template_key: Option<String>,
    /// Why this path was taken.
    pub reason: String,
    /// The reason as one stable word; not in the log line.
    #[serde(default)]
    pub reason_label: String,
    /// From the request to the container being made, in milliseconds; not in the log line.
    #[serde(default)]
    pub total_ms: f64,
    /// The VMM's own words for it; not in the log line.
    #[serde(default)]
    pub proof: String,
    /// The steps, in order.
    pub phases: Vec<Phase>,
}

/// A step of a start.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Phase {
    /// Name of the step, as in `vm.load`.
    pub name: String,
    /// When it began, in milliseconds after the request came; not in the log line.
    #[serde(default)]
    pub start_ms: f64,
    /// How long it took, in milliseconds.
    pub ms: f64,
}

impl Start {
    /// Reads the `start.json` of a sandbox that runs.
    pub fn read(run_root: &Path, sandbox: &str) -> Result<Self> {
        let path = run_root.join("s").join(sandbox).join("start.json");
        let text = fs::read_to_string(&path).map_err(Error::io("Reading", &path))?;
        let read = serde_json::from_str(&text);
        read.map_err(|error| Error::Unexpected(format!("{}: {error}", path.display())))
    }

    /// Reads a line of the log; `None` for one that tells something else.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let fields = logfmt(line);
        let field = |key: &str| {
            fields
                .iter()
                .find(|(known, _)| known == key)
                .map(|(_, value)| value.clone())
        };
        if field("msg")? != MESSAGE {
            return None;
        }
        Some(Self {
            path: field("start_path")?,
            template_key: field("template_key").filter(|key| key != "none"),
            reason: field("reason")?,
            reason_label: String::new(),
            total_ms: 0.0,
            proof: String::new(),
            phases: field("phases")?.split(' ').filter_map(phase).collect(),
        })
    }
}

fn phase(text: &str) -> Option<Phase> {
    let (name, ms) = text.split_once('=')?;
    Some(Phase {
        name: name.to_owned(),
        start_ms: 0.0,
        ms: ms.parse().ok()?,
    })
}

/// The pairs of a line of `key=value`, where a value with spaces is quoted.
fn logfmt(line: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = line.trim();
    while let Some((key, tail)) = rest.split_once('=') {
        let (value, tail) = match tail.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let end = tail.find(' ').unwrap_or(tail.len());
                (tail[..end].to_owned(), &tail[end..])
            }
        };
        pairs.push((key.trim().to_owned(), value));
        rest = tail;
    }
    pairs
}

/// What stands before the closing quote, and what comes after it.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            plain => value.push(plain),
        }
    }
    (value, "")
}

/// The phases of two starts, side by side, in the order in which they happened.
#[must_use]
pub fn side_by_side(booted: &Start, restored: &Start) -> String {
    let mut names: Vec<&str> = Vec::new();
    for phase in booted.phases.iter().chain(&restored.phases) {
        if !names.contains(&phase.name.as_str()) {
            names.push(&phase.name);
        }
    }
    let mut table = format!("{:<24} {:>12} {:>12}\n", "phase (ms)", "booted", "restored");
    let cell = |start: &Start, name: &str| {
        let found = start.phases.iter().find(|phase| phase.name == name);
        found.map_or_else(|| "-".to_owned(), |phase| format!("{:.1}", phase.ms))
    };
    for name in names {
        table += &format!(
            "{name:<24} {:>12} {:>12}\n",
            cell(booted, name),
            cell(restored, name)
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::{Phase, Start, side_by_side};

    fn phases(list: &[(&str, f64)]) -> Vec<Phase> {
        list.iter()
            .map(|(name, ms)| Phase {
                name: (*name).to_owned(),
                start_ms: 0.0,
                ms: *ms,
            })
            .collect()
    }

    #[test]
    fn a_start_is_read_from_its_line_and_no_other() {
        let line = concat!(
            r#"time="2026" level=info msg="sandbox started" sandbox=a start_path=restored "#,
            r#"template_key=ab12 reason="Fits \"x\"" total_ms=47.5 "#,
            r#"phases="config=0.5 vm.load=12""#,
        );
        let start = Start::parse(line).unwrap();
        assert_eq!(
            (&*start.path, start.template_key.as_deref()),
            ("restored", Some("ab12"))
        );
        assert_eq!(start.reason, r#"Fits "x""#);
        assert_eq!(start.phases, phases(&[("config", 0.5), ("vm.load", 12.0)]));
        assert_eq!(
            Start::parse(r#"level=info msg="sandbox stopped" start_path=booted"#),
            None
        );
        assert_eq!(Start::parse("no pairs here"), None);
    }

    #[test]
    fn phases_of_either_start_are_in_the_table() {
        let start = |list: &[(&str, f64)]| Start {
            path: String::new(),
            template_key: None,
            reason: String::new(),
            reason_label: String::new(),
            total_ms: 0.0,
            proof: String::new(),
            phases: phases(list),
        };
        let table = side_by_side(
            &start(&[("spawn", 30.0), ("kernel", 2000.0)]),
            &start(&[("spawn", 31.0), ("load", 9.0)]),
        );
        let rows: Vec<Vec<&str>> = table
            .lines()
            .skip(1)
            .map(|row| row.split_whitespace().collect())
            .collect();
        assert_eq!(
            rows,
            [
                ["spawn", "30.0", "31.0"],
                ["kernel", "2000.0", "-"],
                ["load", "-", "9.0"]
            ]
        );
    }
}
