//! `--ulimit`: limits of a process (getrlimit(2)), no higher than this process may give.

use cairn_runtime::Ulimit;

use crate::error::{Error, Result};

const UNLIMITED: u64 = u64::MAX;

/// Reads `NAME=SOFT[:HARD]`, as Docker does: -1 is unlimited, and without a second number both are the first.
fn parse(text: &str) -> Result<Ulimit> {
    let refused = |why: &str| Err(Error::Usage(format!("--ulimit {text}: {why}")));
    let Some((name, values)) = text.split_once('=') else {
        return refused("must be NAME=SOFT[:HARD]");
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let number = |text: &str| match text {
        "-1" | "unlimited" => Some(UNLIMITED),
        text if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    };
    let (Some(soft), Some(hard)) = (number(soft), number(hard)) else {
        return refused("must be NAME=SOFT[:HARD], with numbers or -1");
    };
    if !Ulimit::NAMES.contains(&name) {
        return refused(&format!(
            "unknown name; valid names are {}",
            Ulimit::NAMES.join(", ")
        ));
    }
    if soft > hard {
        return refused("the soft limit is above the hard limit");
    }
    Ok(Ulimit {
        name: name.to_owned(),
        soft,
        hard,
    })
}

/// All limits, and a warning for each that had to be lowered.
pub(crate) fn ulimits(texts: &[String]) -> Result<(Vec<Ulimit>, Vec<String>)> {
    let (mut all, mut warnings) = (Vec::new(), Vec::new());
    for text in texts {
        let wanted = parse(text)?;
        let given = wanted.clone().clamped();
        if given != wanted {
            warnings.push(format!(
                "--ulimit {text}: lowered to {}, the most that cairn may give here",
                if given.hard == UNLIMITED {
                    "unlimited".into()
                } else {
                    given.hard.to_string()
                }
            ));
        }
        // The last of a name counts.
        all.retain(|other: &Ulimit| other.name != given.name);
        all.push(given);
    }
    Ok((all, warnings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_docker_reads_them() {
        let values = |text: &str| parse(text).ok().map(|u| (u.soft, u.hard));
        assert_eq!(values("nofile=10:20"), Some((10, 20)));
        assert_eq!(values("nofile=10"), Some((10, 10)));
        assert_eq!(values("core=0:-1"), Some((0, UNLIMITED)));
        for bad in [
            "nofile",
            "nofile=",
            "nofile=5:1",
            "nofile=-1:5",
            "bogus=1",
            "nofile=1:2:3",
            "nofile=+1",
        ] {
            assert_eq!(values(bad), None, "{bad}");
        }
        let (all, _) = ulimits(&["nofile=10".into(), "nofile=20".into()]).unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].soft, 20);
    }
}
