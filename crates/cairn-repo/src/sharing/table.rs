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
    /// True where they are content of this holder, not its manifest, framing or document.
    pub is_content: bool,
}

/// The table. Groups are in an order in which each comes after the one above it; blobs are sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Table {
    pub(super) holders: Vec<Holder>,
    pub(super) groups: Vec<Group>,
    pub(super) blobs: Vec<(BlobKey, u32)>,
}

/// A blob of a holder that is to be added: the holder's number, and whether the blob is content.
pub(super) type New = (BlobKey, u32, bool);

impl Table {
    /// Adds the blobs of holders, each of which comes once for a holder.
    pub(super) fn add(&mut self, mut new: Vec<New>) {
        new.sort_unstable();
        let mut known: HashMap<Group, u32> = HashMap::new();
        let mut groups = std::mem::take(&mut self.groups);
        let mut joined = |above: u32, holder: u32, is_content: bool| {
            let group = Group {
                above,
                holder,
                is_content,
            };
            *known.entry(group).or_insert_with(|| {
                groups.push(group);
                groups.len() as u32 - 1
            })
        };
        let mut out = Vec::with_capacity(self.blobs.len() + new.len());
        let mut old = self.blobs.iter().copied().peekable();
        let mut new = new.into_iter().peekable();
        while let Some((key, _, _)) = new.peek().copied() {
            while let Some(before) = old.next_if(|(k, _)| *k < key) {
                out.push(before);
            }
            let mut group = old.next_if(|(k, _)| *k == key).map_or(NONE, |(_, g)| g);
            while let Some((_, holder, is_content)) = new.next_if(|(k, _, _)| *k == key) {
                group = joined(group, holder, is_content);
            }
            out.push((key, group));
        }
        out.extend(old);
        self.blobs = out;
        self.groups = groups;
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
        self.blobs.retain_mut(|(_, group)| {
            *group = renamed[*group as usize];
            *group != NONE
        });
        self.holders = holders;
        self.groups = groups;
    }

    /// Of each group, what `of` makes of the answer for the group above and of the group itself.
    pub(super) fn fold<T: Copy>(&self, none: T, of: impl Fn(T, &Group) -> T) -> Vec<T> {
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
        let sets = |table: &Self| -> Vec<Vec<(HolderKey, bool)>> {
            let of = |number: usize| {
                let chain = std::iter::successors(table.groups.get(number), |group| {
                    table.groups.get(group.above as usize)
                });
                let mut set: Vec<(HolderKey, bool)> = chain
                    .filter(|group| table.is_alive(group))
                    .map(|group| (table.holders[group.holder as usize].key, group.is_content))
                    .collect();
                set.sort_unstable();
                set
            };
            (0..table.groups.len()).map(of).collect()
        };
        let (mine, theirs) = (sets(self), sets(other));
        let held = |table: &'_ Self, sets: &'_ [Vec<(HolderKey, bool)>]| -> Vec<(BlobKey, u32)> {
            let blobs = table.blobs.iter().copied();
            blobs
                .filter(|(_, group)| !sets[*group as usize].is_empty())
                .collect()
        };
        let (a, b) = (held(self, &mine), held(other, &theirs));
        holders(self) == holders(other)
            && a.len() == b.len()
            && a.iter()
                .zip(&b)
                .all(|((key, mine_at), (other_key, theirs_at))| {
                    key == other_key && mine[*mine_at as usize] == theirs[*theirs_at as usize]
                })
    }

    pub(super) fn is_alive(&self, group: &Group) -> bool {
        self.holders[group.holder as usize].alive
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    type Sets = BTreeMap<BlobKey, BTreeSet<(HolderKey, bool)>>;

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
                    assert!(holders.insert((holder.key, group.is_content)));
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
                        let mut new = Vec::new();
                        for blobs in holders {
                            let number = table.holders.len() as u32;
                            let holder = [next; 32];
                            table.holders.push(Holder { key: holder, alive: true, is_layer: true, count: Count::default() });
                            for n in blobs {
                                let is_content = n % 3 != 0;
                                new.push((key(n), number, is_content));
                                model.entry(key(n)).or_default().insert((holder, is_content));
                            }
                            next = next.wrapping_add(1);
                        }
                        table.add(new);
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
                table.add(blobs.iter().map(|n| (key(*n), number as u32, true)).collect());
            }
            let groups: BTreeSet<u32> = table.blobs.iter().map(|(_, group)| *group).collect();
            let different: BTreeSet<_> = sets(&table).into_values().collect();
            prop_assert_eq!(groups.len(), different.len());
        }
    }
}
