//! Events of containers that commands cause; starts and ends are told by monitors.

use cairn_repo::{Container, Repo};
use cairn_runtime::Event;

/// Writes down what happened to a container.
pub(crate) fn tell(repo: &Repo, container: &Container, action: &str) {
    event(container, action).write(repo.root());
}

/// Something that happens to a container now.
pub(crate) fn event(container: &Container, action: &str) -> Event {
    Event::now("container", action, &container.id.hex()).named(&container.name)
}

/// Writes down what happened to a volume.
pub(crate) fn tell_volume(repo: &Repo, name: &str, action: &str) {
    Event::now("volume", action, name).write(repo.root());
}

/// Renames a container, and tells it.
pub fn rename(repo: &Repo, container: &Container, name: &str) -> crate::Result<()> {
    repo.containers().rename(container, name)?;
    cairn_runtime::note_name(&repo.containers().dir(&container.id), name);
    event(container, "rename")
        .named(name)
        .with("from", &container.name)
        .write(repo.root());
    Ok(())
}
