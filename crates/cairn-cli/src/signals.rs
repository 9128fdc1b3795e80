//! Ctrl-C, and signals like it, during long commands.
//!
//! The first one cancels the work, which then unwinds and removes what it did not finish. Work that does not
//! end by itself within a moment (it waits for a pipe, or for a disk that does not answer) is given up:
//! unfinished files are removed, unfinished directories are named, and whatever is left inside the repository
//! is a collection's. The second signal ends the program at once. In every case the program dies of the
//! signal, as it would without all this, so that a shell sees what it expects (130 after Ctrl-C).

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use cairn_model::Watch;
use nix::sys::signal::{SigSet, Signal, raise};

/// How long work may take to unwind.
const PATIENCE: Duration = Duration::from_millis(700);

/// The first signal that came; 0 for none.
static RECEIVED: AtomicI32 = AtomicI32::new(0);

/// Signals that end a command, but for those that whoever started it had it ignore (as nohup does).
fn wanted() -> SigSet {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let ignored = ignored.unwrap_or(0);
    let mut set = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        if ignored >> (signal as i32 - 1) & 1 == 0 {
            set.add(signal);
        }
    }
    set
}

/// Lets signals cancel `watch` from here on. To be called before other threads are started.
pub fn end_work_of(watch: &Watch) {
    let signals = wanted();
    if signals.thread_block().is_err() {
        // They do what they do by default.
        return;
    }
    let watch = watch.clone();
    let wait = move || {
        let first = next(&signals);
        RECEIVED.store(first as i32, Ordering::SeqCst);
        watch.cancel();
        let patience = std::thread::Builder::new().spawn(move || {
            std::thread::sleep(PATIENCE);
            crate::browse::give_back();
            give_up(&watch);
            die_of(first);
        });
        if patience.is_err() {
            die_of(first);
        }
        let second = next(&signals);
        crate::browse::make_usual();
        die_of(second);
    };
    if std::thread::Builder::new().spawn(wait).is_err() {
        // Without a thread that listens they must not stay blocked.
        let _ = wanted().thread_unblock();
    }
}

fn next(signals: &SigSet) -> Signal {
    loop {
        if let Ok(signal) = signals.wait() {
            return signal;
        }
    }
}

/// Ends the program where a signal is why its work failed.
pub fn end_if_received() {
    if let Ok(signal) = Signal::try_from(RECEIVED.load(Ordering::SeqCst)) {
        crate::output::say("interrupted");
        die_of(signal);
    }
}

/// Removes what a stuck command leaves outside of the repository, or says what it is.
fn give_up(watch: &Watch) {
    crate::output::say("interrupted");
    for path in watch.left_unfinished() {
        let removed = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path));
        if removed.is_err() && path.symlink_metadata().is_ok() {
            crate::output::say(&format!("{} is incomplete; remove it", path.display()));
        }
    }
}

fn die_of(signal: Signal) -> ! {
    let mut set = SigSet::empty();
    set.add(signal);
    // Where that does not end the program (as process 1 of a container), the exit code says the same.
    let _ = set.thread_unblock().and_then(|()| raise(signal));
    std::process::exit(128 + signal as i32)
}
