//! Signals during the creation of a container: it is taken back, whatever is going on.
//!
//! A view of a large image takes a while to make. A signal in that time ends the command at once, and a
//! process of its own then removes what there is of the container. From the start of the monitor on signals
//! are the monitor's.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Stack of the thread that watches.
const STACK_BYTES: usize = 128 << 10;

/// Watches for signals until it is told that the monitor takes over.
pub struct Interrupts {
    state: Arc<Mutex<State>>,
}

struct State {
    container: Option<String>,
    root: PathBuf,
    over: bool,
}

impl Interrupts {
    /// Blocks the signals that end a command and starts to watch for them. To be called before other threads
    /// are started.
    pub fn watch(root: PathBuf) -> crate::Result<Self> {
        cairn_runtime::block_signals()?;
        let state = Arc::new(Mutex::new(State {
            container: None,
            root,
            over: false,
        }));
        let shared = state.clone();
        let watcher = move || {
            loop {
                std::thread::sleep(Duration::from_millis(20));
                let state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                if state.over {
                    return;
                }
                if let Some(signal) = cairn_runtime::pending_signal() {
                    take_back(&state);
                    std::process::exit(128 + signal);
                }
            }
        };
        std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn(watcher)
            .map_err(|source| crate::Error::Step {
                step: "start a thread".into(),
                source,
            })?;
        Ok(Self { state })
    }

    /// From here on there may be a container to take back.
    pub(crate) fn created(&self, id: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.container = Some(id.to_owned());
    }

    /// From here on signals are somebody else's.
    pub(crate) fn over(&self) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .over = true;
    }
}

/// Starts the process that removes the container as soon as this one is gone.
fn take_back(state: &State) {
    let Some(id) = &state.container else { return };
    let child = Command::new("/proc/self/exe")
        .arg("--root")
        .arg(&state.root)
        .args(["__after", id])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn();
    if let Ok(child) = child {
        // Its input ends with this process, not before.
        std::mem::forget(child);
    }
}
