//! The file of `--log`, where callers look for the last error, and the words that they look for.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde_json::json;

use crate::args::LogForm;

/// An error in one line. A program that cannot be executed is told as Go's runtimes tell it: callers find out from
/// these words whether to exit with 126 or 127.
pub fn words(error: &anyhow::Error) -> String {
    let text = cairn_model::one_line(error.as_ref());
    match cause(error) {
        Some(127) => text + " (executable file not found in $PATH: no such file or directory)",
        Some(126) => text + " (permission denied)",
        _ => text,
    }
}

/// The exit code that an attempt to execute the program gave.
fn cause(error: &anyhow::Error) -> Option<u8> {
    match error.downcast_ref::<cairn_oci::Error>()? {
        cairn_oci::Error::Runtime(e) => Some(e.exit_code()),
        _ => None,
    }
}

/// Appends an error to the file. Where that cannot be written there is still standard error.
pub fn write(path: &Path, form: LogForm, words: &str) {
    let now = i64::try_from(cairn_model::clock::secs()).unwrap_or(i64::MAX);
    let time = cairn_model::clock::rfc3339(now);
    let line = match form {
        LogForm::Text => format!("time=\"{time}\" level=error msg={words:?}\n"),
        LogForm::Json => format!(
            "{}\n",
            json!({"level": "error", "msg": words, "time": time})
        ),
    };
    let file = File::options().append(true).create(true).open(path);
    let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
    if let Err(e) = written {
        crate::output::say(&format!("cannot write {}: {e}", path.display()));
    }
}
