//! Users and groups, from the container's own files (passwd(5), group(5)).

use crate::error::{Error, Result};

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

/// Looks up `user[:group]`, by name or number, as Docker does: a number needs no entry; without a group
/// the user's own, and the groups that list the user.
pub fn look_up(wanted: &str, passwd: &str, group: &str) -> Result<User> {
    let (user, group_wanted) = wanted
        .split_once(':')
        .map_or((wanted, None), |(user, group)| (user, Some(group)));
    let user = if user.is_empty() { "0" } else { user };
    let number = user.parse::<u32>().ok();
    let entry = fields(passwd).find(|f| {
        f.len() >= 6
            && (f[0] == user || (number.is_some() && f[2].parse() == Ok(number.unwrap_or(0))))
    });
    let parse = |f: &[&str], i: usize| {
        f[i].parse::<u32>().map_err(|_| {
            Error::Invalid(format!(
                "/etc/passwd of the container has no number for {user}"
            ))
        })
    };
    let (uid, mut gid, name, home) = match (&entry, number) {
        (Some(f), _) => (parse(f, 2)?, parse(f, 3)?, f[0].to_owned(), f[5].to_owned()),
        (None, Some(uid)) => (uid, 0, String::new(), "/".to_owned()),
        (None, None) => {
            return Err(Error::Invalid(format!(
                "the container has no user {user:?} in /etc/passwd"
            )));
        }
    };
    let mut groups = Vec::new();
    match group_wanted.filter(|group| !group.is_empty()) {
        Some(wanted) => {
            let named = fields(group)
                .find(|f| f.len() >= 3 && f[0] == wanted)
                .and_then(|f| f[2].parse().ok());
            gid = named.or_else(|| wanted.parse().ok()).ok_or_else(|| {
                Error::Invalid(format!(
                    "the container has no group {wanted:?} in /etc/group"
                ))
            })?;
        }
        None => {
            let member = |f: &Vec<&str>| {
                f.len() >= 4 && !name.is_empty() && f[3].split(',').any(|m| m == name)
            };
            groups.extend(
                fields(group)
                    .filter(member)
                    .filter_map(|f| f[2].parse::<u32>().ok()),
            );
        }
    }
    Ok(User {
        uid,
        gid,
        groups,
        home: if home.is_empty() { "/".into() } else { home },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:34::/var/www:/bin/false\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nvideo:x:44:www,other\n";

    #[test]
    fn names_and_numbers_are_found() {
        let user = |wanted: &str| {
            look_up(wanted, PASSWD, GROUP)
                .map(|u| (u.uid, u.gid, u.groups, u.home))
                .ok()
        };
        assert_eq!(user(""), Some((0, 0, vec![], "/root".into())));
        assert_eq!(user("www"), Some((33, 34, vec![44], "/var/www".into())));
        assert_eq!(user("33"), Some((33, 34, vec![44], "/var/www".into())));
        assert_eq!(user("www:video"), Some((33, 44, vec![], "/var/www".into())));
        assert_eq!(user("1000:7"), Some((1000, 7, vec![], "/".into())));
        assert_eq!(user("1000"), Some((1000, 0, vec![], "/".into())));
        assert_eq!(user("nobody"), None);
        assert_eq!(user("www:nogroup"), None);
    }
}
