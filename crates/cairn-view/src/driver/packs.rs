//! The driver `packs`: metadata as in `erofs`, over images by which the kernel reads contents from the packs
//! (Linux 6.15). It is only used where it is named, and where [`prove`] finds nothing wrong.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use cairn_layer::{OverlayAttributes, Tree};
use cairn_model::{BlobId, Content, Driver, Kind, Meta, PackPlan, PackedContents, Piece, TreeId};
use cairn_store::{Disk, NewStore, Store};
use rustix::fs::{Mode, OFlags, openat};

use super::erofs::Erofs;
use super::head::overlay_head;
use super::images::{MountImage, lowers, put_points};
use super::stack::{Stack, overlay};
use super::{Place, Room, SAMPLE};
use crate::cache::Views;
use crate::detached::Users;
use crate::error::{At, Error, Result};
use crate::packed::{Over, PackedLook, PackedView, mount_contents};
use crate::shared::shared;
use crate::small::Small;

/// A file of the sample whose pieces lie in two packs by turns.
const LONG: &str = "long";
/// A file of the sample with a flipped bit in its pack.
const DAMAGED: &str = "damaged";
const PIECES: u8 = 6;
/// An image of metadata of fewer bytes is not worth a mount of its own that stays.
const SHARED_BYTES_MIN: u64 = 64 << 10;
/// Of the sample's pieces, bytes.
const PIECE: usize = 30_000;

pub(super) struct Packs;

fn plan(at: Place<'_>, view: PackedView, head: Option<&Path>) -> Result<PackPlan> {
    let head = head.map(|head| overlay_head(head, OverlayAttributes::Trusted));
    // Whoever comes next finds them mounted, where that can be.
    for contents in &view.contents {
        at.views.share(&contents.image, || mount_contents(contents));
    }
    for image in &view.metadata {
        let bytes = image.file.metadata().map_or(0, |meta| meta.len());
        if bytes >= SHARED_BYTES_MIN {
            let refused = |e| Error::mount(Driver::Packs, e);
            let mount = || Erofs.mount_image(&image.file).map_err(refused);
            at.views.share(image, mount);
        }
    }
    Ok(PackPlan {
        images: view.metadata,
        contents: view.contents,
        data: vec![at.views.objects().directory().to_owned()],
        head: head.transpose()?,
    })
}

impl Room for Packs {
    type Plan = PackPlan;

    fn sample(&self, scratch: &Path, head: &Path) -> Result<PackPlan> {
        let root = scratch.join("store");
        let wanted = NewStore {
            frames: true,
            ..NewStore::default()
        };
        Store::create_as(&root, Disk::default(), wanted)?;
        let store = Store::open(&root, Disk::default(), None)?;
        let long: Vec<Vec<u8>> = (0..PIECES).map(piece).collect();
        let damaged = piece(PIECES);
        let mut tree = Tree::new();
        let mut add = |name: &str, pieces: &[&[u8]]| {
            tree.insert(
                name.as_bytes(),
                Meta::root(0o644),
                Kind::File(content(pieces)),
            )
        };
        add(SAMPLE.0, &[&SAMPLE.1[..]])?;
        add(LONG, &long.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
        add(DAMAGED, &[&damaged[..]])?;
        // A pack for each: the pieces of one file lie in two.
        let (even, odd) = (long.iter().step_by(2), long.iter().skip(1).step_by(2));
        put(&store, even.map(Vec::as_slice).chain([&damaged[..]]))?;
        put(&store, odd.map(Vec::as_slice).chain([&SAMPLE.1[..]]))?;
        store.reload_index()?;
        let views = Views::new(&scratch.join("cache"));
        let at = Place {
            views: &views,
            store: &store,
        };
        let id = TreeId::from_bytes([1; 32]);
        let made = self.make(at, &id, Some(head), &tree)?;
        if !matches!(views.look_at_packed(&id), PackedLook::Whole(objects) if objects.is_empty()) {
            let why = io::Error::other("not all of the sample can be read from its packs");
            return Err(why).at("make a sample in", scratch);
        }
        flip_a_bit(&store, &BlobId::of(&damaged))?;
        Ok(made)
    }

    fn ready(&self, at: Place<'_>, id: &TreeId, head: Option<&Path>) -> Result<Option<PackPlan>> {
        let view = at.views.ready_packed(at.store, id)?;
        view.map(|view| plan(at, view, head)).transpose()
    }

    fn make(
        &self,
        at: Place<'_>,
        id: &TreeId,
        head: Option<&Path>,
        tree: &Tree,
    ) -> Result<PackPlan> {
        plan(at, at.views.make_packed(at.store, id, tree)?, head)
    }

    fn over(&self, at: Place<'_>, id: &TreeId) -> Result<Option<Over>> {
        at.views.over(at.store, id)
    }

    fn make_small(
        &self,
        at: Place<'_>,
        id: &TreeId,
        head: Option<&Path>,
        over: &Over,
        small: &Small,
    ) -> Result<Option<PackPlan>> {
        let view = at.views.make_small_packed(at.store, id, over, small)?;
        view.map(|view| plan(at, view, head)).transpose()
    }

    fn add_points<E: From<Error>>(
        &self,
        at: Place<'_>,
        mut plan: PackPlan,
        id: &TreeId,
        own: &Path,
        points: impl FnOnce() -> Result<Tree, E>,
    ) -> Result<PackPlan, E> {
        put_points(at, &mut plan.images, id, own, points)?;
        Ok(plan)
    }

    fn mount(&self, plan: &PackPlan, users: Users<'_>) -> Result<OwnedFd> {
        let refused = |e| Error::mount(Driver::Packs, e);
        let over = |may_share: bool| {
            let open = |contents: &PackedContents| {
                let shared = may_share.then(|| shared(&contents.image)).flatten();
                shared.map_or_else(|| mount_contents(contents), Ok)
            };
            let contents = plan.contents.iter().map(open);
            let stack = Stack {
                lowers: &lowers(&Erofs, &plan.images, users, may_share).map_err(refused)?,
                data: &plan.data,
                contents: &contents.collect::<Result<Vec<_>>>()?,
                head: plan.head.as_ref(),
                attributes: OverlayAttributes::Trusted,
                users,
            };
            overlay(&stack).map_err(refused)
        };
        let contents = plan.contents.iter().map(|contents| &contents.image);
        let may_share = contents
            .chain(&plan.images)
            .any(|image| image.shared.is_some());
        match over(may_share) {
            // One that all share may have ended just now.
            Err(_) if may_share => over(false),
            done => done,
        }
    }
}

/// Half noise and half text, so that a frame has blocks of both kinds.
fn piece(number: u8) -> Vec<u8> {
    let mut out = vec![number; PIECE];
    let mut noise = blake3::Hasher::new().update(&[number]).finalize_xof();
    noise.fill(&mut out[PIECE / 2..]);
    out
}

fn content(pieces: &[&[u8]]) -> Content {
    let data = |piece: &&[u8]| Piece::Data {
        id: BlobId::of(piece),
        len: piece.len() as u32,
    };
    Content {
        size: pieces.iter().map(|piece| piece.len() as u64).sum(),
        pieces: pieces.iter().map(data).collect(),
    }
}

/// Stores pieces in a pack of their own.
fn put<'a>(store: &Store, pieces: impl Iterator<Item = &'a [u8]>) -> Result<()> {
    let ingest = store.ingest()?;
    let mut feeder = ingest.feeder();
    for piece in pieces {
        feeder.put(piece)?;
    }
    feeder.ids()?;
    drop(feeder);
    Ok(store.publish::<_, cairn_store::Error>(ingest.finish()?, |_| Ok(()))?)
}

fn flip_a_bit(store: &Store, blob: &BlobId) -> Result<()> {
    let found = store.index().find(blob)?;
    let found = found.ok_or(cairn_store::Error::MissingBlob(*blob))?;
    let path = store.pack_path(&found.pack);
    let at = u64::from(found.slot.offset) + found.slot.record_bytes() * 3 / 4;
    let pack = File::options().read(true).write(true).open(&path);
    let pack = pack.at("open", &path)?;
    let mut byte = [0];
    pack.read_exact_at(&mut byte, at).at("read", &path)?;
    pack.write_all_at(&[byte[0] ^ 1], at).at("write", &path)
}

/// That the sample mounted at `root` reads as it should: content from two packs is right, and a flipped bit is
/// an error whichever part of the file is read.
pub(crate) fn prove(root: &OwnedFd) -> io::Result<()> {
    let open = |name| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        openat(root, name, flags, Mode::empty()).map(File::from)
    };
    let mut read = Vec::new();
    open(LONG)?.read_to_end(&mut read)?;
    if read != (0..PIECES).flat_map(piece).collect::<Vec<u8>>() {
        return Err(io::Error::other("content from two packs reads wrong"));
    }
    let damaged = open(DAMAGED)?;
    for at in [0, PIECE as u64 - 10] {
        if damaged.read_at(&mut [0], at).is_ok() {
            return Err(io::Error::other(
                "the kernel reads damaged content without an error",
            ));
        }
    }
    Ok(())
}
