//! Whole files among groups: how many bytes are left when equal files count once, before chunks are compared.

use super::set::Holders;
use super::sums::Sums;
use super::table::{Group, Role};

/// Bytes of files, by group.
pub(crate) struct Files<'a> {
    sums: &'a Sums<'a>,
    /// Of files of several pieces.
    pieced: Vec<u64>,
}

impl<'a> Files<'a> {
    /// Adds up the files of each group.
    pub fn new(sums: &'a Sums<'a>) -> Self {
        let mut pieced = vec![0; sums.table().groups.len()];
        for (_, group, bytes) in &sums.table().files {
            pieced[*group as usize] += bytes;
        }
        Self { sums, pieced }
    }

    /// Content of the files of these holders, equal ones once.
    pub fn of(&self, holders: &Holders) -> u64 {
        self.sum(|group| holders.contains(group.holder))
    }

    /// Content of the files of all that are there, equal ones once.
    pub fn of_all(&self) -> u64 {
        self.sum(|_| true)
    }

    fn sum(&self, is_in: impl Fn(&Group) -> bool) -> u64 {
        let table = self.sums.table();
        let held =
            |group: &Group| group.role == Role::Whole && table.is_alive(group) && is_in(group);
        let held = table.fold(false, |above, group| above || held(group));
        let groups = held.iter().enumerate().filter(|(_, held)| **held);
        groups
            .map(|(group, _)| self.pieced[group] + self.sums.raw(group))
            .sum()
    }
}
