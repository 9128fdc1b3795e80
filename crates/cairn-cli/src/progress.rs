//! Progress on a terminal: bytes, rate, time left. In a pipe, nothing.

mod transfers;

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub use transfers::Transfers;

/// Standard error, if it is a terminal.
fn target() -> ProgressDrawTarget {
    match std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr_with_hz(10),
        false => ProgressDrawTarget::hidden(),
    }
}

/// The bar with bytes, rate and time left after these words.
fn styled(bar: ProgressBar, words: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{msg:12} {bar:24} {bytes}/{total_bytes} {bytes_per_sec} {eta} left",
    );
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.set_message(words.to_owned());
    bar
}

/// A progress bar, or nothing where standard error is no terminal. The first of its clones that goes ends it.
#[derive(Clone)]
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar that says what is being done.
    pub fn new(verb: &str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), target());
        Self(styled(bar, verb))
    }

    /// Adds bytes done.
    pub fn add(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// Adds bytes to be done.
    pub fn expect(&self, bytes: u64) {
        self.0.inc_length(bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl cairn_repo::Progress for Bar {
    fn wants_total(&self) -> bool {
        !self.0.is_hidden()
    }

    fn total(&self, bytes: u64) {
        self.expect(bytes);
    }

    fn read(&self, bytes: u64) {
        self.add(bytes);
    }

    fn passed_over(&self, what: &str, why: &str) {
        self.0
            .suspend(|| crate::output::say(&format!("skipped {what}: {why}")));
    }
}
