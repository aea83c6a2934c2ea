//! Errors as text.

use std::error::Error;

/// An error and all its sources, in one line: `Reading /a: Permission denied`.
///
/// A source whose words end the text already is left out: some libraries repeat their source.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{fmt, io};

    use super::*;

    #[derive(Debug)]
    struct Outer {
        text: &'static str,
        source: io::Error,
    }

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.text)
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.source)
        }
    }

    fn outer(text: &'static str) -> Outer {
        let source = io::Error::other("inner");
        Outer { text, source }
    }

    #[test]
    fn every_source_is_named_once() {
        assert_eq!(chain(&io::Error::other("alone")), "alone");
        assert_eq!(chain(&outer("Outer")), "Outer: inner");
        assert_eq!(chain(&outer("Outer: inner")), "Outer: inner");
        let nested = io::Error::other(outer("Outer"));
        assert_eq!(chain(&nested), "Outer: inner");
    }
}
