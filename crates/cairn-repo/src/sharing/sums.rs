//! What the groups of a table come to in packs, as they lie there now.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use cairn_layer::Layer;
use cairn_model::PackId;
use cairn_store::gc::Live;
use cairn_store::{Index, Location, Store, StreamRef};

use super::cells::{Cells, Parts};
use super::kept::{self, Cell, Counted, Key};
use super::records::Records;
use super::set::Holders;
use super::table::{BlobKey, Group, NONE, Table};
use super::update::{blob_key, key_of_document, key_of_layer};
use crate::error::Result;
use crate::repo::Repo;

/// Blobs of one group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    /// How many.
    pub blobs: u64,
    /// Bytes as they are in packs, without their headers.
    pub stored: u64,
    /// Bytes of what they hold.
    pub raw: u64,
}

impl std::ops::AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.blobs += other.blobs;
        self.stored += other.stored;
        self.raw += other.raw;
    }
}

/// Of which holders a group is, as far as two can be told from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Of none.
    Nobody,
    /// Of this alone.
    One(u32),
    /// Of several.
    Several,
}

impl Owner {
    /// Of both.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nobody, one) | (one, Self::Nobody) => one,
            (Self::One(a), Self::One(b)) if a == b => self,
            _ => Self::Several,
        }
    }
}

/// What the groups of a table come to.
pub(crate) struct Sums<'a> {
    repo: &'a Repo,
    key: Option<Key>,
    table: &'a Table,
    index: &'a Index,
    counted: Counted,
    /// By group: anybody there needs it; it is content of somebody there.
    alive: Vec<(bool, bool)>,
    parts: Parts,
    /// Read where somebody asks for them.
    records: OnceLock<Records>,
    numbers: HashMap<super::table::HolderKey, u32>,
}

/// Moves to the first location that is not before `key`, and tells it if it is that of the blob.
fn meet(
    locations: &mut std::iter::Peekable<impl Iterator<Item = cairn_store::Result<Location>>>,
    key: &BlobKey,
) -> cairn_store::Result<Option<Location>> {
    while let Some(next) = locations.peek() {
        match next {
            Ok(found) if blob_key(&found.slot.id) < *key => drop(locations.next()),
            Ok(found) if blob_key(&found.slot.id) > *key => return Ok(None),
            _ => break,
        }
    }
    locations.next().transpose()
}

/// Where a blob is.
pub(super) enum Place {
    /// In a pack of this repository.
    Here(Location),
    /// In one of the base.
    Below(Location),
    /// In none.
    Nowhere,
}

/// Looks up every blob of the table in `index`, and in that of the base; tells their numbers and places.
pub(super) fn locate<E: From<cairn_store::Error>>(
    store: &Store,
    index: &Index,
    table: &Table,
    mut tell: impl FnMut(usize, Place) -> Result<(), E>,
) -> Result<(), E> {
    let base = store.base().map(|base| base.reload()).transpose()?;
    let below = base.as_ref().map(|index| index.locations()).transpose()?;
    let mut below = below.into_iter().flatten().peekable();
    let mut here = index.locations()?.peekable();
    for (number, (key, _)) in table.blobs.iter().enumerate() {
        let place = if let Some(found) = meet(&mut here, key)? {
            Place::Here(found)
        } else if let Some(found) = meet(&mut below, key)? {
            Place::Below(found)
        } else {
            Place::Nowhere
        };
        tell(number, place)?;
    }
    Ok(())
}

fn missing(key: &BlobKey) -> crate::error::Error {
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    cairn_store::Error::corrupt(format!("blob {hex}…"), "it is needed and in no pack").into()
}

impl<'a> Sums<'a> {
    /// What the groups of the table come to. Where it was counted before on the same table and index, that is taken;
    /// else every blob is looked up in `index`, and in that of the base.
    pub fn new(repo: &'a Repo, index: &'a Index, table: &'a Table) -> Result<Self> {
        let alive = table.fold((false, false), |(alive, content), group| {
            let own = table.is_alive(group);
            (alive || own, content || own && group.role.is_content())
        });
        let numbers = table
            .holders
            .iter()
            .zip(0..)
            .map(|(h, n)| (h.key, n))
            .collect();
        let key = key(&repo.store, index, table)?;
        let known = key.and_then(|key| repo.kept_sums(&key, table.groups.len()));
        let counted = match known {
            Some(counted) => counted,
            None => {
                let counted = count(&repo.store, index, table, &alive)?;
                if let Some(key) = key {
                    repo.keep_derived(&repo.sums_path(), &kept::encode(&counted, &key));
                }
                counted
            }
        };
        Ok(Self {
            parts: Parts::new(&counted.cells, alive.iter().map(|(alive, _)| *alive)),
            records: OnceLock::new(),
            repo,
            key,
            counted,
            alive,
            numbers,
            table,
            index,
        })
    }

    /// Records of the packs of this repository.
    pub(super) fn records(&self) -> cairn_store::Result<&Records> {
        if let Some(known) = self.records.get() {
            return Ok(known);
        }
        let path = self.repo.layout().index().join("records");
        let kept = |key: Key| {
            let bytes = std::fs::read(&path).ok()?;
            Records::decode(&bytes, &key, self.table.groups.len())
        };
        let records = match self.key.and_then(kept) {
            Some(records) => records,
            None => {
                let found = Records::find(&self.repo.store, self.index, self.table)?;
                if let Some(key) = self.key {
                    self.repo.keep_derived(&path, &found.encode(&key));
                }
                found
            }
        };
        Ok(self.records.get_or_init(|| records))
    }

    pub(super) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Of each group, whether anybody there needs it.
    pub(super) fn is_needed(&self) -> impl Iterator<Item = bool> {
        self.alive.iter().map(|(alive, _)| *alive)
    }

    pub(super) fn table(&self) -> &'a Table {
        self.table
    }

    /// Bytes of what the blobs of a group hold, wherever they are.
    pub fn raw(&self, group: usize) -> u64 {
        self.counted.own[group].raw + self.counted.below[group].raw
    }

    /// Zeros of a holder that no blob holds, bytes.
    pub fn holes(&self, holder: u32) -> u64 {
        self.table.holders[holder as usize].count.holes
    }

    /// Holders of a group that are there.
    pub fn holders(&self, group: usize) -> impl Iterator<Item = u32> {
        self.chain(group).map(|group| group.holder)
    }

    /// Those of them that have it in files.
    pub fn content_holders(&self, group: usize) -> impl Iterator<Item = u32> {
        let content = self.chain(group).filter(|group| group.role.is_content());
        content.map(|group| group.holder)
    }

    fn chain(&self, group: usize) -> impl Iterator<Item = &'a Group> {
        let table = self.table;
        let chain = std::iter::successors(table.groups.get(group), |group| {
            table.groups.get(group.above as usize)
        });
        chain.filter(|group| table.is_alive(group))
    }

    /// Of each group, what `join` makes of the answer for the group above and one more holder that is there.
    pub fn fold<T: Copy>(&self, none: T, join: impl FnMut(T, u32) -> T) -> Vec<T> {
        let mut join = join;
        self.table
            .fold(none, |above, group| match self.table.is_alive(group) {
                true => join(above, group.holder),
                false => above,
            })
    }

    /// Number of the holder that a layer is.
    pub fn layer(&self, layer: &Layer) -> Option<u32> {
        self.numbers.get(&key_of_layer(layer)).copied()
    }

    /// Number of the holder that a document is.
    pub fn document(&self, document: &StreamRef) -> Option<u32> {
        self.numbers.get(&key_of_document(document)).copied()
    }

    /// How many of these holders are layers.
    pub fn layers_among(&self, holders: &Holders) -> usize {
        let is_layer = |number: &u32| self.table.holders[*number as usize].is_layer;
        holders.iter().filter(is_layer).count()
    }

    /// All that is needed: whether it is content, what of it is here and what in the base.
    pub fn needed(&self) -> impl Iterator<Item = (bool, Sum, Sum)> {
        let groups = self
            .alive
            .iter()
            .zip(self.counted.own.iter().zip(&self.counted.below));
        groups
            .filter(|((alive, _), _)| *alive)
            .map(|((_, content), (own, below))| (*content, *own, *below))
    }

    /// What the layers that are there have, each for itself: holes, repeated and distinct content.
    pub fn counts(&self) -> super::Count {
        let mut sum = super::Count::default();
        for holder in self.table.holders.iter().filter(|holder| holder.alive) {
            sum.holes += holder.count.holes;
            sum.repeated += holder.count.repeated;
            sum.distinct += holder.count.distinct;
        }
        sum
    }

    /// The sums of the groups in packs of this repository.
    pub fn own(&self) -> &[Sum] {
        &self.counted.own
    }

    /// Of each group, whose it is; `whose` says that of a holder. Removed holders are nobody's.
    pub fn owners(&self, whose: impl Fn(u32) -> Owner) -> Vec<Owner> {
        self.table.fold(Owner::Nobody, |above, group| {
            match self.table.is_alive(group) {
                true => above.and(whose(group.holder)),
                false => above,
            }
        })
    }

    /// The sum of the groups in packs of this repository for which `is_in` holds, by their numbers.
    pub fn sum_of(&self, is_in: impl Fn(usize) -> bool) -> Sum {
        let mut sum = Sum::default();
        for (_, own) in self
            .counted
            .own
            .iter()
            .enumerate()
            .filter(|(group, _)| is_in(*group))
        {
            sum += *own;
        }
        sum
    }

    /// Bytes in packs of what these holders have and nobody else.
    pub fn only_of(&self, holders: &Holders) -> u64 {
        let stays = self.fold(false, |stays, holder| stays || !holders.contains(holder));
        self.sum_of(|group| self.alive[group].0 && !stays[group])
            .stored
    }

    /// Of each group, whether one of these holders has it.
    pub fn held_by(&self, holders: &Holders) -> Vec<bool> {
        self.table.fold(false, |above, group| {
            above || holders.contains(group.holder)
        })
    }

    /// Of each holder, all that it has in packs of this repository.
    pub fn of_holders(&self) -> Vec<Sum> {
        // From the last group up, each hands what is in it and below it to the one above.
        let mut sums = self.counted.own.clone();
        let mut out = vec![Sum::default(); self.table.holders.len()];
        for (number, group) in self.table.groups.iter().enumerate().rev() {
            let sum = sums[number];
            out[group.holder as usize] += sum;
            if group.above != NONE {
                sums[group.above as usize] += sum;
            }
        }
        out
    }

    /// What would be in the packs if these holders were gone.
    pub fn without(&'a self, gone: &Holders) -> Cells<'a> {
        Cells::without(self, gone)
    }
}

/// Names all that sums depend on; none for a table that is not kept.
fn key(store: &Store, index: &Index, table: &Table) -> Result<Option<Key>> {
    let Some(hash) = table.hash else {
        return Ok(None);
    };
    let mut hasher = blake3::Hasher::new_derive_key("cairn sharing: sums");
    hasher.update(&hash).update(&index.state());
    if let Some(base) = store.base() {
        hasher.update(&base.reload()?.state());
    }
    Ok(Some(*hasher.finalize().as_bytes()))
}

/// Looks up every blob of the table.
fn count(store: &Store, index: &Index, table: &Table, alive: &[(bool, bool)]) -> Result<Counted> {
    let mut own = vec![Sum::default(); table.groups.len()];
    let mut below = own.clone();
    let mut parts: HashMap<(PackId, u32), Live> = HashMap::new();
    locate(store, index, table, |number, found| {
        let (key, group) = &table.blobs[number];
        let at = *group as usize;
        match found {
            Place::Here(found) => {
                own[at] += sum(&found);
                let live = parts.entry((found.pack, *group)).or_default();
                live.blobs += 1;
                live.bytes += found.slot.record_bytes();
            }
            Place::Below(found) => below[at] += sum(&found),
            Place::Nowhere if alive[at].0 => return Err(missing(key)),
            Place::Nowhere => {}
        }
        Ok(())
    })?;
    let cell = |((pack, group), live)| Cell { pack, group, live };
    let mut cells: Vec<Cell> = parts.into_iter().map(cell).collect();
    cells.sort_unstable_by_key(|cell| (cell.pack, cell.group));
    Ok(Counted { own, below, cells })
}

impl Repo {
    fn kept_sums(&self, key: &Key, groups: usize) -> Option<Counted> {
        let bytes = std::fs::read(self.sums_path()).ok()?;
        kept::decode(&bytes, key, groups)
    }

    fn sums_path(&self) -> PathBuf {
        self.layout().index().join("sums")
    }
}

fn sum(found: &Location) -> Sum {
    Sum {
        blobs: 1,
        stored: u64::from(found.slot.stored),
        raw: u64::from(found.slot.raw),
    }
}
