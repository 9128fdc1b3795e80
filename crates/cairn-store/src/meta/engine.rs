//! sled, opened with care: what it says when it fails is told apart, so that nothing healthy is ever taken
//! for damaged.
//!
//! The journal is the truth, so sled is never needed. It *may* fail because the system lacks something
//! (space, descriptors, memory, threads, permission), because its files are still locked by threads of a
//! process that is just ending, or because they are damaged. Only the last is a reason to replace it.
//!
//! sled writes by itself, and its files are moved and removed without [`crate::Disk`] by this module and by
//! `db` and `mend`: whatever a crash leaves of them, the journal makes up for it.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Once;
use std::time::{Duration, Instant};

use super::journal::Mark;
use super::record::Changes;
use crate::codec;

/// Key of the row that says how far the journal is applied. No table has this prefix.
pub const MARK_KEY: &[u8] = b"\0applied";
/// How long sled's own lock is waited for. The repository lock is held, so nobody works with the database:
/// its files are only not closed yet, by threads of sled's pool or by a child between fork and exec.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(2);

/// Why sled does not serve.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// What it said.
    pub why: String,
    /// True where its files may be to blame; a new database beside it that opens is the proof.
    pub suspect: bool,
}

impl From<sled::Error> for Trouble {
    fn from(error: sled::Error) -> Self {
        let suspect = match &error {
            sled::Error::Io(e) => {
                e.raw_os_error().is_none()
                    && matches!(
                        e.kind(),
                        ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::InvalidInput
                    )
            }
            _ => true,
        };
        Self {
            why: error.to_string(),
            suspect,
        }
    }
}

impl Trouble {
    fn unavailable(error: std::io::Error) -> Self {
        Self {
            why: error.to_string(),
            suspect: false,
        }
    }
}

/// Threads that sled starts: seven that work for it, one that flushes.
const SLED_THREADS: usize = 8;

/// Without the first sled waits for ever, without the last it panics.
fn has_threads() -> std::io::Result<()> {
    static PROVED: Once = Once::new();
    if !PROVED.is_completed() {
        cairn_sys::threads::can_start(SLED_THREADS)
            .map_err(|e| std::io::Error::new(e.kind(), format!("cannot start a thread: {e}")))?;
        PROVED.call_once(|| ());
    }
    Ok(())
}

/// Opens the database in `path`, makes it if it is not there, and says how far it has the journal.
pub fn open(path: &Path) -> Result<(sled::Db, Mark), Trouble> {
    prepare(path)
        .and_then(|()| has_threads())
        .map_err(Trouble::unavailable)?;
    let start = Instant::now();
    loop {
        match guarded(|| {
            let db = sled::Config::new()
                .path(path)
                .cache_capacity(16 << 20)
                .open()?;
            let mark = db.get(MARK_KEY)?;
            Ok((db, mark))
        }) {
            Ok((db, mark)) => {
                let mark = mark.and_then(|v| codec::decode_bare::<Mark>(&mut &v[..]));
                return Ok((db, mark.unwrap_or_default()));
            }
            Err(e) if is_busy(&e) && start.elapsed() < PATIENCE => std::thread::sleep(POLL),
            Err(e) => return Err(e),
        }
    }
}

fn is_busy(trouble: &Trouble) -> bool {
    !trouble.suspect && trouble.why.contains("could not acquire lock")
}

fn prepare(path: &Path) -> std::io::Result<()> {
    if !path.is_dir() {
        std::fs::create_dir_all(path)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(path, mode)?;
    }
    // A kill while sled writes a snapshot leaves a partial file that it then refuses to open.
    for file in std::fs::read_dir(path)?.flatten() {
        if file.file_name().to_string_lossy().ends_with(".generating") {
            std::fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

/// Runs `f`; a panic in sled, which has many where a file is odd or the system refuses something, is trouble
/// like any other.
pub fn guarded<T>(f: impl FnOnce() -> Result<T, sled::Error>) -> Result<T, Trouble> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // What sled's threads have to say is dealt with here; users could do nothing with it.
            let from = |name| info.location().is_some_and(|at| at.file().contains(name));
            if !from("/sled-0.34") && !from("/crossbeam-epoch-") {
                others(info);
            }
        }));
    });
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)) {
        Ok(done) => done.map_err(Trouble::from),
        Err(_) => Err(Trouble {
            why: "it panicked".into(),
            suspect: true,
        }),
    }
}

/// Writes changes, and how far the journal is applied with them.
pub fn apply(db: &sled::Db, changes: Changes, mark: Option<Mark>) -> Result<(), Trouble> {
    let mut batch = sled::Batch::default();
    for (key, value) in changes {
        match value {
            Some(value) => batch.insert(key, value),
            None => batch.remove(key),
        }
    }
    if let Some(mark) = mark {
        batch.insert(MARK_KEY, codec::encode_bare(&mark));
    }
    guarded(|| db.apply_batch(batch))
}

/// All rows.
pub fn all_rows(db: &sled::Db) -> Result<Changes, Trouble> {
    guarded(|| {
        let rows = db
            .iter()
            .filter(|row| !matches!(row, Ok((key, _)) if key == MARK_KEY));
        rows.map(|row| row.map(|(key, value)| (key.to_vec(), Some(value.to_vec()))))
            .collect()
    })
}

/// Closes the database; a panic while it does is of no consequence, for the journal has everything.
pub fn close(db: sled::Db) {
    let _ = guarded(|| {
        drop(db);
        Ok(())
    });
}
