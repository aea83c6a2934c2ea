//! How a sandbox came to be, as its shim logged it.

use serde_json::Value;

/// Message of the log line.
const MESSAGE: &str = "sandbox started";

/// A start.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// `restored` or `booted`.
    pub path: String,
    /// Key of the template it was restored from.
    pub template_key: Option<String>,
    /// Why this path was taken.
    pub reason: String,
    /// The VMM's and the guest's own words for it.
    pub proof: String,
    /// Name and milliseconds of each phase, in order.
    pub phases: Vec<(String, f64)>,
}

impl Start {
    /// Reads a line of the log; `None` for one that tells something else.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let fields: Value = serde_json::from_str(line.get(line.find('{')?..)?).ok()?;
        if fields["msg"] != MESSAGE {
            return None;
        }
        let text = |key: &str| fields[key].as_str().map(str::to_owned);
        Some(Self {
            path: text("start_path")?.to_lowercase(),
            template_key: text("template_key").filter(|key| !key.is_empty()),
            reason: text("reason").unwrap_or_default(),
            proof: text("proof").unwrap_or_default(),
            phases: phases(&fields["phases"]),
        })
    }
}

/// Phases are a list of pairs, or the JSON text of one.
fn phases(value: &Value) -> Vec<(String, f64)> {
    let decoded = value
        .as_str()
        .and_then(|text| serde_json::from_str(text).ok());
    let list = decoded.as_ref().unwrap_or(value).as_array();
    let pairs = list.into_iter().flatten().filter_map(|pair| {
        let name = pair.get(0)?.as_str()?.to_owned();
        Some((name, milliseconds(pair.get(1)?)?))
    });
    pairs.collect()
}

/// A number of milliseconds, or a duration in the form that serde gives it.
fn milliseconds(value: &Value) -> Option<f64> {
    let parts = || Some(value["secs"].as_f64()? * 1e3 + value["nanos"].as_f64()? / 1e6);
    value.as_f64().or_else(parts)
}

/// The phases of two starts, side by side, in the order in which they happened.
#[must_use]
pub fn side_by_side(booted: &Start, restored: &Start) -> String {
    let mut names: Vec<&str> = booted
        .phases
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    for (name, _) in &restored.phases {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let mut table = format!("{:<24} {:>12} {:>12}\n", "phase (ms)", "booted", "restored");
    let cell = |start: &Start, name: &str| {
        let found = start.phases.iter().find(|(known, _)| known == name);
        found.map_or_else(|| "-".to_owned(), |(_, ms)| format!("{ms:.1}"))
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
    use super::{Start, side_by_side};

    #[test]
    fn a_start_is_read_from_its_line_and_no_other() {
        let line = r#"{"msg":"sandbox started","level":"INFO","start_path":"restored",
            "template_key":"ab12","reason":"template fits","phases":"[[\"spawn\",35.5],[\"load\",{\"secs\":0,\"nanos\":12000000}]]"}"#
            .replace('\n', "");
        let start = Start::parse(&line).unwrap();
        assert_eq!(
            (start.path.as_str(), start.template_key.as_deref()),
            ("restored", Some("ab12"))
        );
        assert_eq!(
            start.phases,
            [("spawn".to_owned(), 35.5), ("load".to_owned(), 12.0)]
        );
        assert_eq!(Start::parse(r#"{"msg":"sandbox stopped"}"#), None);
        assert_eq!(Start::parse("time=now msg=\"sandbox started\""), None);
    }

    #[test]
    fn phases_of_either_start_are_in_the_table() {
        let start = |phases: &[(&str, f64)]| Start {
            path: String::new(),
            template_key: None,
            reason: String::new(),
            proof: String::new(),
            phases: phases
                .iter()
                .map(|(name, ms)| ((*name).to_owned(), *ms))
                .collect(),
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
