//! What there is to say of a file, from whoever says it.

use std::collections::BTreeMap;

use cairn_layer::{NodeId, NodeKind, Tree};

use super::Sample;

/// One file of a tree, or as a reader of the image has it. What a reader cannot say is made the same in
/// both before they are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// `regular`, `directory`, `symlink`, `character`, `block` or `fifo`.
    pub kind: &'static str,
    /// Bytes; 0 for directories, whose size is the writer's affair.
    pub size: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: (i64, u32),
    pub links: u64,
    pub device: (u32, u32),
    pub target: Vec<u8>,
    /// Of a file that is inline in the image.
    pub content: Option<Vec<u8>>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Every path of a sample's tree and what is there.
pub fn of(sample: &Sample) -> BTreeMap<Vec<u8>, Facts> {
    let paths = sample.tree.walk().into_iter();
    paths
        .map(|(path, id)| (path, of_node(sample, &sample.tree, id)))
        .collect()
}

fn of_node(sample: &Sample, tree: &Tree, id: NodeId) -> Facts {
    let node = tree.node(id);
    let mut facts = Facts {
        kind: "regular",
        size: 0,
        mode: node.meta.mode,
        uid: node.meta.uid,
        gid: node.meta.gid,
        mtime: (node.meta.mtime.secs, node.meta.mtime.nanos),
        links: u64::from(node.nlink),
        device: (0, 0),
        target: Vec::new(),
        content: None,
        xattrs: node.meta.xattrs.iter().cloned().collect(),
    };
    match &node.kind {
        NodeKind::Directory(_) => facts.kind = "directory",
        NodeKind::File(content) => {
            facts.size = content.size;
            // The writer's own bound: up to here a file is in the image.
            if content.size <= 64 {
                facts.content = Some(sample.contents[&content.object()].clone());
            }
        }
        NodeKind::Symlink(target) => {
            facts.kind = "symlink";
            facts.mode = 0o777;
            facts.size = target.len() as u64;
            facts.target.clone_from(target);
        }
        NodeKind::CharDevice(major, minor) => {
            (facts.kind, facts.device) = ("character", (*major, *minor));
        }
        NodeKind::BlockDevice(major, minor) => {
            (facts.kind, facts.device) = ("block", (*major, *minor));
        }
        NodeKind::Fifo => facts.kind = "fifo",
    }
    facts
}
