//! The user namespace of an ordinary user: where their images are unpacked and their containers run.
//!
//! A command of somebody other than root enters it before it does anything else, and is root there: of one id,
//! their own, or also of the subordinate ids that the administrator gave them (subuid(5)), which files in their
//! repository then belong to. All commands of a user share one namespace for as long as something runs in it,
//! because a process cannot join a namespace beside its own: a container's programs, network and root would be
//! out of reach of the next command. Nobody holds it open: whoever is in it is listed, and the next
//! command joins one of them.

mod make;
mod shared;
mod subids;

use std::path::PathBuf;
use std::sync::OnceLock;

use nix::sched::{CloneFlags, unshare};
use rustix::process::DumpableBehavior;

use self::shared::List;
use self::subids::Maps;
use crate::error::{Result, Step};

/// The list that this process is on.
static LIST: OnceLock<PathBuf> = OnceLock::new();

/// The user namespace that a command entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rootless {
    /// How many user ids there are in it.
    pub ids: u64,
    /// Why there is one only.
    pub why_single: Option<String>,
}

/// Enters the user's namespace, or makes it, with a mount namespace of this process's own. To be called before
/// threads are started, by a process that is not root.
pub fn enter() -> Result<Rootless> {
    let (uid, gid) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    let place = shared::place(uid);
    let list = place.as_deref().and_then(|place| List::lock(place).ok());
    let single = Maps::single(uid, gid);
    let (maps, why_single) = match subids::find(uid, gid) {
        Ok(maps) => match join_or_make(list.as_ref(), &maps, make::with_helpers) {
            Ok(()) => (maps, None),
            Err(e) => {
                join_or_make(list.as_ref(), &single, make::alone)?;
                (single, Some(cairn_model::one_line(&e)))
            }
        },
        Err(why) => {
            join_or_make(list.as_ref(), &single, make::alone)?;
            (single, Some(why))
        }
    };
    // Others of this user may look at this process, to join it; and its files in /proc are its own.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)
        .step("let this user look at this process")?;
    unshare(CloneFlags::CLONE_NEWNS).step("create a mount namespace")?;
    if let (Some(list), Some(place)) = (list, place) {
        // Where it cannot be written, the next command makes a namespace of its own.
        let _ = list.add(std::process::id() as i32);
        let _ = LIST.set(place);
    }
    Ok(Rootless {
        ids: maps.count(),
        why_single,
    })
}

fn join_or_make(
    list: Option<&List>,
    maps: &Maps,
    make: impl FnOnce(&Maps) -> Result<()>,
) -> Result<()> {
    match list.is_some_and(|list| list.join(maps)) {
        true => Ok(()),
        false => make(maps),
    }
}

/// Lists a child that stays in the namespace after this process: the monitor of a container.
pub fn leave_to(child: u32) {
    let list = LIST.get().and_then(|place| List::lock(place).ok());
    if let Some(list) = list {
        // As above.
        let _ = list.add(child as i32);
    }
}

/// True where every id of the host is there, as for root outside of user namespaces: only then can devices be
/// made and controlled, and ids be given away.
pub fn has_all_ids() -> bool {
    // Root stays in its user namespace for as long as anybody asks.
    static FULL: OnceLock<bool> = OnceLock::new();
    let is_full = || cairn_sys::IdMap::of_this_process().is_full();
    rustix::process::geteuid().is_root() && *FULL.get_or_init(is_full)
}
