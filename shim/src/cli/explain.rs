//! `imprint explain`: how a running sandbox was started, and where the time went.

use std::path::Path;

use pod::state::SandboxDir;
use serde::Deserialize;
use system::file;

use crate::Outcome;

/// Longer records are not read.
const MAX_LENGTH: u64 = 256 * 1024;

/// What a shim writes into its sandbox's directory as `start.json`.
#[derive(Deserialize)]
struct Start {
    start_path: String,
    template_key: Option<String>,
    reason: String,
    #[serde(default)]
    proof: String,
    total_ms: f64,
    phases: Vec<Phase>,
}

#[derive(Deserialize)]
struct Phase {
    name: String,
    start_ms: f64,
    ms: f64,
}

/// Prints the record of `sandbox`, which may be given by the beginning of its id.
pub(crate) fn explain(run_root: &Path, sandbox: &str, json: bool) -> Outcome {
    let id = complete(run_root, sandbox)?;
    let path = SandboxDir::path_for(run_root, &id)?.join("start.json");
    let text = file::read(&path, MAX_LENGTH).map_err(|error| {
        format!(
            "Sandbox {id} has no record of its start yet: {}: {error}",
            path.display()
        )
    })?;
    let text = String::from_utf8(text)?;
    let start: Start = serde_json::from_str(&text)?;
    if json {
        println!("{text}");
    } else {
        print!("{}", told(&id, &start));
    }
    Ok(true)
}

/// The one sandbox whose id begins so.
fn complete(run_root: &Path, beginning: &str) -> Result<String, String> {
    let directory = run_root.join("s");
    let mut found: Vec<String> = std::fs::read_dir(&directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|id| id.starts_with(beginning) && !beginning.is_empty())
        .collect();
    if found.iter().any(|id| id == beginning) {
        return Ok(beginning.to_owned());
    }
    let shown = beginning.escape_debug();
    match (found.pop(), found.is_empty()) {
        (Some(id), true) => Ok(id),
        (Some(_), false) => Err(format!("Several sandboxes begin with {shown}")),
        (None, _) => Err(format!(
            "There is no sandbox {shown} in {}",
            directory.display()
        )),
    }
}

/// The record in words. What comes from a file is escaped.
fn told(id: &str, start: &Start) -> String {
    let escape = |text: &str| text.escape_debug().to_string();
    let mut lines = vec![
        format!("sandbox: {id}"),
        format!("start: {}", escape(&start.start_path)),
        format!("reason: {}", escape(&start.reason)),
    ];
    if let Some(key) = &start.template_key {
        lines.push(format!("template: {}", escape(key)));
    }
    if !start.proof.is_empty() {
        lines.push(format!("proof: {}", escape(&start.proof)));
    }
    lines.push(format!("ready after: {:.1} ms", start.total_ms));
    lines.push("phase                    begins at    took (ms)".to_owned());
    for phase in &start.phases {
        let (name, at, took) = (escape(&phase.name), phase.start_ms, phase.ms);
        lines.push(format!("  {name:<22} {at:>9.1} {took:>12.1}"));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{"start_path":"restored","template_key":"ab","reason":"Template fits",
        "proof":"incoming migration completed","total_ms":93.4,"later":1,
        "phases":[{"name":"plan","start_ms":0.5,"ms":1.25},{"name":"vm.re\u001bstore","start_ms":2.0,"ms":80.0}]}"#;

    #[test]
    fn a_record_is_told_in_words_and_cannot_write_to_the_terminal() {
        let text = told("pod", &serde_json::from_str(RECORD).unwrap());
        assert!(
            text.contains("start: restored\nreason: Template fits\ntemplate: ab"),
            "{text}"
        );
        assert!(
            text.contains("plan                         0.5          1.2"),
            "{text}"
        );
        assert!(text.contains("vm.re\\u{1b}store"), "{text}");
    }

    #[test]
    fn a_sandbox_is_found_by_the_beginning_of_its_id_if_that_is_enough() {
        let root = tempfile::tempdir().unwrap();
        for id in ["abc", "abd", "x"] {
            std::fs::create_dir_all(root.path().join("s").join(id)).unwrap();
        }
        let find = |text| complete(root.path(), text);
        assert_eq!(find("abc").unwrap(), "abc");
        assert_eq!(find("x").unwrap(), "x");
        assert!(find("ab").unwrap_err().contains("Several"));
        assert!(find("").unwrap_err().contains("no sandbox"));
        std::fs::create_dir(root.path().join("s/abcd")).unwrap();
        assert_eq!(find("abc").unwrap(), "abc");
    }

    #[test]
    fn a_sandbox_without_a_record_is_an_error_with_its_path() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("s/pod")).unwrap();
        let error = explain(root.path(), "pod", false).unwrap_err().to_string();
        assert!(error.contains("no record of its start yet"), "{error}");
    }
}
