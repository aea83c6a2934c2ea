//! The record of a template's failed restores, a line for each: after [`MAX_FAILURES`] in a row the
//! template is not tried any more.

use std::{
    io::{self, Read, Write},
    path::Path,
};

use system::{file, time::since_epoch};

use crate::{layout::FAILURES, private_files, unusable::Unusable};

/// Failed restores in a row after which a template is disabled.
pub const MAX_FAILURES: usize = 3;

/// Longer records are neither read nor written.
const MAX_LENGTH: u64 = 16 * 1024;
/// Characters of a reason that are recorded.
const MAX_REASON: usize = 500;

/// Refuses the template in `dir` if its last restores all failed, or if its record cannot be read.
pub(crate) fn check(dir: &Path) -> Result<(), Unusable> {
    let path = dir.join(FAILURES);
    let mut bytes = Vec::new();
    match private_files::open_file(&path) {
        Ok((file, _)) => file
            .take(MAX_LENGTH)
            .read_to_end(&mut bytes)
            .map_err(|e| Unusable::unreadable(&path, &e))?,
        Err(_) if path.symlink_metadata().is_err_and(|e| is_missing(&e)) => return Ok(()),
        Err(unusable) => return Err(unusable),
    };
    judge(&String::from_utf8_lossy(&bytes))
}

/// Refuses a template whose record is `text`, if that has [`MAX_FAILURES`] lines.
pub(crate) fn judge(text: &str) -> Result<(), Unusable> {
    let failures = text.lines().count();
    match text.lines().last() {
        Some(line) if failures >= MAX_FAILURES => Err(Unusable::SetAside {
            failures,
            last: shown(line.split_once(' ').map_or(line, |(_when, reason)| reason)),
        }),
        _ => Ok(()),
    }
}

/// The reason without control characters, which could write to a terminal. What was escaped when it
/// was recorded stays escaped.
fn shown(reason: &str) -> String {
    let reason = reason.chars().filter(|c| !c.is_control());
    reason.take(MAX_REASON).collect()
}

/// Adds a failed restore to the record. It is one short append, so several shims may add at once.
pub(crate) fn add(dir: &Path, reason: &str) -> io::Result<()> {
    let mut file = file::open_to_append(&dir.join(FAILURES))?;
    if file.metadata()?.len() > MAX_LENGTH {
        return Ok(());
    }
    let short: String = reason.chars().take(MAX_REASON).collect();
    let now = since_epoch().as_secs();
    file.write_all(format!("{now} {}\n", short.escape_debug()).as_bytes())
}

/// Empties the record, after a restore that succeeded.
pub(crate) fn clear(dir: &Path) -> io::Result<()> {
    match file::open_to_change(&dir.join(FAILURES)) {
        Ok(file) if file.metadata()?.len() > 0 => file.set_len(0),
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_third_failure_in_a_row_disables_and_a_success_forgets() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            for reason in ["one", "two\nlines"] {
                assert!(check(dir.path()).is_ok());
                add(dir.path(), reason).unwrap();
            }
            add(dir.path(), "three").unwrap();
            let unusable = check(dir.path()).unwrap_err();
            assert!(
                matches!(&unusable, Unusable::SetAside { failures: 3, last } if last == "three"),
                "{unusable}"
            );
            clear(dir.path()).unwrap();
        }
        assert!(check(dir.path()).is_ok());
    }

    #[test]
    fn a_record_of_any_form_is_counted_by_its_lines() {
        for text in ["a\nb\nc", "\n\n\n", "1 x\n2 y\n\u{1b}[2J"] {
            let unusable = judge(text).unwrap_err().to_string();
            assert!(!unusable.contains('\u{1b}'), "{unusable:?}");
        }
        assert!(judge("1 a\n2 b\n").is_ok());
    }

    #[test]
    fn a_record_cannot_grow_without_bound() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..200 {
            add(dir.path(), &"x".repeat(2000)).unwrap();
        }
        assert!(dir.path().join(FAILURES).metadata().unwrap().len() < 2 * MAX_LENGTH);
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
            let lines = String::from_utf8_lossy(&bytes).lines().count();
            let judged = judge(&String::from_utf8_lossy(&bytes));
            prop_assert_eq!(judged.is_err(), lines >= MAX_FAILURES);
        }
    }
}
