//! What is different between two trees.

use cairn_model::Meta;

use super::{NodeKind, Tree};

/// How a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// Only in the new tree.
    Added,
    /// In both, not the same.
    Changed,
    /// Only in the old tree.
    Deleted,
}

/// One path that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The path.
    pub path: Vec<u8>,
    /// How.
    pub kind: ChangeKind,
    /// What changed, for [`ChangeKind::Changed`]: `content`, `kind`, `mode`, `owner`, `mtime`,
    /// `xattrs`, `links`.
    pub what: Vec<&'static str>,
    /// Bytes of file content in the new tree (in the old one for what is deleted).
    pub bytes: u64,
}

/// All paths that differ, in order.
pub fn diff(old: &Tree, new: &Tree) -> Vec<Change> {
    let (before, after) = (old.walk(), new.walk());
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::new();
    let size = |tree: &Tree, id| {
        if let NodeKind::File(content) = &tree.node(id).kind {
            content.size
        } else {
            0
        }
    };
    // Walks are in the order of paths by parts; compare so.
    let key = |path: &[u8]| {
        path.split(|b| *b == b'/')
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>()
    };
    while i < before.len() || j < after.len() {
        let order = match (before.get(i), after.get(j)) {
            (Some((a, _)), Some((b, _))) if a == b => std::cmp::Ordering::Equal,
            (Some((a, _)), Some((b, _))) => key(a).cmp(&key(b)),
            (Some(_), None) => std::cmp::Ordering::Less,
            _ => std::cmp::Ordering::Greater,
        };
        match order {
            std::cmp::Ordering::Less => {
                let (path, id) = &before[i];
                out.push(Change {
                    path: path.clone(),
                    kind: ChangeKind::Deleted,
                    what: Vec::new(),
                    bytes: size(old, *id),
                });
                i += 1;
            }
            std::cmp::Ordering::Greater => {
                let (path, id) = &after[j];
                out.push(Change {
                    path: path.clone(),
                    kind: ChangeKind::Added,
                    what: Vec::new(),
                    bytes: size(new, *id),
                });
                j += 1;
            }
            std::cmp::Ordering::Equal => {
                let ((path, a), (_, b)) = (&before[i], &after[j]);
                let what = differences(old, *a, new, *b);
                if !what.is_empty() {
                    out.push(Change {
                        path: path.clone(),
                        kind: ChangeKind::Changed,
                        what,
                        bytes: size(new, *b),
                    });
                }
                i += 1;
                j += 1;
            }
        }
    }
    out
}

fn differences(old: &Tree, a: usize, new: &Tree, b: usize) -> Vec<&'static str> {
    let (a, b) = (old.node(a), new.node(b));
    let mut what = Vec::new();
    match (&a.kind, &b.kind) {
        (NodeKind::Directory(_), NodeKind::Directory(_)) => {}
        (x, y) if std::mem::discriminant(x) != std::mem::discriminant(y) => what.push("kind"),
        (x, y) if x != y => what.push("content"),
        _ => {}
    }
    let Meta {
        mode,
        uid,
        gid,
        mtime,
        xattrs,
    } = &a.meta;
    let checks = [
        ("mode", *mode != b.meta.mode),
        ("owner", (*uid, *gid) != (b.meta.uid, b.meta.gid)),
        ("mtime", *mtime != b.meta.mtime),
        ("xattrs", *xattrs != b.meta.xattrs),
        (
            "links",
            a.nlink != b.nlink && !matches!(b.kind, NodeKind::Directory(_)),
        ),
    ];
    what.extend(
        checks
            .into_iter()
            .filter(|(_, differs)| *differs)
            .map(|(name, _)| name),
    );
    what
}
