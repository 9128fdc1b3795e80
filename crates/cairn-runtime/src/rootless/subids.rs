//! Which ids a user may have in a namespace: their own, and those of `/etc/subuid` and `/etc/subgid`
//! (subuid(5)).

use std::fmt::Write;
use std::path::Path;

/// A file of more bytes is not read.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// More ranges than this are left out; the kernel takes 340 lines.
const RANGES_MAX: usize = 100;

/// Ids from `inside` on are those from `outside` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    pub inside: u32,
    pub outside: u32,
    pub count: u32,
}

/// Users and groups of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Maps {
    pub uids: Vec<Line>,
    pub gids: Vec<Line>,
}

impl Maps {
    /// One user and one group, which are root inside.
    pub fn single(uid: u32, gid: u32) -> Self {
        Self {
            uids: with_ranges(uid, &[]),
            gids: with_ranges(gid, &[]),
        }
    }

    /// How many users there are.
    pub fn count(&self) -> u64 {
        self.uids.iter().map(|line| u64::from(line.count)).sum()
    }
}

/// The lines of a map as the kernel shows them (`/proc/PID/uid_map`).
pub(super) fn lines(text: &str) -> Option<Vec<Line>> {
    let line = |line: &str| {
        let numbers: Option<Vec<u32>> = line.split_whitespace().map(|n| n.parse().ok()).collect();
        let [inside, outside, count] = numbers?[..] else {
            return None;
        };
        Some(Line {
            inside,
            outside,
            count,
        })
    };
    text.lines().map(line).collect()
}

/// The same as it is written.
pub(super) fn text(lines: &[Line]) -> String {
    lines.iter().fold(String::new(), |mut text, line| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{} {} {}", line.inside, line.outside, line.count);
        text
    })
}

/// Root, then the ranges one after the other.
fn with_ranges(own: u32, ranges: &[(u32, u32)]) -> Vec<Line> {
    let mut lines = vec![Line {
        inside: 0,
        outside: own,
        count: 1,
    }];
    let mut inside = 1_u32;
    for &(outside, count) in ranges.iter().take(RANGES_MAX) {
        let Some(next) = inside.checked_add(count) else {
            break;
        };
        lines.push(Line {
            inside,
            outside,
            count,
        });
        inside = next;
    }
    lines
}

/// The maps of a user with subordinate ids, or why there are none.
pub(super) fn find(uid: u32, gid: u32) -> Result<Maps, String> {
    let name = name_of(uid, &read(Path::new("/etc/passwd")));
    let ranges = |file: &str| {
        let found = ranges(&read(Path::new(file)), uid, name.as_deref());
        match found.is_empty() {
            true => Err(format!(
                "{file} gives user {} no ids; an administrator adds them with \"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER\"",
                name.clone().unwrap_or_else(|| uid.to_string())
            )),
            false => Ok(found),
        }
    };
    Ok(Maps {
        uids: with_ranges(uid, &ranges("/etc/subuid")?),
        gids: with_ranges(gid, &ranges("/etc/subgid")?),
    })
}

fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = std::fs::File::open(path) {
        // What cannot be read gives nothing.
        let _ =
            std::io::Read::read_to_end(&mut std::io::Read::take(file, FILE_BYTES_MAX), &mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn name_of(uid: u32, passwd: &str) -> Option<String> {
    let fields = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let found = fields
        .filter(|f| f.len() >= 3)
        .find(|f| f[2].parse() == Ok(uid));
    // Users of a directory service; the helpers refuse a name that is not the caller's.
    found
        .map(|f| f[0].to_owned())
        .or_else(|| std::env::var("USER").ok())
}

/// The ranges that lines `user:first:count` give, the user by name or number.
fn ranges(file: &str, uid: u32, name: Option<&str>) -> Vec<(u32, u32)> {
    let range = |line: &str| {
        let mut fields = line.trim().split(':');
        let who = fields.next()?;
        if Some(who) != name && who.parse() != Ok(uid) {
            return None;
        }
        let (first, count): (u32, u32) =
            (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let ends = first.checked_add(count)?;
        // Root and the user's own id are not to be given away twice.
        (count > 0 && first > 0 && !(first..ends).contains(&uid)).then_some((first, count))
    };
    file.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_the_user_by_name_or_number() {
        let file = "root:1:5\nada:100000:65536\n# ada:1:1\nbob:200000:10\n1000:300000:5\nada:x:5\nada:5:0\nada:0:9\nada:4294967295:5\nada:990:20\n";
        assert_eq!(
            ranges(file, 1000, Some("ada")),
            [(100_000, 65_536), (300_000, 5)]
        );
        assert_eq!(ranges(file, 1001, None), []);
        let passwd = "root:x:0:0::/:\nada:x:1000:1000::/home/ada:/bin/sh\n";
        assert_eq!(name_of(1000, passwd).as_deref(), Some("ada"));
    }

    #[test]
    fn maps_begin_with_the_user_and_go_on_without_a_gap() {
        let lines = with_ranges(1000, &[(100_000, 10), (300_000, 5)]);
        assert_eq!(text(&lines), "0 1000 1\n1 100000 10\n11 300000 5\n");
        assert_eq!(super::lines(&text(&lines)), Some(lines));
        assert_eq!(super::lines("0 1"), None);
        assert_eq!(with_ranges(5, &[(10, u32::MAX), (20, 1)]).len(), 1);
        assert_eq!(Maps::single(7, 8).count(), 1);
    }
}
