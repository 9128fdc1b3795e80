//! Ids of containers with user namespaces, as labels say them (capability "remap-ids").

use std::os::fd::OwnedFd;

use cairn_model::{BlobId, MappedIds, Meta};
use cairn_snapshot::Labels;

use crate::status::Failure;

/// Label with the users of a container and those of the host that they stand for.
const USERS: &str = "containerd.io/snapshot/uidmapping";
/// The same of groups.
const GROUPS: &str = "containerd.io/snapshot/gidmapping";
/// Digits of a name: enough to tell the mappings of one machine apart.
const NAME_DIGITS: usize = 16;

/// The ids that the labels of a snapshot ask for.
pub(crate) fn ids_of(labels: &Labels) -> Result<Option<MappedIds>, Failure> {
    let (uids, gids) = match (labels.get(USERS), labels.get(GROUPS)) {
        (None, None) => return Ok(None),
        (Some(uids), Some(gids)) => (uids, gids),
        _ => {
            let words = format!("the labels {USERS} and {GROUPS} go together");
            return Err(Failure::Invalid(words));
        }
    };
    let ids = MappedIds::parse(uids, gids).filter(|ids| ids.to_host(0, 0).is_some());
    ids.map(Some).ok_or_else(|| {
        Failure::Invalid(format!(
            "{uids} and {gids} are no maps of ids: write INSIDE:HOST:COUNT, with commas between ranges, and map root"
        ))
    })
}

/// True where a root directory has the host's ids of the container: somebody changed the owners of all files for it.
pub(crate) fn are_in_place(ids: &MappedIds, root: &Meta) -> bool {
    let owner = (root.uid, root.gid);
    owner != (0, 0) && ids.to_host(0, 0) == Some(owner)
}

/// What mounts with these ids are called.
pub(crate) fn name(ids: &MappedIds) -> String {
    let mut hex = BlobId::of(ids.to_string().as_bytes()).hex();
    hex.truncate(NAME_DIGITS);
    hex
}

/// A user namespace that has them.
pub(crate) fn namespace(ids: &MappedIds) -> std::io::Result<OwnedFd> {
    let (uids, gids) = ids.lines();
    cairn_sys::user_namespace(&uids, &gids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_labels_are_maps_of_ids_or_the_request_makes_no_sense() {
        let labels = |all: &[(&str, &str)]| {
            let own = all.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
            own.collect::<Labels>()
        };
        assert_eq!(ids_of(&labels(&[])).unwrap(), None);
        let one = ids_of(&labels(&[(USERS, "0:1:1"), (GROUPS, "0:1:1")])).unwrap();
        let other = ids_of(&labels(&[(USERS, "0:2:1"), (GROUPS, "0:1:1")])).unwrap();
        assert_ne!(name(&one.clone().unwrap()), name(&other.unwrap()));
        for wrong in [
            &[(USERS, "0:1:1")][..],
            &[(GROUPS, "0:1:1")],
            &[(USERS, "0:1:1"), (GROUPS, "x")],
            &[(USERS, "1:1:1"), (GROUPS, "0:1:1")],
        ] {
            let refused = ids_of(&labels(wrong)).unwrap_err().status();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{wrong:?}");
        }
        let root = |uid, gid| Meta {
            uid,
            gid,
            ..Meta::root(0o755)
        };
        let one = one.unwrap();
        assert!(are_in_place(&one, &root(1, 1)));
        assert!(!are_in_place(&one, &root(0, 0)));
    }
}
