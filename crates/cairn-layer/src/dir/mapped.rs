//! Files of a container with a user namespace: on the disk they have the host's ids, which a layer never has.

use cairn_model::{MappedIds, Meta};

/// Access lists (posix_acl_xattr.h): a version, then entries of kind, permissions and id.
const ACL: &[u8] = b"system.posix_acl_";
const ACL_VERSION_BYTES: usize = 4;
const ACL_ENTRY_BYTES: usize = 8;
const ACL_USER: u16 = 2;
const ACL_GROUP: u16 = 8;

/// Capabilities of a file (linux/capability.h). Version 3 says with which user for root they count.
const CAPABILITY: &[u8] = b"security.capability";
const REVISION: u32 = 0xff00_0000;
const REVISION_2: u32 = 0x0200_0000;
const REVISION_3: u32 = 0x0300_0000;
const BYTES_2: usize = 20;

/// Makes the container's ids of the host's.
pub(super) fn restore(ids: &MappedIds, meta: &mut Meta) {
    (meta.uid, meta.gid) = ids.of_host(meta.uid, meta.gid);
    for (name, value) in &mut meta.xattrs {
        if name.starts_with(ACL) {
            restore_acl(ids, value);
        } else if name == CAPABILITY {
            restore_capability(ids, value);
        }
    }
}

fn restore_acl(ids: &MappedIds, value: &mut [u8]) {
    let Some(entries) = value.get_mut(ACL_VERSION_BYTES..) else {
        return;
    };
    for entry in entries.chunks_exact_mut(ACL_ENTRY_BYTES) {
        let kind = u16::from_le_bytes([entry[0], entry[1]]);
        let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        let (uid, gid) = ids.of_host(id, id);
        let id = match kind {
            ACL_USER => uid,
            ACL_GROUP => gid,
            _ => id,
        };
        entry[4..].copy_from_slice(&id.to_le_bytes());
    }
}

/// Those that count for root of the container count for root of whoever uses the layer.
fn restore_capability(ids: &MappedIds, value: &mut Vec<u8>) {
    let word = |at: usize| {
        let bytes = value.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    };
    let (Some(magic), Some(root)) = (word(0), word(BYTES_2)) else {
        return;
    };
    if magic & REVISION == REVISION_3 && ids.of_host(root, 0).0 == 0 {
        let magic = magic & !REVISION | REVISION_2;
        value.truncate(BYTES_2);
        value[..4].copy_from_slice(&magic.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> MappedIds {
        MappedIds::parse("0:100000:65536", "0:200000:65536").unwrap()
    }

    #[test]
    fn owners_and_access_lists_are_the_containers_again() {
        let mut acl = 2_u32.to_le_bytes().to_vec();
        for (kind, id) in [(1_u16, u32::MAX), (ACL_USER, 100_033), (ACL_GROUP, 200_005)] {
            acl.extend([kind.to_le_bytes(), 7_u16.to_le_bytes()].concat());
            acl.extend(id.to_le_bytes());
        }
        let mut meta = Meta {
            uid: 100_033,
            gid: 200_000,
            ..Meta::root(0o644)
        };
        meta.set_xattr(b"system.posix_acl_access", &acl);
        restore(&ids(), &mut meta);
        assert_eq!((meta.uid, meta.gid), (33, 0));
        let acl = meta.xattr(b"system.posix_acl_access").unwrap();
        let ids: Vec<u32> = acl[4..]
            .chunks(8)
            .map(|entry| u32::from_le_bytes(entry[4..].try_into().unwrap()))
            .collect();
        assert_eq!(ids, [u32::MAX, 33, 5]);
    }

    #[test]
    fn capabilities_of_its_root_are_those_of_any_root() {
        let mut value = (REVISION_3 | 1).to_le_bytes().to_vec();
        value.extend([7; 16]);
        value.extend(100_000_u32.to_le_bytes());
        let mut meta = Meta::root(0o755);
        meta.set_xattr(CAPABILITY, &value);
        restore(&ids(), &mut meta);
        let restored = meta.xattr(CAPABILITY).unwrap();
        assert_eq!(restored[..4], (REVISION_2 | 1).to_le_bytes());
        assert_eq!(restored[4..], [7; 16]);
        // Those of another root, and what is no capability, stay.
        let other = [&value[..20], &5_u32.to_le_bytes()].concat();
        for kept in [&other[..], b"short"] {
            meta.set_xattr(CAPABILITY, kept);
            restore(&ids(), &mut meta);
            assert_eq!(meta.xattr(CAPABILITY), Some(kept));
        }
    }
}
