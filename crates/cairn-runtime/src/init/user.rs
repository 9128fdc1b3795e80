//! Users and groups, from the container's own files (passwd(5), group(5)).

use crate::error::{Error, Result};

/// The largest id: those above are negative to some programs, and 2³²−1 means "leave it as it is" to the
/// system calls, which would leave root (CVE-2024-40635, CVE-2026-46680).
const ID_MAX: u32 = i32::MAX as u32;
/// As many groups as the kernel takes (setgroups(2)).
const GROUPS_MAX: usize = 65536;

/// Who the process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
}

fn fields(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(':').collect())
}

/// An id as the files and the command line write it: digits only. `None` for what is no number at all.
fn number(text: &str) -> Option<Result<u32>> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let id = text.parse::<u32>().ok().filter(|id| *id <= ID_MAX);
    Some(id.ok_or_else(|| {
        Error::Invalid(format!(
            "{text} is not a valid user or group id; the largest is {ID_MAX}"
        ))
    }))
}

/// The id in a field of one of the files.
fn id(field: &str, file: &str, name: &str) -> Result<u32> {
    number(field).unwrap_or_else(|| {
        Err(Error::Invalid(format!(
            "{file} in the container has no valid id for {name:?}"
        )))
    })
}

/// Names of users by their number; the first of several counts.
pub fn names(passwd: &str) -> std::collections::HashMap<u32, String> {
    let mut names = std::collections::HashMap::new();
    for entry in fields(passwd).filter(|f| f.len() >= 3) {
        if let Ok(uid) = entry[2].parse() {
            names.entry(uid).or_insert_with(|| entry[0].to_owned());
        }
    }
    names
}

/// Looks up `user[:group]`, by name or number, as Docker does: a number is a number, whatever users are
/// called, and needs no entry; without a group it is the user's own, and the groups that list the user.
pub fn look_up(wanted: &str, passwd: &str, group: &str) -> Result<User> {
    let (user, group_wanted) = wanted
        .split_once(':')
        .map_or((wanted, None), |(user, group)| (user, Some(group)));
    let user = if user.is_empty() { "0" } else { user };
    let by_number = number(user).transpose()?;
    let entry = fields(passwd).find(|f| {
        f.len() >= 6
            && match by_number {
                Some(uid) => f[2].parse() == Ok(uid),
                None => f[0] == user,
            }
    });
    let (uid, mut gid, name, home) = match (&entry, by_number) {
        (Some(f), _) => (
            id(f[2], "/etc/passwd", user)?,
            id(f[3], "/etc/passwd", user)?,
            f[0].to_owned(),
            f[5].to_owned(),
        ),
        (None, Some(uid)) => (uid, 0, String::new(), "/".to_owned()),
        (None, None) => {
            return Err(Error::Invalid(format!(
                "no user {user:?} in /etc/passwd of the container"
            )));
        }
    };
    let mut groups = Vec::new();
    match group_wanted.filter(|group| !group.is_empty()) {
        Some(wanted) => {
            gid = match number(wanted) {
                Some(gid) => gid?,
                None => {
                    let named = fields(group).find(|f| f.len() >= 3 && f[0] == wanted);
                    let named = named.ok_or_else(|| {
                        Error::Invalid(format!(
                            "no group {wanted:?} in /etc/group of the container"
                        ))
                    })?;
                    id(named[2], "/etc/group", wanted)?
                }
            };
        }
        None => {
            let member = |f: &Vec<&str>| {
                f.len() >= 4 && !name.is_empty() && f[3].split(',').any(|m| m == name)
            };
            for f in fields(group).filter(member).take(GROUPS_MAX) {
                groups.push(id(f[2], "/etc/group", f[0])?);
            }
        }
    }
    Ok(User {
        uid,
        gid,
        groups,
        home: if home.starts_with('/') {
            home
        } else {
            "/".into()
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n1000:x:0:0::/trap:/bin/sh\nwww:x:33:34::/var/www:/bin/false\nwrap:x:4294967295:0::/:\nbig:x:5000000000:0::/:\n";
    const GROUP: &str =
        "root:x:0:\nwww:x:34:\nvideo:x:44:www,other\n1000:x:0:\nwrap:x:4294967295:\n";

    fn user(wanted: &str) -> Option<(u32, u32, Vec<u32>, String)> {
        look_up(wanted, PASSWD, GROUP)
            .map(|u| (u.uid, u.gid, u.groups, u.home))
            .ok()
    }

    #[test]
    fn names_and_numbers_are_found() {
        assert_eq!(user(""), Some((0, 0, vec![], "/root".into())));
        assert_eq!(user("www"), Some((33, 34, vec![44], "/var/www".into())));
        assert_eq!(user("33"), Some((33, 34, vec![44], "/var/www".into())));
        assert_eq!(user("www:video"), Some((33, 44, vec![], "/var/www".into())));
        assert_eq!(user("1001:7"), Some((1001, 7, vec![], "/".into())));
        assert_eq!(user("1001"), Some((1001, 0, vec![], "/".into())));
        assert_eq!(user("nobody"), None);
        assert_eq!(names(PASSWD).get(&33).map(String::as_str), Some("www"));
        assert_eq!(names(PASSWD).get(&0).map(String::as_str), Some("root"));
        assert_eq!(user("www:nogroup"), None);
    }

    /// CVE-2024-40635, CVE-2026-46680.
    #[test]
    fn a_number_is_a_number_and_none_wraps_to_root() {
        assert_eq!(
            user("1000"),
            Some((1000, 0, vec![], "/".into())),
            "there is a user called 1000 whose id is 0"
        );
        assert_eq!(user("33:1000"), Some((33, 1000, vec![], "/var/www".into())));
        for wanted in [
            "4294967295",
            "0:4294967295",
            "2147483648",
            "5000000000",
            "99999999999999999999999",
            "-1",
            "+5",
            " 5",
            "0x0",
            "wrap",
            "big",
            "33:wrap",
            "33:-1",
        ] {
            assert_eq!(user(wanted), None, "{wanted}");
        }
        assert_eq!(user("2147483647").map(|u| u.0), Some(2147483647));
    }
}
