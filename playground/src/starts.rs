//! How a sandbox came to be: the report that its shim logs, and keeps in the sandbox's directory.

use std::path::Path;

pub use factory::start::{FirstDisk, Phase, ReasonLabel, StartPath, StartReport};

use crate::{Error, Result};

/// Message of the log line.
const MESSAGE: &str = "sandbox started";

/// Reads the report of a sandbox that runs.
pub fn read(run_root: &Path, sandbox: &str) -> Result<StartReport> {
    let read = StartReport::read(&run_root.join("s").join(sandbox));
    read.map_err(|error| Error::Unexpected(system::error::chain(&error)))
}

/// Reads the report in a line of the log; `None` for a line about something else. A report that
/// cannot be read is an error: no start must go unseen.
#[must_use]
pub fn parse(line: &str) -> Option<Result<StartReport>> {
    let fields = logfmt(line);
    let field = |key: &str| fields.iter().find(|(known, _)| known == key);
    let (_, message) = field("msg")?;
    if message != MESSAGE {
        return None;
    }
    let report = field("report").map_or("", |(_, report)| report);
    let unreadable =
        |error| Error::Unexpected(format!("Start report is unreadable ({error}): {line}"));
    Some(serde_json::from_str(report).map_err(unreadable))
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
pub fn side_by_side(booted: &StartReport, restored: &StartReport) -> String {
    let mut names: Vec<&str> = Vec::new();
    for phase in booted.phases.iter().chain(&restored.phases) {
        if !names.contains(&phase.name.as_str()) {
            names.push(&phase.name);
        }
    }
    let mut table = format!("{:<24} {:>12} {:>12}\n", "phase (ms)", "booted", "restored");
    let cell = |start: &StartReport, name: &str| {
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
pub(crate) mod tests {
    use factory::start::ReasonLabel;

    use super::*;

    /// A report with these phases: name, beginning, length.
    pub(crate) fn report(path: StartPath, phases: &[(&str, f64, f64)]) -> StartReport {
        let size = serde_json::from_str(r#"{"memory_mib":256,"vcpus":1}"#).unwrap();
        let phase = |(name, start_ms, ms): &(&str, f64, f64)| Phase {
            name: (*name).to_owned(),
            start_ms: *start_ms,
            ms: *ms,
        };
        StartReport {
            version: 1,
            sandbox: "a".to_owned(),
            path,
            template_key: None,
            reason: "Fits \"x\"".to_owned(),
            reason_label: ReasonLabel::Match,
            size,
            max_size: size,
            first_disk: FirstDisk::InSlot,
            proof: String::new(),
            total_ms: 47.5,
            phases: phases.iter().map(phase).collect(),
        }
    }

    #[test]
    fn a_start_is_read_from_its_line_and_no_other() {
        let report = report(
            StartPath::Restored,
            &[("config", 0.0, 0.5), ("vm", 1.0, 12.0)],
        );
        let json = report.to_json().unwrap();
        let quoted = json.replace('\\', "\\\\").replace('"', "\\\"");
        let line = format!(
            r#"level=info msg="sandbox started" sandbox=a reason="Fits \"x\"" report="{quoted}""#
        );
        assert_eq!(parse(&line).unwrap().unwrap(), report);
        let cut = &line[..line.len() - 9];
        assert!(parse(cut).unwrap().is_err());
        assert!(parse(r#"level=info msg="sandbox stopped" start_path=booted"#).is_none());
        assert!(parse("no pairs here").is_none());
    }

    #[test]
    fn phases_of_either_start_are_in_the_table() {
        let table = side_by_side(
            &report(
                StartPath::Booted,
                &[("spawn", 0.0, 30.0), ("kernel", 30.0, 2000.0)],
            ),
            &report(
                StartPath::Restored,
                &[("spawn", 0.0, 31.0), ("load", 31.0, 9.0)],
            ),
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
