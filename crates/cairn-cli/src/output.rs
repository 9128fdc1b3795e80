//! What a person or a program sees: tables, sizes, JSON, errors. The one way to standard output and
//! standard error.
//!
//! **Output that fails.** The first error of standard output is kept, what would follow is dropped, and
//! the command goes on to its end, so that nothing is left half done; [`finish`] then tells it. A reader
//! that went away is no news: the exit code says so (141, as of a program that SIGPIPE ended).
//!
//! **Text from others.** Whatever an image or archive brought along is escaped: nothing in it steers a
//! terminal. `println!` and `eprintln!` in this program are the macros below, which see to that.

use std::fmt::Arguments;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::Error;
use cairn_model::{Class, is_hidden, one_line, printable};

/// Writes a line to standard output, escaped.
macro_rules! println {
    () => { $crate::output::line(format_args!("")) };
    ($($text:tt)*) => { $crate::output::line(format_args!($($text)*)) };
}

/// Writes a line to standard error, escaped.
macro_rules! eprintln {
    ($($text:tt)*) => { $crate::output::note(format_args!($($text)*)) };
}

/// Exit code of a program whose reader went away: 128 and the number of SIGPIPE.
const NO_READER: u8 = 141;

/// True once nothing more is to be written.
static GIVEN_UP: AtomicBool = AtomicBool::new(false);
static BROKEN: Mutex<Option<io::Error>> = Mutex::new(None);

/// Keeps an error of standard output, if it is the first.
pub fn keep<T>(done: io::Result<T>) -> Option<T> {
    done.map_err(|e| {
        let mut broken = BROKEN.lock().unwrap_or_else(PoisonError::into_inner);
        broken.get_or_insert(e);
    })
    .ok()
}

/// True for an error that a closed pipe is the cause of.
fn is_closed_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |cause| cause.source())
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

/// For a command that writes to standard output by itself, and failed: what is left of it is dropped. The
/// command tells the error, but not that its reader went away.
pub fn given_up(error: &(dyn std::error::Error + 'static)) {
    GIVEN_UP.store(true, Ordering::Relaxed);
    if is_closed_pipe(error) {
        keep::<()>(Err(io::ErrorKind::BrokenPipe.into()));
    }
}

/// True where standard output is closed, so that following it further is of no use.
pub fn is_broken() -> bool {
    BROKEN
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .is_some()
}

/// Writes bytes to standard output as they are.
pub fn raw(bytes: &[u8]) {
    if !is_broken() {
        keep(io::stdout().lock().write_all(bytes));
    }
}

/// Standard output for those who write bytes by themselves; its first error is kept here.
pub struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let failed = || io::Error::other("standard output is closed");
        let done = keep(io::stdout().write_all(bytes));
        done.map(|()| bytes.len()).ok_or_else(failed)
    }

    fn flush(&mut self) -> io::Result<()> {
        let failed = || io::Error::other("standard output is closed");
        keep(io::stdout().flush()).ok_or_else(failed)
    }
}

/// Writes a line to standard output; used as `println!`. Line ends in it stay.
pub fn line(text: Arguments<'_>) {
    let text = text.to_string();
    let lines: Vec<String> = text.split('\n').map(printable).collect();
    raw(format!("{}\n", lines.join("\n")).as_bytes());
}

/// Writes a line that is escaped already, but for what [`paint`] put into it.
pub fn painted(text: &str) {
    raw(format!("{text}\n").as_bytes());
}

/// How text is shown on a terminal.
#[derive(Debug, Clone, Copy)]
pub enum Paint {
    /// Of a heading.
    Bold,
    /// Of what is well.
    Green,
    /// Of what to look at.
    Yellow,
    /// Of what is wrong.
    Red,
}

/// True where a stream is a terminal that shows colours and the user wants them (no-color.org).
fn has_colours(terminal: bool) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    terminal && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// True where standard output shows colours and the user wants them.
pub fn has_colours_on_stdout() -> bool {
    has_colours(io::stdout().is_terminal())
}

/// Text that is escaped already, in colour where standard output shows it.
pub fn paint(how: Paint, text: &str) -> String {
    paint_if(has_colours_on_stdout(), how, text)
}

fn paint_if(wanted: bool, how: Paint, text: &str) -> String {
    let code = match how {
        Paint::Bold => 1,
        Paint::Green => 32,
        Paint::Yellow => 33,
        Paint::Red => 31,
    };
    match wanted {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}

/// Writes a line to standard error; used as `eprintln!`.
pub fn note(text: Arguments<'_>) {
    // Nobody is left to tell if standard error is gone.
    let _ = writeln!(io::stderr(), "{}", printable(&text.to_string()));
}

/// Writes out what is left and tells what went wrong with standard output; the exit code of a command
/// that gave `code`.
pub fn finish(code: u8) -> u8 {
    let given_up = GIVEN_UP.load(Ordering::Relaxed);
    if !given_up {
        keep(io::stdout().flush());
    }
    let broken = BROKEN.lock().unwrap_or_else(PoisonError::into_inner).take();
    match broken {
        None => code,
        Some(e) if e.kind() == io::ErrorKind::BrokenPipe && (code == 0 || given_up) => NO_READER,
        Some(e) if e.kind() == io::ErrorKind::BrokenPipe => code,
        Some(e) => {
            eprintln!("cairn: cannot write to standard output: {e}");
            code.max(1)
        }
    }
}

/// Adds to an error what may have been meant.
type Hint = Box<dyn Fn(&Error) -> Option<String> + Send + Sync>;

static HINT: OnceLock<Hint> = OnceLock::new();

/// Who says what may have been meant by a name that does not exist; only the first one is asked.
pub fn hint_by(hint: impl Fn(&Error) -> Option<String> + Send + Sync + 'static) {
    let _ = HINT.set(Box::new(hint));
}

/// Prints an error and its causes on one line to standard error.
pub fn print_error(error: &Error) {
    if GIVEN_UP.load(Ordering::Relaxed) && is_closed_pipe(error.as_ref()) {
        return;
    }
    let name = paint_if(
        has_colours(io::stderr().is_terminal()),
        Paint::Red,
        "cairn:",
    );
    let mut words = shortened(&one_line(error.as_ref()));
    if let Some(meant) = HINT.get().and_then(|hint| hint(error)) {
        words.push_str(&format!("; did you mean {meant:?}?"));
    }
    let words = printable(&words);
    // Nobody is left to tell if standard error is gone.
    let _ = writeln!(io::stderr(), "{name} {words}");
}

/// Prints a line about the work to standard error.
pub fn say(text: &str) {
    eprintln!("cairn: {text}");
}

/// Never longer than a screen.
fn shortened(text: &str) -> String {
    text.chars().take(2000).collect()
}

/// The exit code of an error: its own where it has one, else that of its class.
pub fn exit_code(error: &Error) -> u8 {
    if let Some(Exit(code, _)) = error.downcast_ref::<Exit>() {
        return *code;
    }
    if let Some(code) = error.chain().find_map(of_containers) {
        return code;
    }
    let mut classes = Vec::new();
    for cause in error.chain() {
        classes.extend(class_of(cause));
        // What a stream passed on of an error of ours.
        let mut inner = cause
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
            .map(|e| e as &(dyn std::error::Error + 'static));
        while let Some(cause) = inner {
            classes.extend(class_of(cause));
            inner = cause.source();
        }
    }
    // Damage below is the reason for whatever failed above.
    let class = match classes.contains(&Class::Corrupt) {
        true => Some(Class::Corrupt),
        false => classes.first().copied(),
    };
    class.map_or(1, code_of)
}

/// The table of exit codes.
fn code_of(class: Class) -> u8 {
    match class {
        Class::Usage => 2,
        Class::Corrupt => 3,
        Class::NotFound
        | Class::Exists
        | Class::FailedPrecondition
        | Class::InUse
        | Class::Unavailable
        | Class::Cancelled
        | Class::Internal => 1,
    }
}

/// The class of an error of one of our crates.
fn class_of(cause: &(dyn std::error::Error + 'static)) -> Option<Class> {
    macro_rules! class {
        ($($error:ty),*) => {
            None$(.or_else(|| cause.downcast_ref::<$error>().map(<$error>::class)))*
        };
    }
    if cause.is::<Usage>() {
        return Some(Class::Usage);
    }
    class!(
        cairn_container::Error,
        cairn_repo::Error,
        cairn_snapshot::Error,
        cairn_layer::Error,
        cairn_image::Error,
        cairn_registry::Error,
        cairn_trust::Error,
        cairn_runtime::Error,
        cairn_serve::Error,
        cairn_store::Error
    )
}

/// The code that an error of a container or a launch has of its own.
fn of_containers(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    use cairn_container::Error;
    if let Some(e) = cause.downcast_ref::<cairn_runtime::Error>() {
        return Some(e.exit_code());
    }
    let Error::NotStarted { code, .. } = cause.downcast_ref::<Error>()? else {
        return None;
    };
    Some(*code)
}

/// A command line that makes no sense, found out after parsing.
#[derive(Debug)]
pub struct Usage(pub String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// A failure whose exit code is known.
#[derive(Debug)]
pub struct Exit(pub u8, pub String);

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.1)
    }
}

impl std::error::Error for Exit {}

/// Bytes for people: `1.5 MB`, decimal units as `ls --si` and Docker have them.
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["kB", "MB", "GB", "TB", "PB"] {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    match unit {
        "B" => format!("{bytes} B"),
        _ if value < 9.995 => format!("{value:.2} {unit}"),
        _ if value < 99.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// Time since a moment, in one unit.
pub fn ago(secs: i64) -> String {
    let seconds = (cairn_repo::time::now_secs() - secs).max(0);
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// A table whose columns are as wide as they need, but the whole at most as wide as the terminal (80
/// columns in a pipe): the widest text column gives way.
pub struct Table {
    header: Vec<&'static str>,
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
    whole: bool,
}

impl Table {
    /// A table with these columns; a name that starts with `>` makes its column right-aligned.
    pub fn new(columns: &[&'static str]) -> Self {
        let right = columns.iter().map(|c| c.starts_with('>')).collect();
        Self {
            header: columns.iter().map(|c| c.trim_start_matches('>')).collect(),
            right,
            rows: Vec::new(),
            whole: false,
        }
    }

    /// The same with nothing shortened, however wide it is.
    pub fn whole(mut self) -> Self {
        self.whole = true;
        self
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows
            .push(cells.iter().map(|cell| printable(cell)).collect());
    }

    /// Prints it.
    pub fn print(&self) -> io::Result<()> {
        let width_max = if self.whole {
            usize::MAX
        } else if std::io::stdout().is_terminal() {
            terminal_columns()
        } else {
            80
        };
        let length = |s: &str| s.chars().count();
        let mut widths: Vec<usize> = self.header.iter().map(|h| length(h)).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(length(cell));
            }
        }
        while widths.iter().sum::<usize>() + 2 * (widths.len() - 1) > width_max {
            let Some(widest) = (0..widths.len())
                .filter(|i| !self.right[*i])
                .max_by_key(|i| widths[*i])
            else {
                break;
            };
            if widths[widest] <= 8 {
                break;
            }
            widths[widest] -= 1;
        }
        let header: Vec<String> = self.header.iter().map(|h| (*h).to_owned()).collect();
        for (at, row) in std::iter::once(&header).chain(&self.rows).enumerate() {
            let mut line = String::new();
            for ((cell, width), right) in row.iter().zip(&widths).zip(&self.right) {
                let cell: String = if length(cell) > *width {
                    cell.chars().take(width - 1).chain(['…']).collect()
                } else {
                    cell.clone()
                };
                if !line.is_empty() {
                    line.push_str("  ");
                }
                let pad = " ".repeat(width - length(&cell));
                if *right {
                    line.extend([pad, cell])
                } else {
                    line.extend([cell, pad])
                }
            }
            let line = line.trim_end();
            match at {
                0 => painted(&paint(Paint::Bold, line)),
                _ => println!("{line}"),
            }
        }
        Ok(())
    }
}

fn terminal_columns() -> usize {
    rustix::termios::tcgetwinsize(std::io::stdout())
        .map_or(80, |size| usize::from(size.ws_col).max(40))
}

/// Prints a value as JSON, one document. Hidden characters are escaped as JSON has it, so that a terminal
/// is not steered and a program reads the same text.
pub fn json(value: &serde_json::Value) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    // Outside of its strings JSON has no such characters but the line ends.
    if text.chars().any(|c| c != '\n' && is_hidden(c)) {
        text = text.chars().map(escaped).collect();
    }
    raw(format!("{text}\n").as_bytes());
    Ok(())
}

/// A value as JSON on one line, with its end; hidden characters are escaped.
pub fn json_line(value: &serde_json::Value) -> io::Result<String> {
    let text = serde_json::to_string(value)?;
    Ok(text.chars().map(escaped).collect::<String>() + "\n")
}

/// Writes an event as one line of JSON to standard error.
pub fn event(event: &impl serde::Serialize) {
    let value = serde_json::to_value(event).map_err(io::Error::from);
    if let Ok(line) = value.and_then(|value| json_line(&value)) {
        // Nobody is left to tell if standard error is gone.
        let _ = io::stderr().write_all(line.as_bytes());
    }
}

/// Prints a report as JSON. The names of its fields are its own.
pub fn report(report: &impl serde::Serialize) -> io::Result<()> {
    json(&serde_json::to_value(report)?)
}

fn escaped(c: char) -> String {
    if c == '\n' || !is_hidden(c) {
        return c.to_string();
    }
    let mut units = [0; 2];
    let units = c.encode_utf16(&mut units).iter();
    units.map(|unit| format!("\\u{unit:04x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_short_and_right() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (15_240_000, "15.2 MB"),
            (999_600, "1.00 MB"),
            (426_000_000_000, "426 GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
