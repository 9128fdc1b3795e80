//! What an answer that is not a success means, and what the registry says about it.

use cairn_model::Class;
use serde::Deserialize;
use ureq::http::StatusCode;

use crate::error::{Again, Failure};
use crate::http::Answer;
use crate::retry::retry_after;

/// Longest account of an error that is read, and that is shown.
const BODY_BYTES_MAX: u64 = 64 << 10;
const SHOWN_CHARS_MAX: usize = 300;

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<OneError>,
}

#[derive(Deserialize)]
struct OneError {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

/// Code and message of a registry's error document, if it is one.
fn account(bytes: &[u8]) -> Option<String> {
    let errors: Errors = serde_json::from_slice(bytes).ok()?;
    let first = errors.errors.into_iter().next()?;
    let parts = [first.message, first.code].into_iter().flatten();
    let text = parts
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(", ");
    let text: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    (!text.is_empty()).then_some(text)
}

/// The failure that an answer stands for.
pub(crate) fn failure(mut answer: Answer, registry: &str) -> Failure {
    let status = answer.status;
    let again = retry_after(answer.header("retry-after"));
    // An account that does not come is none.
    let said = answer
        .read(BODY_BYTES_MAX)
        .ok()
        .and_then(|bytes| account(&bytes));
    let said = said.map_or(String::new(), |said| format!(" ({said})"));
    match status {
        StatusCode::NOT_FOUND => Failure::lasting(
            Class::NotFound,
            format!("the registry does not have it{said}"),
        ),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::lasting(
            Class::FailedPrecondition,
            format!(
                "{registry} denies access{said}; check the name, and the credentials for {registry}"
            ),
        ),
        StatusCode::TOO_MANY_REQUESTS => Failure {
            why: format!("{registry} asks for fewer requests{said}"),
            class: Class::Unavailable,
            again,
        },
        status if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => Failure {
            why: format!("{registry} answers {status}{said}"),
            class: Class::Unavailable,
            again: match status {
                StatusCode::NOT_IMPLEMENTED => Again::Never,
                _ => again,
            },
        },
        status => Failure::wrong(format!("{registry} answers {status}{said}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read_where_there_are_some_and_bounded() {
        let said = |text: &str| account(text.as_bytes());
        let one = r#"{"errors":[{"code":"DENIED","message":"no","detail":{}}]}"#;
        assert_eq!(said(one).as_deref(), Some("no, DENIED"));
        assert_eq!(said(r#"{"errors":[{"code":"X"}]}"#).as_deref(), Some("X"));
        for none in [
            "",
            "<html>",
            "{}",
            r#"{"errors":[]}"#,
            r#"{"errors":[{}]}"#,
            "[]",
        ] {
            assert_eq!(said(none), None, "{none}");
        }
        let long = format!(r#"{{"errors":[{{"message":"{}"}}]}}"#, "ü".repeat(5000));
        assert_eq!(said(&long).unwrap().chars().count(), SHOWN_CHARS_MAX);
    }
}
