//! The output of containers in the background.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use cairn_runtime::State;

use crate::error::{Error, Result, Step};

const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Writes the log of the container in `directory` to `out`; with `follow` until the container has ended.
pub fn logs(name: &str, directory: &Path, follow: bool, out: &mut dyn Write) -> Result<()> {
    let mut log = match File::open(directory.join("log")) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Refused(format!(
                "container {name} has no log; only containers started with -d have one"
            )));
        }
        done => done.step(format!("read the log of container {name}"))?,
    };
    loop {
        // First the state: what is written afterwards is read in the next round.
        let running = State::load(directory).is_busy();
        std::io::copy(&mut log, out)
            .and_then(|_| out.flush())
            .step("write the log")?;
        if !follow || !running {
            return Ok(());
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}
