//! Recompression of what is stored: slower and shorter, and as differences from similar blobs where that pays.
//!
//! Packs are taken oldest first, some at a time. What is live of them is put into new packs, which take their places as
//! in a collection ([`crate::gc`]); a blob keeps its id and changes its codec only. So whatever reads, marks, checks
//! or counts blobs goes on as before, and a crash leaves the packs that were there or the new ones.
//!
//! What is to stay as it is, because the kernel reads it in place, is for the caller to say, and so are guesses
//! what a blob may be similar to. Beyond these guesses blobs are found that resemble it: among those of the same run,
//! and among those of younger packs that were recompressed before.

mod choose;
mod encode;
mod pairs;
mod sketch;

use std::collections::{HashMap, HashSet};
use std::ops::AddAssign;
use std::time::Instant;

use cairn_model::{BlobId, PackId};
use cairn_sys::threads;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::format::DELTAS;
use crate::gc::{Fresh, live_slots, replace};
use crate::gc::{Marks, Outcome, PackPlan, Plan, Policy};
use crate::lease::Lease;
use crate::meta::Txn;
use crate::pack::{Codec, Effort, RECORD_HEADER, Slot, frame};
use crate::rows::OptimizedV1;
use crate::staged::{Copies, StagedPack};
use crate::store::Store;
use encode::Encoder;
use pairs::Pairs;
use sketch::Sketch;

pub use choose::{Due, due};

/// Content that is in memory at a time, bytes, and blobs.
const BATCH_BYTES: u64 = 24 << 20;
const BATCH_BLOBS: usize = 4096;
/// Other packs are looked at for a part of the time that there is, one in so many.
const LOOKING: u32 = 4;
/// A shorter blob is not worth a difference, which has an id at its front.
const DIFFERENCE_BYTES_MIN: usize = 256;

/// What was recompressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Optimized {
    /// Packs that were taken.
    pub packs: u64,
    /// Blobs that were recompressed.
    pub blobs: u64,
    /// Those of them that are stored as differences now.
    pub differences: u64,
    /// Blobs that were left as they were: views read them in place, or the time was up.
    pub left_blobs: u64,
    /// Bytes of those that were recompressed, as they were stored.
    #[serde(skip)]
    pub taken_bytes: u64,
    /// Bytes of all these blobs before, as they are stored.
    pub bytes_before: u64,
    /// Bytes of the same now.
    pub bytes_after: u64,
}

impl AddAssign for Optimized {
    fn add_assign(&mut self, other: Self) {
        self.packs += other.packs;
        self.blobs += other.blobs;
        self.differences += other.differences;
        self.left_blobs += other.left_blobs;
        self.taken_bytes += other.taken_bytes;
        self.bytes_before += other.bytes_before;
        self.bytes_after += other.bytes_after;
    }
}

/// What the caller knows of the blobs, and wants.
#[derive(Debug, Default)]
pub struct Known {
    /// From then on blobs are left as they are, for another time.
    pub until: Option<Instant>,
    /// Blobs that stay as they are.
    pub in_use: HashSet<BlobId>,
    /// What a blob may be similar to, the likeliest first.
    pub similar: HashMap<BlobId, Vec<BlobId>>,
}

/// Recompresses, round by round.
pub struct Optimizer<'a> {
    store: &'a Store,
    known: Known,
    pairs: Pairs,
    encoder: Encoder<'a>,
    /// What was recompressed earlier was looked at.
    has_looked: bool,
    done: Optimized,
}

/// A record that was read.
struct Item {
    slot: Slot,
    record: Vec<u8>,
    /// None where the record is put into the new pack as it is.
    content: Option<Vec<u8>>,
    sketch: Option<Sketch>,
    offered: Vec<BlobId>,
}

impl<'a> Optimizer<'a> {
    /// Gives the repository the feature `deltas`.
    pub fn new(store: &'a Store, known: Known) -> Result<Self> {
        store.require(DELTAS)?;
        Ok(Self {
            pairs: Pairs::new(),
            encoder: Encoder::new(store),
            store,
            known,
            has_looked: false,
            done: Optimized::default(),
        })
    }

    /// What was done so far.
    pub fn done(&self) -> Optimized {
        self.done
    }

    /// Takes the next packs of a plan that are due, as far as they and the new ones fit; none where no pack is left. `catch_up`
    /// and `remark` are those of [`crate::gc::apply`]. The caller keeps every collection away meanwhile.
    pub fn round<E: From<Error>>(
        &mut self,
        plan: &Plan,
        marks: Marks,
        policy: &Policy,
        catch_up: impl FnOnce(&mut Marks) -> Result<(), E>,
        remark: impl FnOnce(&mut Txn<'_>, &mut Marks) -> Result<(), E>,
    ) -> Result<Option<Outcome>, E> {
        let _span = tracing::info_span!("optimize").entered();
        let due = choose::due(self.store, plan, marks.index(), &self.known.in_use)?;
        let (goes, needs) = choose::next(self.store, &due, policy)?;
        if goes.is_empty() {
            return Ok(needs.map(|bytes| Outcome {
                left_packs: due.packs.len(),
                needs_bytes: Some(bytes),
                ..Outcome::default()
            }));
        }
        self.pairs.learn(marks.index())?;
        self.look_at_others(&marks, &due)?;
        let mut done = Optimized::default();
        let store = self.store;
        let copy = |lease: &Lease, marks: &Marks| self.recode(lease, marks, &goes, &mut done);
        let outcome = replace(store, goes.clone(), marks, copy, catch_up, remark)?;
        self.done += done;
        Ok(Some(Outcome {
            left_packs: due.packs.len() - goes.len(),
            ..outcome
        }))
    }

    /// Gets to know blobs of packs that are not due, so that others can become differences from them: not of all
    /// packs, but of as many as is in keeping with what there is to do.
    fn look_at_others(&mut self, marks: &Marks, due: &Due) -> Result<()> {
        if std::mem::replace(&mut self.has_looked, true) {
            return Ok(());
        }
        // A part of the time, so that some is left for what it is for.
        let begun = Instant::now();
        let until = self
            .known
            .until
            .map(|until| begun + until.saturating_duration_since(begun) / LOOKING);
        for pack in due.others() {
            if until.is_some_and(|until| Instant::now() >= until) {
                break;
            }
            let mut slots = live_slots(marks, &[pack])?;
            slots.retain(|(_, slot)| !is_difference(slot));
            for batch in batches(&slots) {
                self.store.watch().check()?;
                let load = |at: &(PackId, Slot)| self.load(at);
                for item in threads::map(threads::for_items(batch.len()), batch, load)? {
                    self.pairs.stays(item.slot.id, item.sketch.as_ref());
                }
            }
        }
        Ok(())
    }

    fn recode(
        &mut self,
        lease: &Lease,
        marks: &Marks,
        goes: &[PackPlan],
        done: &mut Optimized,
    ) -> Result<Fresh> {
        let order: HashMap<PackId, usize> = goes.iter().map(|pack| pack.id).zip(0..).collect();
        let mut slots = live_slots(marks, goes)?;
        slots.sort_unstable_by_key(|(pack, slot)| (order[pack], slot.offset));
        let bytes = slots.iter().map(|(_, slot)| u64::from(slot.stored));
        self.store.watch().total(bytes.sum());
        done.packs = goes.len() as u64;
        let mut out = Output {
            copies: Copies::new(self.store.disk(), lease.directory()),
            left_bytes: 0,
            fresh: Fresh::default(),
        };
        for batch in batches(&slots) {
            self.store.watch().check()?;
            self.batch(batch, marks, &mut out, done)?;
        }
        let last = out.copies.close()?;
        out.add(last);
        Ok(out.fresh)
    }

    fn batch(
        &mut self,
        batch: &[(PackId, Slot)],
        marks: &Marks,
        out: &mut Output<'_>,
        done: &mut Optimized,
    ) -> Result<()> {
        let mut items = threads::map(threads::for_items(batch.len()), batch, |at| self.load(at))?;
        let mut undecided = HashMap::new();
        for item in &mut items {
            let id = item.slot.id;
            let Some(content) = &item.content else {
                if item.slot.codec.reference().is_none() {
                    self.pairs.stays(id, item.sketch.as_ref());
                }
                continue;
            };
            let guesses = self.known.similar.get(&id).map_or(&[][..], Vec::as_slice);
            if content.len() >= DIFFERENCE_BYTES_MIN {
                let sketch = item.sketch.as_ref();
                item.offered = self.pairs.offer(&id, sketch, guesses, marks, &undecided)?;
            }
            match item.offered.is_empty() {
                true => self.pairs.stays(id, item.sketch.as_ref()),
                false => drop(undecided.insert(id, item.offered.clone())),
            }
        }
        let encoded = threads::map(threads::for_items(items.len()), &items, |item| {
            let content = item.content.as_ref();
            content
                .map(|content| self.encoder.encode(content, &item.offered))
                .transpose()
        })?;
        for (item, encoded) in items.into_iter().zip(encoded) {
            let stored = u64::from(item.slot.stored);
            done.bytes_before += stored;
            self.store.watch().read(stored);
            let slot = match encoded {
                None => {
                    let is_left = Effort::of_record(&item.record) == Some(Effort::Quick);
                    done.left_blobs += u64::from(is_left);
                    out.append(&item.slot, &item.record, is_left)?
                }
                Some(new) => {
                    done.blobs += 1;
                    done.taken_bytes += stored;
                    self.put(&item, new, out)?
                }
            };
            done.differences += u64::from(slot.codec != item.slot.codec && is_difference(&slot));
            done.bytes_after += u64::from(slot.stored);
        }
        Ok(())
    }

    /// Puts a blob into the new pack as it was encoded, or as it was where that is shorter.
    fn put(
        &mut self,
        item: &Item,
        (codec, payload): (Codec, Vec<u8>),
        out: &mut Output<'_>,
    ) -> Result<Slot> {
        let before = &item.record[RECORD_HEADER..];
        let (codec, payload) = match payload.len() < before.len() {
            true => (codec, &payload[..]),
            false => (item.slot.codec, before),
        };
        let slot = Slot {
            codec,
            stored: payload.len() as u32,
            ..item.slot
        };
        if let Some(other) = codec.reference() {
            self.pairs.differs(slot.id, other);
        } else if !item.offered.is_empty() {
            self.pairs.stays(slot.id, item.sketch.as_ref());
        }
        let mut record = Vec::with_capacity(RECORD_HEADER + payload.len());
        let how = (codec, Effort::Thorough);
        frame(&mut record, &slot.id, how, slot.raw, payload);
        out.append(&slot, &record, false)
    }

    fn load(&self, (pack, slot): &(PackId, Slot)) -> Result<Item> {
        let mut item = Item {
            slot: *slot,
            record: Vec::new(),
            content: None,
            sketch: None,
            offered: Vec::new(),
        };
        let pack = self.store.pack(pack)?;
        pack.record(slot, &mut item.record)?;
        let payload = &item.record[RECORD_HEADER..];
        let content = pack.content(slot, payload, &|other| self.store.reference(other));
        match content {
            // It stays as it is, for a check to name.
            Err(e) if e.is_corruption() => return Ok(item),
            done => {
                let content = done?;
                item.sketch = Sketch::of(&content);
                let is_over = self
                    .known
                    .until
                    .is_some_and(|until| Instant::now() >= until);
                let is_new = Effort::of_record(&item.record) == Some(Effort::Quick);
                if is_new && !is_over && !self.known.in_use.contains(&slot.id) {
                    item.content = Some(content);
                }
            }
        }
        Ok(item)
    }
}

fn is_difference(slot: &Slot) -> bool {
    slot.codec.reference().is_some()
}

/// What is worked on at once, one part after another.
fn batches(slots: &[(PackId, Slot)]) -> impl Iterator<Item = &[(PackId, Slot)]> {
    let mut rest = slots;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |(_, slot): &&(PackId, Slot)| {
            bytes += u64::from(slot.raw);
            bytes <= BATCH_BYTES
        };
        let count = rest.iter().take(BATCH_BLOBS).take_while(fits).count();
        let (batch, after) = rest.split_at(count.max(1).min(rest.len()));
        rest = after;
        (!batch.is_empty()).then_some(batch)
    })
}

/// The new packs of a round.
struct Output<'a> {
    copies: Copies<'a>,
    /// Of the pack that is being written.
    left_bytes: u64,
    fresh: Fresh,
}

impl Output<'_> {
    /// Appends a record; the slot as it was given.
    fn append(&mut self, slot: &Slot, record: &[u8], is_left: bool) -> Result<Slot> {
        if is_left {
            self.left_bytes += slot.record_bytes();
        }
        let full = self.copies.append(slot, record)?;
        self.add(full);
        Ok(*slot)
    }

    fn add(&mut self, pack: Option<StagedPack>) {
        let Some(pack) = pack else {
            return;
        };
        let left_bytes = std::mem::take(&mut self.left_bytes);
        self.fresh
            .optimized
            .push((pack.id, OptimizedV1 { left_bytes }));
        self.fresh.packs.push(pack);
    }
}
