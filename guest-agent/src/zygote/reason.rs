//! The reason of libcontainer's failures, for readers who do not know libcontainer.
//!
//! This is the only place where its errors become text. What it wraps around the causes is removed.
//! A cause that is missing in its error is taken from its log.

use std::{error::Error, io, path::Path};

use nix::errno::Errno;

use super::trace::Event;

/// What libcontainer puts before the message of another one of its processes.
const PREFIXES: [&str; 6] = [
    "failed to create container: ",
    "exec process failed with error ",
    "error in executing process : ",
    "intermediate process error ",
    "cgroup error: ",
    "io error: ",
];
/// What it puts behind such a message, with the error of the cleanup.
const CLEANUP: &str = ". error during cleanup: ";
/// Its message about a process that has ended unexpectedly, and what that means.
const ENDED: &str = "failed to receive. ";
const KILLED: &str = "the process was killed while it was made (is its memory limit too low?)";
/// Begins the log message of a process that reports its failure. Later messages are about the
/// reporting.
const REPORT: &str = "failed to initialize container process";
/// Names of the log field that has the cause.
const CAUSE: [&str; 3] = ["err", "e", "error"];

/// The reason of `error` in one line, completed by the log `events` of the same request.
/// `directory` is the requested working directory.
pub fn reason(error: &dyn Error, events: &[Event], directory: &Path) -> String {
    let text = without_wrapping(&chain(error));
    let reported = events
        .iter()
        .position(|event| event.message.starts_with(REPORT));
    let events = &events[..reported.unwrap_or(events.len())];
    if let Some(reason) = events.iter().find_map(|event| known(event, directory)) {
        return reason;
    }
    match events.iter().find_map(with_cause) {
        Some((reason, cause)) if !text.to_lowercase().contains(&cause) => reason,
        _ => text,
    }
}

/// Whether a reason is about the preparation of the container's root, which includes its mounts.
pub fn is_about_mounts(reason: &str) -> bool {
    reason.starts_with("failed to prepare rootfs")
}

/// Whether the request failed because the working directory does not exist.
pub fn lacks_working_directory(events: &[Event]) -> bool {
    events.iter().any(|event| {
        changes_directory(event) && event.field(&CAUSE).and_then(errno_in) == Some(Errno::ENOENT)
    })
}

/// The reason behind events that libcontainer itself explains badly.
fn known(event: &Event, directory: &Path) -> Option<String> {
    let about_directory = |errno: Errno| {
        format!(
            "working directory {}: {}",
            directory.display(),
            message(errno)
        )
    };
    if changes_directory(event) {
        return event.field(&CAUSE).and_then(errno_in).map(about_directory);
    }
    // The only hook makes the working directory. Its exit code is the number of the error.
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

/// For an event with a cause: the whole event as text, and the cause alone.
fn with_cause(event: &Event) -> Option<(String, String)> {
    let cause = message(errno_in(event.field(&CAUSE)?)?);
    let mut text = event.message.clone();
    for (name, value) in &event.fields {
        if !CAUSE.contains(&name.as_str()) {
            text.push_str(&format!(" {name} {value}"));
        }
    }
    Some((format!("{text}: {cause}"), cause))
}

/// Finds the error number in the `Debug` form of an error: `Nix(ENOENT)`, `Os { code: 2, … }`.
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

/// The system's message for an error number, in lower case.
pub fn message(errno: Errno) -> String {
    let text = io::Error::from(errno).to_string();
    let message = text.split(" (os error").next();
    message.unwrap_or_default().to_lowercase()
}

/// The error and its causes. libcontainer repeats some causes in the errors that they lead to.
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

/// Removes the prefixes, and what the crate procfs says about itself.
fn without_wrapping(text: &str) -> String {
    // The message of a process comes in pieces of three bytes; the last one is padded.
    let mut rest = text.trim_end_matches('\0');
    rest = rest.split(CLEANUP).next().unwrap_or(rest);
    while let Some(inner) = PREFIXES.iter().find_map(|prefix| rest.strip_prefix(prefix)) {
        rest = inner;
    }
    if rest.starts_with(ENDED) {
        return KILLED.into();
    }
    let without_place = rest
        .split_once("bug at ")
        .and_then(|(before, place)| Some((before, place.split_once('\n')?.1)));
    match without_place {
        Some((before, rest)) => format!("{before}{rest}").trim().to_owned(),
        None => rest.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Reported(&'static str);

    impl fmt::Display for Reported {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str(self.0)
        }
    }

    impl Error for Reported {}

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
    fn wrapping_is_removed_and_lost_causes_are_found() {
        let without_cause = "failed to create container: exec process failed with error error in \
                      executing process : failed to unix syscall";
        let events_of_cause = [
            event("failed to chdir", &[("e", "ENOENT")]),
            event(
                "failed to initialize container process: failed to unix syscall",
                &[],
            ),
        ];
        for (text, events, expected) in [
            (
                without_cause,
                &events_of_cause[..],
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
                &events_of_cause[1..],
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
                "failed to create container: failed to receive. \"waiting for init ready\". \
                 BrokenChannel",
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
            assert_eq!(
                reason(&Reported(text), events, Path::new("/no/such")),
                expected
            );
        }
        assert!(lacks_working_directory(&events_of_cause));
        assert!(!lacks_working_directory(&[event(
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
