//! Which user and group ids there are for this process: those that its user namespace maps
//! (user_namespaces(7)).

use std::fmt;
use std::str::FromStr;

/// Ids from the first on, and how many.
type Range = (u32, u32);

/// More lines than the kernel takes in a map.
const RANGES_MAX: usize = 340;

/// Ids that files and processes can have here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMap {
    uids: Vec<Range>,
    gids: Vec<Range>,
}

impl IdMap {
    /// All ids, as the host has them.
    pub fn full() -> Self {
        Self {
            uids: vec![(0, u32::MAX)],
            gids: vec![(0, u32::MAX)],
        }
    }

    /// Those of this process now. Where `/proc` does not tell, all.
    pub fn of_this_process() -> Self {
        let read = |name: &str| {
            let text = std::fs::read_to_string(format!("/proc/self/{name}")).ok()?;
            let lines = text.lines().take(RANGES_MAX);
            lines.map(inside).collect::<Option<Vec<Range>>>()
        };
        match (read("uid_map"), read("gid_map")) {
            (Some(uids), Some(gids)) => Self { uids, gids },
            _ => Self::full(),
        }
    }

    /// True where every id is there.
    pub fn is_full(&self) -> bool {
        *self == Self::full()
    }

    /// True where there is one user, and one group.
    pub fn is_single(&self) -> bool {
        let count = |ranges: &[Range]| ranges.iter().map(|range| u64::from(range.1)).sum::<u64>();
        count(&self.uids) <= 1 && count(&self.gids) <= 1
    }

    /// True for a user that is there.
    pub fn has_uid(&self, uid: u32) -> bool {
        holds(&self.uids, uid)
    }

    /// True for a group that is there.
    pub fn has_gid(&self, gid: u32) -> bool {
        holds(&self.gids, gid)
    }
}

fn holds(ranges: &[Range], id: u32) -> bool {
    ranges
        .iter()
        .any(|(first, count)| id.checked_sub(*first).is_some_and(|n| n < *count))
}

/// The ids inside, of a line of a map: first inside, first outside, count.
fn inside(line: &str) -> Option<Range> {
    let mut numbers = line.split_whitespace().map(|word| word.parse().ok());
    let (first, _outside, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
    Some((first, count))
}

/// Users, a slash and groups: ranges with commas, as `0+1,1+65536/0+1`.
impl fmt::Display for IdMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |ranges: &[Range]| {
            let ranges = ranges.iter().map(|(first, n)| format!("{first}+{n}"));
            ranges.collect::<Vec<_>>().join(",")
        };
        write!(f, "{}/{}", text(&self.uids), text(&self.gids))
    }
}

impl FromStr for IdMap {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let ranges = |text: &str| {
            let range = |part: &str| {
                let (first, count) = part.split_once('+')?;
                Some((first.parse().ok()?, count.parse().ok()?))
            };
            let all: Option<Vec<Range>> = text.split(',').take(RANGES_MAX).map(range).collect();
            all.ok_or(())
        };
        let (uids, gids) = text.split_once('/').ok_or(())?;
        Ok(Self {
            uids: ranges(uids)?,
            gids: ranges(gids)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_holds_the_ids_inside_and_survives_as_text() {
        let map: IdMap = "0+1,1+65536/0+1".parse().unwrap();
        assert!(map.has_uid(0) && map.has_uid(65536) && !map.has_uid(65537));
        assert!(map.has_gid(0) && !map.has_gid(1));
        assert!(!map.is_full() && !map.is_single());
        assert_eq!(map.to_string().parse(), Ok(map));
        assert!("0+1/0+1".parse::<IdMap>().unwrap().is_single());
        for text in ["", "0+1", "0/0", "a+1/0+1", "0+1/-1+1"] {
            assert!(text.parse::<IdMap>().is_err(), "{text}");
        }
    }

    #[test]
    fn lines_of_the_kernel_are_read() {
        assert_eq!(inside("         0     100000      65536"), Some((0, 65536)));
        assert_eq!(inside("0 0"), None);
        assert!(IdMap::of_this_process().has_uid(0));
    }
}
