//! How an error is told: with its causes, on one line.

use std::error::Error;

/// An error and its causes on one line, from the outermost inwards.
pub fn one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        let words = cause.to_string();
        // A transparent error repeats what its cause says.
        if !text.ends_with(&words) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&words);
        }
        below = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Layered(&'static str, Option<Box<Layered>>);

    impl std::fmt::Display for Layered {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Layered {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    fn of(words: &[&'static str]) -> String {
        let wrap = |below, words: &&'static str| Some(Box::new(Layered(words, below)));
        one_line(&*words.iter().rev().fold(None, wrap).unwrap())
    }

    #[test]
    fn each_cause_is_said_once() {
        assert_eq!(of(&["cannot read x"]), "cannot read x");
        assert_eq!(of(&["import", "import", "no room"]), "import: no room");
        assert_eq!(of(&["", "no room", ""]), "no room");
    }
}
