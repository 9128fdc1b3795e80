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
    let unified = hierarchies().iter().find(|h| h.unified)?;
    topmost(&own()?, |group| is_given(&unified.root.join(group)))
}

fn own() -> Option<String> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(own.to_owned())
}

/// True where the user may make groups in this one, and move processes.
fn is_given(group: &Path) -> bool {
    let may = |path: &Path, what| access(path, what).is_ok();
    may(group, Access::WRITE_OK | Access::EXEC_OK)
        && may(&group.join("cgroup.procs"), Access::WRITE_OK)
}

/// The topmost of the groups around `own` up to which all were given to the user.
fn topmost(own: &str, is_given: impl Fn(&Path) -> bool) -> Option<String> {
    let around = Path::new(own)
        .ancestors()
        .take_while(|group| !group.as_os_str().is_empty() && is_given(group));
    around.last()?.to_str().map(str::to_owned)
}

/// Moves this process out of the way of the controllers: to be called by a command that is going to be, or to
/// start, the monitor of a container with limits.
pub fn make_room() {
    let (Some(top), Some(unified)) = (subtree(), hierarchies().iter().find(|h| h.unified)) else {
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
    fn the_topmost_group_that_was_given_is_found() {
        let of = |own: &str, given: &[&str]| {
            topmost(own, |group| {
                given.iter().any(|path| Path::new(path) == group)
            })
        };
        let session = ["user/1000/manager", "user/1000/manager/app"];
        assert_eq!(
            of("user/1000/manager/app", &session).as_deref(),
            Some("user/1000/manager")
        );
        assert_eq!(of("user/1000/login", &session), None);
        assert_eq!(of("a/b/c", &["a", "a/b/c"]).as_deref(), Some("a/b/c"));
        assert_eq!(of("", &[""]), None, "the root is root's");
    }
}
