//! The part of the version 2 hierarchy that was given to an ordinary user: by systemd to the services of their
//! session, or by root with chown (Documentation/admin-guide/cgroup-v2.rst, "Delegation").

use std::fs;
use std::path::Path;

use rustix::fs::{Access, access};

use super::hierarchies;

/// The group that processes of ours move to, so that the one above may give its controllers to containers: a group
/// has either processes of its own or groups with controllers.
const OWN: &str = "cairn";

/// The topmost group around this process that its user may change, as a path below the hierarchy; `None` for root,
/// who may change all, and where there is none.
pub(super) fn subtree() -> Option<String> {
    if crate::rootless::has_all_ids() {
        return None;
    }
    let unified = hierarchies().into_iter().find(|h| h.unified)?;
    topmost(&unified.root, &own()?)
}

fn own() -> Option<String> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(own.to_owned())
}

fn topmost(root: &Path, own: &str) -> Option<String> {
    let mut found = None;
    let mut at = Path::new(own);
    while !at.as_os_str().is_empty() {
        let group = root.join(at);
        let own = |path: &Path, what| access(path, what).is_ok();
        if !own(&group, Access::WRITE_OK | Access::EXEC_OK)
            || !own(&group.join("cgroup.procs"), Access::WRITE_OK)
        {
            break;
        }
        found = Some(at);
        at = at.parent()?;
    }
    found?.to_str().map(str::to_owned)
}

/// Moves this process out of the way of the controllers: to be called by a command that is going to be, or to
/// start, the monitor of a container with limits.
pub fn make_room() {
    let (Some(top), Some(unified)) = (subtree(), hierarchies().into_iter().find(|h| h.unified))
    else {
        return;
    };
    if own().as_deref() == Some(&top) {
        let place = unified.root.join(top).join(OWN);
        // Whoever asks for a limit finds out.
        let _ = fs::create_dir(&place);
        let _ = fs::write(place.join("cgroup.procs"), "0");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topmost_group_that_may_be_changed_is_found() {
        if rustix::process::geteuid().is_root() {
            // Root may change all of them.
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("a/b/c");
        fs::create_dir_all(&group).unwrap();
        assert_eq!(topmost(root.path(), "a/b/c"), None);
        for path in [&group, group.parent().unwrap()] {
            fs::write(path.join("cgroup.procs"), "").unwrap();
        }
        assert_eq!(topmost(root.path(), "a/b/c").as_deref(), Some("a/b"));
        assert_eq!(topmost(root.path(), ""), None);
    }
}
