//! Deletion of a container: what is left of it in the kernel, its directory, its hooks.

use cairn_runtime::remove_groups;

use crate::container::{Root, Status};
use crate::error::{Context, Error, Result};
use crate::hooks::run_all;
use crate::kill;

/// Deletes a container that has ended, or was not started yet; with `force` also one that runs, and none at all
/// is no error.
pub fn delete(root: &Root, id: &str, force: bool) -> Result<()> {
    let container = match root.get_locked(id) {
        Err(Error::NotFound(_)) if force => {
            // A creation that was killed before it wrote down anything.
            let _ = std::fs::remove_dir_all(root.directory(id)?);
            return Ok(());
        }
        found => found?,
    };
    match container.status() {
        Status::Stopped => {}
        Status::Created => kill::end(&container)?,
        Status::Running | Status::Paused if force => kill::end(&container)?,
        status => {
            return Err(Error::Refused(format!(
                "cannot delete container {id} that is not stopped: {}",
                status.name()
            )));
        }
    }
    // Without a PID namespace of its own it may have left processes.
    remove_groups(container.group());
    let directory = &container.directory;
    std::fs::remove_dir_all(directory).step(format!("remove {}", directory.display()))?;
    run_all(&container.stored.stopped, &container.told("stopped", None));
    Ok(())
}
