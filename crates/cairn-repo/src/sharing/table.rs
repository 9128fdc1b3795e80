//! Holders, groups, and the group of each blob.

use std::collections::{BTreeMap, HashMap};

/// No group, or no holder.
pub(super) const NONE: u32 = u32::MAX;

/// Names a layer or document by all that its blobs depend on.
pub(super) type HolderKey = [u8; 32];

/// As much of a blob's id as tells it from all others.
pub(super) type BlobKey = [u8; 16];

/// What a layer alone comes to, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Zeros that no blob holds.
    pub holes: u64,
    /// Content that occurs more than once in it, without the first time.
    pub repeated: u64,
    /// Content, each blob once.
    pub distinct: u64,
}

/// A layer or document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Holder {
    pub key: HolderKey,
    /// False once it was removed; it then holds nothing.
    pub alive: bool,
    /// False for a document.
    pub is_layer: bool,
    pub count: Count,
}

/// Holders that have the same blobs: those of `above`, and one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Group {
    /// A group with a smaller number, or [`NONE`].
    pub above: u32,
    pub holder: u32,
    /// What they are to this holder.
    pub role: Role,
}

/// What a blob is to a holder. Of several, the last counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Role {
    /// A part of its manifest or framing, its document, or what only serves for others to be differences from.
    Metadata,
    /// A part of files.
    Chunk,
    /// A whole file.
    Whole,
}

impl Role {
    /// True for what is in files.
    pub fn is_content(self) -> bool {
        self != Self::Metadata
    }
}

/// A file of several pieces: its group, and the bytes that blobs hold of it.
pub(super) type Pieced = (BlobKey, u32, u64);

/// The table. Groups are in an order in which each comes after the one above it; blobs and files are sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Table {
    pub(super) holders: Vec<Holder>,
    pub(super) groups: Vec<Group>,
    pub(super) blobs: Vec<(BlobKey, u32)>,
    /// Files of several pieces; any other has the key of its only blob.
    pub(super) files: Vec<Pieced>,
    /// What the index said of when blobs last became differences from others.
    pub(super) recoded: u64,
    /// Of the file that has it; none for one that is not kept.
    pub(super) hash: Option<[u8; 32]>,
}

/// A blob of a holder that is to be added: the holder's number, and what the blob is to it.
pub(super) type New = (BlobKey, u32, Role);

/// The same of a file of several pieces.
pub(super) type NewFile = (BlobKey, u32, u64);

/// Makes groups of groups and one more holder.
struct Joiner<'a> {
    known: HashMap<Group, u32>,
    groups: &'a mut Vec<Group>,
}

impl Joiner<'_> {
    fn join(&mut self, above: u32, holder: u32, role: Role) -> u32 {
        let group = Group {
            above,
            holder,
            role,
        };
        let groups = &mut *self.groups;
        *self.known.entry(group).or_insert_with(|| {
            groups.push(group);
            groups.len() as u32 - 1
        })
    }
}

impl Table {
    /// Adds the blobs and files of holders, each of which comes once for a holder.
    pub(super) fn add(&mut self, new: Vec<New>, files: Vec<NewFile>) {
        if new.is_empty() && files.is_empty() {
            return;
        }
        let mut joiner = Joiner {
            known: HashMap::new(),
            groups: &mut self.groups,
        };
        let new = new
            .into_iter()
            .map(|(key, holder, role)| (key, holder, (role, 0)));
        let old = std::mem::take(&mut self.blobs).into_iter();
        let blobs = merged(
            old.map(|(key, group)| (key, group, 0)),
            new.collect(),
            &mut joiner,
        );
        self.blobs = blobs
            .into_iter()
            .map(|(key, group, _)| (key, group))
            .collect();
        let files = files.into_iter();
        let files = files.map(|(key, holder, bytes)| (key, holder, (Role::Whole, bytes)));
        let old = std::mem::take(&mut self.files).into_iter();
        self.files = merged(old, files.collect(), &mut joiner);
    }

    /// Drops holders that were removed, groups that are the same without them, and blobs that nobody holds.
    pub(super) fn compact(&mut self) {
        let mut holders = Vec::new();
        let numbers: Vec<u32> = self
            .holders
            .iter()
            .map(|holder| match holder.alive {
                true => {
                    holders.push(*holder);
                    holders.len() as u32 - 1
                }
                false => NONE,
            })
            .collect();
        let mut known: HashMap<Group, u32> = HashMap::new();
        let mut groups: Vec<Group> = Vec::new();
        let mut renamed: Vec<u32> = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let above = match group.above {
                NONE => NONE,
                above => renamed[above as usize],
            };
            let holder = numbers[group.holder as usize];
            if holder == NONE {
                renamed.push(above);
                continue;
            }
            let group = Group {
                above,
                holder,
                ..*group
            };
            renamed.push(*known.entry(group).or_insert_with(|| {
                groups.push(group);
                groups.len() as u32 - 1
            }));
        }
        let stays = |group: &mut u32| {
            *group = renamed[*group as usize];
            *group != NONE
        };
        self.blobs.retain_mut(|(_, group)| stays(group));
        self.files.retain_mut(|(_, group, _)| stays(group));
        self.holders = holders;
        self.groups = groups;
    }

    /// Of each group, what `of` makes of the answer for the group above and of the group itself.
    pub(super) fn fold<T: Copy>(&self, none: T, mut of: impl FnMut(T, &Group) -> T) -> Vec<T> {
        let mut out: Vec<T> = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let above = match group.above {
                NONE => none,
                above => out[above as usize],
            };
            out.push(of(above, group));
        }
        out
    }

    /// True where both say the same of the holders that are there.
    pub(super) fn agrees_with(&self, other: &Self) -> bool {
        let holders = |table: &Self| -> BTreeMap<HolderKey, (bool, Count)> {
            let alive = table.holders.iter().filter(|holder| holder.alive);
            alive.map(|h| (h.key, (h.is_layer, h.count))).collect()
        };
        let sets = |table: &Self| -> Vec<Vec<(HolderKey, Role)>> {
            let of = |number: usize| {
                let chain = std::iter::successors(table.groups.get(number), |group| {
                    table.groups.get(group.above as usize)
                });
                let mut set: Vec<(HolderKey, Role)> = chain
                    .filter(|group| table.is_alive(group))
                    .map(|group| (table.holders[group.holder as usize].key, group.role))
                    .collect();
                set.sort_unstable();
                set
            };
            (0..table.groups.len()).map(of).collect()
        };
        let (mine, theirs) = (sets(self), sets(other));
        // What is held, with the number of its set.
        let held = |table: &'_ Self, sets: &'_ [Vec<(HolderKey, Role)>]| -> Vec<Pieced> {
            let blobs = table.blobs.iter().map(|(key, group)| (*key, *group, 0));
            let all = blobs.chain(table.files.iter().copied());
            all.filter(|(_, group, _)| !sets[*group as usize].is_empty())
                .collect()
        };
        let (a, b) = (held(self, &mine), held(other, &theirs));
        let same = |((key, at, bytes), (other_key, other_at, other_bytes)): (&Pieced, &Pieced)| {
            (key, bytes) == (other_key, other_bytes)
                && mine[*at as usize] == theirs[*other_at as usize]
        };
        holders(self) == holders(other) && a.len() == b.len() && a.iter().zip(&b).all(same)
    }

    /// The number of a blob.
    pub(super) fn find(&self, key: &BlobKey) -> Option<usize> {
        self.blobs
            .binary_search_by(|(other, _)| other.cmp(key))
            .ok()
    }

    pub(super) fn is_alive(&self, group: &Group) -> bool {
        self.holders[group.holder as usize].alive
    }
}

/// Sorted keys with their groups, those of `new` joined to those of `old`.
fn merged(
    old: impl Iterator<Item = Pieced>,
    mut new: Vec<(BlobKey, u32, (Role, u64))>,
    joiner: &mut Joiner<'_>,
) -> Vec<Pieced> {
    new.sort_unstable();
    let mut out = Vec::with_capacity(old.size_hint().0 + new.len());
    let mut old = old.peekable();
    let mut new = new.into_iter().peekable();
    while let Some((key, _, (_, bytes))) = new.peek().copied() {
        while let Some(before) = old.next_if(|(k, _, _)| *k < key) {
            out.push(before);
        }
        let mut group = old
            .next_if(|(k, _, _)| *k == key)
            .map_or(NONE, |(_, g, _)| g);
        while let Some((_, holder, (role, _))) = new.next_if(|(k, _, _)| *k == key) {
            group = joiner.join(group, holder, role);
        }
        out.push((key, group, bytes));
    }
    out.extend(old);
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    type Sets = BTreeMap<BlobKey, BTreeSet<(HolderKey, Role)>>;

    /// Who holds what, read back from a table.
    fn sets(table: &Table) -> Sets {
        let mut out = Sets::new();
        for (key, group) in &table.blobs {
            let mut at = *group;
            while at != NONE {
                let group = table.groups[at as usize];
                assert!(group.above == NONE || group.above < at);
                let holder = table.holders[group.holder as usize];
                if holder.alive {
                    let holders = out.entry(*key).or_default();
                    assert!(holders.insert((holder.key, group.role)));
                }
                at = group.above;
            }
        }
        out
    }

    fn key(n: u8) -> [u8; 16] {
        [n; 16]
    }

    #[derive(Debug, Clone)]
    enum Step {
        Add(Vec<BTreeSet<u8>>),
        Remove(prop::sample::Index),
        Compact,
    }

    fn step() -> impl Strategy<Value = Step> {
        let blobs = prop::collection::btree_set(0..20_u8, 0..12);
        prop_oneof![
            3 => prop::collection::vec(blobs, 1..4).prop_map(Step::Add),
            2 => any::<prop::sample::Index>().prop_map(Step::Remove),
            1 => Just(Step::Compact),
        ]
    }

    proptest! {
        #[test]
        fn a_table_says_who_holds_what(steps in prop::collection::vec(step(), 1..20)) {
            let (mut table, mut model, mut next) = (Table::default(), Sets::new(), 0_u8);
            for step in steps {
                match step {
                    Step::Add(holders) => {
                        let (mut new, mut files) = (Vec::new(), Vec::new());
                        for blobs in holders {
                            let number = table.holders.len() as u32;
                            let holder = [next; 32];
                            table.holders.push(Holder { key: holder, alive: true, is_layer: true, count: Count::default() });
                            for n in blobs {
                                let role = [Role::Metadata, Role::Chunk, Role::Whole][usize::from(n % 3)];
                                new.push((key(n), number, role));
                                if n % 3 == 1 {
                                    files.push((key(n), number, u64::from(n)));
                                }
                                model.entry(key(n)).or_default().insert((holder, role));
                            }
                            next = next.wrapping_add(1);
                        }
                        table.add(new, files);
                    }
                    Step::Remove(which) if !table.holders.is_empty() => {
                        let at = which.index(table.holders.len());
                        let gone = table.holders[at].key;
                        table.holders[at].alive = false;
                        model.values_mut().for_each(|set| set.retain(|(key, _)| *key != gone));
                        model.retain(|_, set| !set.is_empty());
                    }
                    Step::Remove(_) => {}
                    Step::Compact => {
                        table.compact();
                        prop_assert!(table.holders.iter().all(|holder| holder.alive));
                        prop_assert_eq!(table.blobs.len(), model.len());
                    }
                }
                prop_assert!(table.blobs.is_sorted_by(|a, b| a.0 < b.0));
                let files: BTreeSet<_> = table.files.iter().map(|(key, _, bytes)| (*key, *bytes)).collect();
                let wanted = model.keys().filter(|key| key[0] % 3 == 1);
                prop_assert!(wanted.map(|key| (*key, u64::from(key[0]))).all(|file| files.contains(&file)));
                prop_assert_eq!(&sets(&table), &model);
            }
            let mut other = table.clone();
            other.compact();
            prop_assert!(table.agrees_with(&other) && other.agrees_with(&table));
            if let Some(holder) = other.holders.first_mut() {
                holder.alive = false;
                prop_assert!(!table.agrees_with(&other));
            }
        }

        #[test]
        fn blobs_with_the_same_holders_are_one_group(
            layers in prop::collection::vec(prop::collection::btree_set(0..20_u8, 0..12), 1..6),
        ) {
            let mut table = Table::default();
            for (number, blobs) in layers.iter().enumerate() {
                table.holders.push(Holder { key: [number as u8; 32], alive: true, is_layer: true, count: Count::default() });
                table.add(blobs.iter().map(|n| (key(*n), number as u32, Role::Whole)).collect(), Vec::new());
            }
            let groups: BTreeSet<u32> = table.blobs.iter().map(|(_, group)| *group).collect();
            let different: BTreeSet<_> = sets(&table).into_values().collect();
            prop_assert_eq!(groups.len(), different.len());
        }
    }
}
