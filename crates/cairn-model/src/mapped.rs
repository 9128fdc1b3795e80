//! Ids of a container with a user namespace, and those of the host that they stand for.

use std::fmt;
use std::str::FromStr;

/// More lines than the kernel takes in a map.
const RANGES_MAX: usize = 340;

/// Ids that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    inside: u32,
    host: u32,
    count: u32,
}

/// Which ids of a container stand for which of the host, as user_namespaces(7) has it. As text it is
/// `UIDS/GIDS`, each side ranges `INSIDE:HOST:COUNT` with commas, which is how containerd writes them.
///
/// ```
/// use cairn_model::MappedIds;
///
/// let ids = MappedIds::parse("0:100000:65536", "0:200000:10").expect("two maps");
/// assert_eq!(ids.to_host(1000, 0), Some((101_000, 200_000)));
/// assert_eq!(ids.to_host(0, 10), None);
/// assert_eq!(ids.of_host(101_000, 5), (1000, 5));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedIds {
    uids: Vec<Range>,
    gids: Vec<Range>,
}

fn parse(text: &str) -> Option<Vec<Range>> {
    let range = |part: &str| {
        let mut numbers = part.split(':').map(|number| number.parse().ok());
        let (inside, host, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let fits = |first: u32| first.checked_add(count).is_some();
        let whole = numbers.next().is_none() && count > 0 && fits(inside) && fits(host);
        whole.then_some(Range {
            inside,
            host,
            count,
        })
    };
    let all: Vec<Range> = text.split(',').map(range).collect::<Option<_>>()?;
    (all.len() <= RANGES_MAX).then_some(all)
}

fn to_host(ranges: &[Range], id: u32) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let place = id.checked_sub(range.inside)?;
        (place < range.count).then(|| range.host + place)
    })
}

fn of_host(ranges: &[Range], id: u32) -> u32 {
    let inside = ranges.iter().find_map(|range| {
        let place = id.checked_sub(range.host)?;
        (place < range.count).then(|| range.inside + place)
    });
    inside.unwrap_or(id)
}

impl MappedIds {
    /// Of the maps of users and groups; none where one of them is none.
    pub fn parse(uids: &str, gids: &str) -> Option<Self> {
        Some(Self {
            uids: parse(uids)?,
            gids: parse(gids)?,
        })
    }

    /// The host's user and group for a user and group of the container, where it has them.
    pub fn to_host(&self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        Some((to_host(&self.uids, uid)?, to_host(&self.gids, gid)?))
    }

    /// The container's user and group for those of the host; others stay what they are.
    pub fn of_host(&self, uid: u32, gid: u32) -> (u32, u32) {
        (of_host(&self.uids, uid), of_host(&self.gids, gid))
    }

    /// As uid_map and gid_map of proc(5) take them.
    pub fn lines(&self) -> (String, String) {
        let text = |ranges: &[Range]| {
            let line = |r: &Range| format!("{} {} {}\n", r.inside, r.host, r.count);
            ranges.iter().map(line).collect()
        };
        (text(&self.uids), text(&self.gids))
    }
}

impl fmt::Display for MappedIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |ranges: &[Range]| {
            let ranges = ranges
                .iter()
                .map(|r| format!("{}:{}:{}", r.inside, r.host, r.count));
            ranges.collect::<Vec<_>>().join(",")
        };
        write!(f, "{}/{}", text(&self.uids), text(&self.gids))
    }
}

impl FromStr for MappedIds {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (uids, gids) = text.split_once('/').ok_or(())?;
        Self::parse(uids, gids).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_to_the_host_and_come_back() {
        let ids = MappedIds::parse("0:1000:1,1:100000:65536", "0:1000:1").unwrap();
        assert_eq!(ids.to_host(0, 0), Some((1000, 1000)));
        assert_eq!(ids.to_host(33, 0), Some((100_032, 1000)));
        assert_eq!(ids.to_host(33, 33), None);
        assert_eq!(ids.of_host(100_032, 1000), (33, 0));
        assert_eq!(ids.of_host(0, 7), (0, 7), "not of the container");
        assert_eq!(ids.to_string().parse(), Ok(ids.clone()));
        assert_eq!(ids.lines().0, "0 1000 1\n1 100000 65536\n");
    }

    #[test]
    fn what_is_no_map_is_refused() {
        for text in [
            "",
            "0:1",
            "0:1:0",
            "0:1:2:3",
            "a:1:1",
            "-1:1:1",
            "0:4294967295:2",
            "4294967295:0:2",
        ] {
            assert!(MappedIds::parse(text, "0:0:1").is_none(), "{text}");
        }
        let many = vec!["0:0:1"; RANGES_MAX + 1].join(",");
        assert!(MappedIds::parse(&many, "0:0:1").is_none());
    }
}
