//! `imprint explain`: how a running sandbox was started, and where the time went.

use std::path::Path;

use factory::start::StartReport;
use pod::state::SandboxDir;

use crate::Outcome;

/// Prints the report of `sandbox`, which may be given by the beginning of its id.
pub(crate) fn explain(run_root: &Path, sandbox: &str, json: bool) -> Outcome {
    let id = complete(run_root, sandbox)?;
    let directory = SandboxDir::path_for(run_root, &id)?;
    let report = StartReport::read(&directory).map_err(|error| {
        let error = system::error::chain(&error);
        format!("The start of sandbox {id} cannot be explained: {error}")
    })?;
    if json {
        println!("{}", report.to_json()?);
    } else {
        print!("{}", told(&report));
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

/// The report in words. What comes from a file is escaped.
fn told(report: &StartReport) -> String {
    let escape = |text: &str| text.escape_debug().to_string();
    let mut lines = vec![
        format!("sandbox: {}", escape(&report.sandbox)),
        format!("start: {}", report.path.as_str()),
        format!(
            "reason: {} ({})",
            escape(&report.reason),
            report.reason_label
        ),
    ];
    if let Some(key) = &report.template_key {
        lines.push(format!("template: {}", escape(key)));
    }
    lines.push(format!("size: {}", report.size));
    if !report.proof.is_empty() {
        lines.push(format!("proof: {}", escape(&report.proof)));
    }
    lines.push(format!("ready after: {:.1} ms", report.total_ms));
    lines.push("phase                    begins at    took (ms)".to_owned());
    let mut phases: Vec<_> = report.phases.iter().collect();
    // A step that others are part of comes before them.
    phases.sort_by(|one, other| {
        let begins = one.start_ms.total_cmp(&other.start_ms);
        begins.then(other.ms.total_cmp(&one.ms))
    });
    for phase in phases {
        let (name, at, took) = (escape(&phase.name), phase.start_ms, phase.ms);
        lines.push(format!("  {name:<22} {at:>9.1} {took:>12.1}"));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{"version":1,"sandbox":"pod","start_path":"restored",
        "template_key":"ab","reason":"Template matches","reason_label":"match",
        "size":{"memory_mib":256,"vcpus":2},"max_size":{"memory_mib":512,"vcpus":2},
        "first_disk":"in-slot","proof":"incoming migration completed","total_ms":93.4,"later":1,
        "phases":[{"name":"vm.re\u001bstore","start_ms":2.0,"ms":80.0},
                  {"name":"plan","start_ms":0.5,"ms":1.25}]}"#;

    #[test]
    fn a_report_is_told_in_words_and_cannot_write_to_the_terminal() {
        let text = told(&serde_json::from_str(REPORT).unwrap());
        let head = "sandbox: pod\nstart: restored\nreason: Template matches (match)\n\
                    template: ab\nsize: 2 vCPUs, 256 MiB\n";
        assert!(text.starts_with(head), "{text}");
        let plan = text.find("plan                         0.5          1.2");
        let restore = text.find("vm.re\\u{1b}store");
        assert!(plan.is_some() && plan < restore, "{text}");
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
    fn a_sandbox_without_a_report_is_an_error_with_its_path() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("s/pod")).unwrap();
        let error = explain(root.path(), "pod", false).unwrap_err().to_string();
        assert!(error.contains("cannot be explained"), "{error}");
        assert!(error.contains("s/pod/start.json"), "{error}");
    }
}
