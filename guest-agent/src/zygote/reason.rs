//! Why the container runtime did not do something, for readers who do not know libcontainer.
//!
//! The one place where its errors become text: what it wraps around the causes is taken off, and a
//! cause that its error has lost is taken from its log.

use std::{error::Error, io, path::Path};

use nix::errno::Errno;

use super::trace::Event;

/// What libcontainer puts before the words of another of its processes.
const FRAMES: [&str; 6] = [
    "failed to create container: ",
    "exec process failed with error ",
    "error in executing process : ",
    "intermediate process error ",
    "cgroup error: ",
    "io error: ",
];
/// What it puts behind them.
const CLEANING: &str = ". error during cleanup: ";
/// What it says of a process that is gone, and what that means.
const GONE: &str = "failed to receive. ";
const KILLED: &str = "the process was killed while it was made (is its memory limit too low?)";
/// How it logs that a process tells of its failure. What comes later is about the telling.
const REPORTED: &str = "failed to initialize container process";
/// Names of the field that has the cause.
const CAUSE: [&str; 3] = ["err", "e", "error"];

/// The reason in one line: of `error`, with what `events` know beyond it. `directory` is the working
/// directory that was asked for.
pub fn reason(error: &dyn Error, events: &[Event], directory: &Path) -> String {
    let text = plain(&chain(error));
    let reported = events
        .iter()
        .position(|event| event.message.starts_with(REPORTED));
    let events = &events[..reported.unwrap_or(events.len())];
    if let Some(told) = events.iter().find_map(|event| known(event, directory)) {
        return told;
    }
    match events.iter().find_map(detail) {
        Some((told, cause)) if !text.to_lowercase().contains(&cause) => told,
        _ => text,
    }
}

/// Whether a reason is that the container's root could not be put together, mounts included.
pub fn is_about_mounts(reason: &str) -> bool {
    reason.starts_with("failed to prepare rootfs")
}

/// Whether the working directory was looked for in vain.
pub fn lacks_directory(events: &[Event]) -> bool {
    events.iter().any(|event| {
        changes_directory(event) && event.field(&CAUSE).and_then(errno_in) == Some(Errno::ENOENT)
    })
}

/// Events whose subject is known better here than to the library.
fn known(event: &Event, directory: &Path) -> Option<String> {
    let about_directory = |errno: Errno| {
        format!(
            "working directory {}: {}",
            directory.display(),
            words(errno)
        )
    };
    if changes_directory(event) {
        return event.field(&CAUSE).and_then(errno_in).map(about_directory);
    }
    // The only hook there is makes the working directory, and ends with the error's number.
    if event.message == "failed to run create container hooks" {
        let number = event.field(&CAUSE)?.strip_prefix("NonZeroExitCode(")?;
        let number = number.strip_suffix(')')?.parse().ok()?;
        return Some(about_directory(Errno::from_raw(number)));
    }
    None
}

fn changes_directory(event: &Event) -> bool {
    ["failed to chdir", "failed to chdir to cwd"].contains(&event.message.as_str())
}

/// An event with a cause: what was not done to what and why, and the cause alone.
fn detail(event: &Event) -> Option<(String, String)> {
    let cause = words(errno_in(event.field(&CAUSE)?)?);
    let mut told = event.message.clone();
    for (name, value) in &event.fields {
        if !CAUSE.contains(&name.as_str()) {
            told.push_str(&format!(" {name} {value}"));
        }
    }
    Some((format!("{told}: {cause}"), cause))
}

/// The error number in an error's `Debug` form: `Nix(ENOENT)`, `Os { code: 2, … }`.
fn errno_in(debug: &str) -> Option<Errno> {
    let of_system = debug
        .split_once("code: ")
        .and_then(|(_, rest)| rest.split([',', ' ']).next()?.parse().ok());
    let number = of_system.or_else(|| {
        let words = debug.split(|one: char| !one.is_ascii_alphanumeric());
        let names: Vec<_> = words.filter(|word| word.starts_with('E')).collect();
        // Linux, include/uapi/asm-generic/errno.h: the last is EHWPOISON.
        (1..=133).find(|number| names.contains(&&*format!("{:?}", Errno::from_raw(*number))))
    });
    number.map(Errno::from_raw)
}

/// The system's words for an error number, as they are in the middle of a sentence.
pub fn words(errno: Errno) -> String {
    let text = io::Error::from(errno).to_string();
    let words = text.split(" (os error").next();
    words.unwrap_or_default().to_lowercase()
}

/// All causes. libcontainer repeats some of them in the words of their effects.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// Without the frames, and without what procfs says about itself.
fn plain(text: &str) -> String {
    // The words of an executed process come in pieces of three bytes, the last filled up.
    let mut rest = text.trim_end_matches('\0');
    rest = rest.split(CLEANING).next().unwrap_or(rest);
    while let Some(inner) = FRAMES.iter().find_map(|frame| rest.strip_prefix(frame)) {
        rest = inner;
    }
    if rest.starts_with(GONE) {
        return KILLED.into();
    }
    let without_place = rest
        .split_once("bug at ")
        .and_then(|(before, place)| Some((before, place.split_once('\n')?.1)));
    match without_place {
        Some((before, told)) => format!("{before}{told}").trim().to_owned(),
        None => rest.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Said(&'static str);

    impl fmt::Display for Said {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str(self.0)
        }
    }

    impl Error for Said {}

    fn event(message: &str, fields: &[(&str, &str)]) -> Event {
        Event {
            message: message.into(),
            fields: fields
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
        }
    }

    #[test]
    fn frames_go_and_lost_causes_come_back() {
        let hollow = "failed to create container: exec process failed with error error in \
                      executing process : failed to unix syscall";
        let lost = [
            event("failed to chdir", &[("e", "ENOENT")]),
            event(
                "failed to initialize container process: failed to unix syscall",
                &[],
            ),
        ];
        for (said, events, expected) in [
            (
                hollow,
                &lost[..],
                "working directory /no/such: no such file or directory",
            ),
            (
                "failed to create container: exec process failed with error error in executing \
                 process : exec: \"/x\": permission denied. error during cleanup: x",
                &[],
                "exec: \"/x\": permission denied",
            ),
            (
                "failed to mount path as readonly",
                &[event(
                    "failed to mount path as readonly",
                    &[("path", "\"/x\""), ("err", "Nix(EROFS)")],
                )],
                "failed to mount path as readonly path \"/x\": read-only file system",
            ),
            (
                "exec /x: exec format error\0",
                &lost[1..],
                "exec /x: exec format error",
            ),
            (
                "failed to run hooks",
                &[event(
                    "failed to run create container hooks",
                    &[("err", "NonZeroExitCode(20)")],
                )],
                "working directory /no/such: not a directory",
            ),
            (
                "failed to create container: failed to receive. \"waiting for init ready\". BrokenChannel",
                &[],
                KILLED,
            ),
            (
                "bug at /root/.cargo/procfs/src/process/namespaces.rs:33 (please report this \
                 procfs bug)\nUnable to stat \"/proc/7/ns/net\"",
                &[],
                "Unable to stat \"/proc/7/ns/net\"",
            ),
        ] {
            assert_eq!(reason(&Said(said), events, Path::new("/no/such")), expected);
        }
        assert!(lacks_directory(&lost));
        assert!(!lacks_directory(&[event(
            "failed to chdir",
            &[("e", "ENOTDIR")]
        )]));
    }

    #[test]
    fn error_numbers_are_found_in_debug_text() {
        for (text, number) in [
            ("Nix(ENOENT)", Some(Errno::ENOENT)),
            (
                "Os { code: 20, kind: NotADirectory, message: \"Not a directory\" }",
                Some(Errno::ENOTDIR),
            ),
            ("ExecError(\"x\")", None),
            ("Every Error", None),
        ] {
            assert_eq!(errno_in(text), number, "{text}");
        }
    }
}
