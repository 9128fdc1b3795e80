//! `--userns`: whose ids the container has.

use cairn_runtime::{IdClaim, IdRange, KeptId, POOL_FIRST, POOL_LAST};

use crate::error::{Error, Result};

/// The largest id: 2³²−1 means "leave it as it is" to the system calls.
const ID_MAX: u32 = u32::MAX - 1;

/// What the user says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Userns {
    /// The host's.
    Host,
    /// The caller's own, for ordinary users.
    Keep,
    /// A range of the pool.
    Auto,
    /// This range.
    Range(IdRange),
}

/// The ids of a container, and the claim that keeps others away from them. Ids are the host's unless asked
/// for.
pub(crate) fn ids(
    text: Option<&str>,
    container: &str,
    privileged: bool,
) -> Result<(Option<IdRange>, Option<IdClaim>)> {
    let text = text.unwrap_or("host");
    let wanted = match kept(Some(text)) {
        Some(_) => Userns::Keep,
        None => parse(text)?,
    };
    if wanted != Userns::Host {
        if privileged {
            return Err(Error::Usage(format!(
                "--userns {text}: a container with --privileged has the host's ids; omit one of the two"
            )));
        }
        if wanted != Userns::Keep && !cairn_runtime::rootless::has_all_ids() {
            return Err(Error::Refused(format!(
                "--userns {text} is available to root only: others have no ids to give; a container of theirs is in a user namespace anyway, with the ids that \"cairn driver\" shows"
            )));
        }
    }
    match wanted {
        Userns::Host | Userns::Keep => Ok((None, None)),
        Userns::Range(range) => Ok((Some(range), None)),
        Userns::Auto => {
            let (range, claim) = IdClaim::take(container)?;
            Ok((Some(range), Some(claim)))
        }
    }
}

/// The ids that an ordinary user keeps inside, if that is wanted. Root has no need of it.
pub(crate) fn kept(text: Option<&str>) -> Option<KeptId> {
    let wanted = text == Some("keep-id") && !cairn_runtime::rootless::has_all_ids();
    wanted.then(KeptId::of_caller).flatten()
}

/// Another range of the pool, where the container had one.
pub(crate) fn claim_again(ids: &mut Option<IdRange>, container: &str) -> Result<Option<IdClaim>> {
    match ids {
        Some(range) if (POOL_FIRST..=POOL_LAST).contains(&range.uid) => {
            let (taken, claim) = IdClaim::take(container)?;
            *range = taken;
            Ok(Some(claim))
        }
        _ => Ok(None),
    }
}

fn parse(text: &str) -> Result<Userns> {
    let refused = |why: String| Err(Error::Usage(format!("--userns {text}: {why}")));
    match text {
        "host" => return Ok(Userns::Host),
        "auto" => return Ok(Userns::Auto),
        "keep-id" => return refused("is not supported; use auto or UID:GID:SIZE".into()),
        _ => {}
    }
    let number = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        part.parse::<u32>().ok().filter(|_| digits)
    };
    let parts: Option<Vec<u32>> = text.split(':').map(number).collect();
    let Some(&[uid, gid, size]) = parts.as_deref() else {
        return refused("must be host, auto or UID:GID:SIZE, with numbers".into());
    };
    for first in [uid, gid] {
        let last = size.checked_sub(1).and_then(|more| first.checked_add(more));
        match last {
            _ if first == 0 => {
                return refused("root of the container would be root of the host; use host".into());
            }
            Some(last) if last > ID_MAX => {}
            // The ranges of other containers are theirs.
            Some(last) if first <= POOL_LAST && last >= POOL_FIRST => {
                return refused(format!(
                    "ids {POOL_FIRST} to {POOL_LAST} are for auto; choose others"
                ));
            }
            Some(_) => continue,
            None => {}
        }
        return refused(format!(
            "must be a range of at least one id, and end at {ID_MAX} at most"
        ));
    }
    Ok(Userns::Range(IdRange { uid, gid, size }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_that_no_other_container_and_no_root_has() {
        let parsed = |text: &str| parse(text).map_err(|e| e.to_string());
        assert_eq!(parsed("host"), Ok(Userns::Host));
        assert_eq!(parsed("auto"), Ok(Userns::Auto));
        let range = IdRange {
            uid: 100_000,
            gid: 200_000,
            size: 65_536,
        };
        assert_eq!(parsed("100000:200000:65536"), Ok(Userns::Range(range)));
        assert!(parsed("1:1:4294967294").is_err(), "it covers the pool");
        assert!(parsed("4294967294:1:1").is_ok());
        for (text, words) in [
            ("0:100000:10", "root of the host"),
            ("100000:0:10", "root of the host"),
            ("100000:100000:0", "at least one id"),
            ("4294967295:1:1", "end at 4294967294"),
            ("4294967290:1:100", "end at 4294967294"),
            ("1073741824:1:1", "are for auto"),
            ("1:1073741823:2", "are for auto"),
            ("keep-id", "not supported"),
            ("100000:100000", "must be host, auto or"),
            ("100000:100000:+5", "must be host, auto or"),
            ("a:b:c", "must be host, auto or"),
            ("", "must be host, auto or"),
        ] {
            let e = parsed(text).unwrap_err();
            assert!(
                e.contains(words) && e.starts_with("--userns"),
                "{text}: {e}"
            );
        }
    }
}
