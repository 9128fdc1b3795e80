//! The ids of the user namespace that this process is in.

use cairn_sys::IdMap;

use crate::error::{Error, Result};

/// Refuses a user or group that this process's user namespace does not have.
pub fn check(uid: u32, gid: u32, groups: &[u32]) -> Result<()> {
    let ids = IdMap::of_this_process();
    let mut groups = [gid].into_iter().chain(groups.iter().copied());
    if ids.has_uid(uid) && groups.all(|gid| ids.has_gid(gid)) {
        return Ok(());
    }
    Err(Error::Invalid(match ids.is_single() {
        true => "only the user root is available: this user namespace has one id; omit -u, or see \"cairn driver\" for how to have more".into(),
        false => format!(
            "user {} with its groups is not among the ids of this user namespace; choose another with -u, or see \"cairn driver\"",
            uid
        ),
    }))
}
