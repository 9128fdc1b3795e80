//! Sets of capabilities (capabilities(7)), by name.

use std::collections::BTreeSet;

use caps::{CapSet, Capability};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Docker's default capabilities. Devices are controlled, so that CAP_MKNOD is harmless; without that control
/// it is not given ([`Capabilities::usual`]).
const USUAL: [Capability; 14] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FSETID,
    Capability::CAP_FOWNER,
    Capability::CAP_MKNOD,
    Capability::CAP_NET_RAW,
    Capability::CAP_SETGID,
    Capability::CAP_SETUID,
    Capability::CAP_SETFCAP,
    Capability::CAP_SETPCAP,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_SYS_CHROOT,
    Capability::CAP_KILL,
    Capability::CAP_AUDIT_WRITE,
];

/// A set of capabilities.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities(BTreeSet<String>);

impl Capabilities {
    /// What a container has unless told otherwise: as Docker, without CAP_NET_RAW where the network is the
    /// host's and without CAP_MKNOD where devices are not controlled.
    pub fn usual(host_network: bool, devices_controlled: bool) -> Self {
        let mut set: BTreeSet<String> = USUAL.iter().map(ToString::to_string).collect();
        if host_network {
            set.remove("CAP_NET_RAW");
        }
        if !devices_controlled {
            set.remove("CAP_MKNOD");
        }
        Self(set)
    }

    /// All that this process may give.
    pub fn all() -> Self {
        let have = caps::read(None, CapSet::Bounding).unwrap_or_default();
        Self(have.iter().map(ToString::to_string).collect())
    }

    /// Adds and drops by names as Docker takes them: with or without `CAP_`, in any case, `ALL`. What is both
    /// added and dropped is dropped, unless one of the two is `ALL`.
    pub fn change(self, add: &[String], drop: &[String]) -> Result<Self> {
        let (add, add_all) = named(add)?;
        let (drop, drop_all) = named(drop)?;
        let all = Self::all().0;
        if let Some(name) = add.iter().find(|name| !all.contains(*name)) {
            return Err(Error::Invalid(format!(
                "capability {name} cannot be given: cairn itself does not have it"
            )));
        }
        let mut set = match (add_all, drop_all) {
            (true, true) => {
                return Err(Error::Invalid(
                    "all capabilities are both added and dropped".into(),
                ));
            }
            (true, false) => all,
            (false, true) => BTreeSet::new(),
            (false, false) => self.0,
        };
        if !add_all {
            set.extend(add);
        }
        if !drop_all {
            set.retain(|name| !drop.contains(name));
        }
        Ok(Self(set))
    }

    /// Those of these names, with `CAP_`, that this program and this kernel know, and the others.
    pub fn known(names: &[String]) -> (Self, Vec<String>) {
        let all = caps::runtime::thread_all_supported();
        let is_known = |name: &String| name.parse().is_ok_and(|c: Capability| all.contains(&c));
        let (known, unknown): (Vec<String>, _) = names.iter().cloned().partition(is_known);
        (Self(known.into_iter().collect()), unknown)
    }

    /// Names of all that this kernel has, sorted.
    pub fn names() -> Vec<String> {
        let all = caps::runtime::thread_all_supported();
        let names: BTreeSet<String> = all.iter().map(ToString::to_string).collect();
        names.into_iter().collect()
    }

    /// Adds those of another set.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend(other.0.iter().cloned());
    }

    /// True for a name in the set, with `CAP_`.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// Those that this program's tables have.
    pub(crate) fn set(&self) -> caps::CapsHashSet {
        self.0.iter().filter_map(|name| name.parse().ok()).collect()
    }

    /// Those of these names that the set has, too: what the user asked for by name.
    pub fn also_in(&self, names: &[String]) -> Result<Self> {
        let (names, _) = named(names)?;
        Ok(Self(self.0.intersection(&names).cloned().collect()))
    }
}

/// Canonical names, and whether `ALL` is among them.
fn named(names: &[String]) -> Result<(BTreeSet<String>, bool)> {
    let mut set = BTreeSet::new();
    let mut all = false;
    for name in names {
        let upper = name.to_ascii_uppercase();
        if upper == "ALL" || upper == "CAP_ALL" {
            all = true;
            continue;
        }
        let canonical = match upper.strip_prefix("CAP_") {
            Some(_) => upper,
            None => format!("CAP_{upper}"),
        };
        let known: Capability = canonical
            .parse()
            .map_err(|_| Error::Invalid(format!("unknown capability {name:?}")))?;
        set.insert(known.to_string());
    }
    Ok((set, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(add: &[&str], drop: &[&str]) -> Option<Capabilities> {
        let texts = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        Capabilities::usual(false, true)
            .change(&texts(add), &texts(drop))
            .ok()
    }

    #[test]
    fn names_are_taken_as_docker_takes_them() {
        let dropped = changed(&[], &["chown", "CAP_kill"]).unwrap();
        assert!(!dropped.has("CAP_CHOWN") && !dropped.has("CAP_KILL") && dropped.has("CAP_FOWNER"));
        let one = changed(&["chown"], &["all"]).unwrap();
        assert!(one.has("CAP_CHOWN") && one.0.len() == 1);
        assert!(!changed(&["ALL"], &["chown"]).unwrap().has("CAP_CHOWN"));
        assert!(!changed(&["chown"], &["chown"]).unwrap().has("CAP_CHOWN"));
        assert_eq!(changed(&["bogus"], &[]), None);
        assert_eq!(changed(&["ALL"], &["ALL"]), None);
    }
}
