//! Did you mean …? Names that are like one which does not exist.

use std::path::Path;

use anyhow::Error;
use cairn_repo::{Options, Repo};
use cairn_snapshot::Snapshotter;

/// Names of more characters are not compared.
const CHARACTERS_MAX: usize = 200;

/// The name that was meant, where an error is about one that does not exist and there is one like it.
pub fn hint(root: &Path, error: &Error) -> Option<String> {
    let (wanted, kind) = error.chain().find_map(missing)?;
    // Looked up again, for this only.
    let repo = Repo::open(root, Options::default()).ok()?;
    // What has a tag or a directory in its name is no container.
    let kind = match wanted.contains([':', '/']) && kind == Kind::Container {
        true => Kind::Image,
        false => kind,
    };
    nearest(&wanted, names(&repo, kind))
}

/// What does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Image,
    Container,
    Volume,
    Snapshot,
}

fn missing(cause: &(dyn std::error::Error + 'static)) -> Option<(String, Kind)> {
    if let Some(cairn_container::Error::Repo(e)) = cause.downcast_ref() {
        return of_repo(e);
    }
    if let Some(cairn_snapshot::Error::NotFound(key)) = cause.downcast_ref() {
        return Some((key.to_string(), Kind::Snapshot));
    }
    cause.downcast_ref::<cairn_repo::Error>().and_then(of_repo)
}

fn of_repo(error: &cairn_repo::Error) -> Option<(String, Kind)> {
    use cairn_repo::Error;
    match error {
        Error::NoImage(name) => Some((name.clone(), Kind::Image)),
        Error::NoContainer(name) => Some((name.clone(), Kind::Container)),
        Error::NoVolume(name) => Some((name.clone(), Kind::Volume)),
        Error::Snapshot(cairn_snapshot::Error::NotFound(key)) => {
            Some((key.to_string(), Kind::Snapshot))
        }
        _ => None,
    }
}

/// All names of a kind; none where they cannot be read.
fn names(repo: &Repo, kind: Kind) -> Vec<String> {
    match kind {
        Kind::Image => {
            let images = repo.images().list().unwrap_or_default();
            let names = images.into_iter().flat_map(|image| image.names);
            names.map(|name| name.to_string()).collect()
        }
        Kind::Container => {
            let all = repo.containers().list().unwrap_or_default();
            all.into_iter().map(|container| container.name).collect()
        }
        Kind::Volume => {
            let all = repo.volumes().list().unwrap_or_default();
            all.into_iter().map(|volume| volume.name).collect()
        }
        Kind::Snapshot => {
            let all = repo.snapshots().walk(&[]).unwrap_or_default();
            all.into_iter()
                .map(|snapshot| snapshot.key.to_string())
                .collect()
        }
    }
}

/// The name that is most like another one, where it is like it at all: a third of it may differ.
fn nearest(wanted: &str, names: Vec<String>) -> Option<String> {
    let characters = wanted.chars().count();
    if characters > CHARACTERS_MAX {
        return None;
    }
    let distance = |name: &str| {
        let bare = name.rsplit_once(':').map_or(name, |(bare, _)| bare);
        let of = |name: &str| strsim::damerau_levenshtein(wanted, name);
        of(name).min(of(bare))
    };
    let short = names
        .into_iter()
        .filter(|name| name.chars().count() <= CHARACTERS_MAX);
    let near = short.map(|name| (distance(&name), name));
    let (distance, name) = near.min()?;
    (distance <= (characters / 3).max(1)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn only_a_name_that_is_like_it_is_meant() {
        let names = || {
            ["example/app:1", "web", "db"]
                .map(ToOwned::to_owned)
                .to_vec()
        };
        let of = |wanted: &str| nearest(wanted, names());
        assert_eq!(of("exmaple/app:1").as_deref(), Some("example/app:1"));
        assert_eq!(of("example/app:2").as_deref(), Some("example/app:1"));
        assert_eq!(of("example/ap").as_deref(), Some("example/app:1"));
        assert_eq!(of("wbe").as_deref(), Some("web"));
        assert_eq!(of("elephant"), None);
        assert_eq!(of(""), None);
        assert_eq!(nearest("x", Vec::new()), None);
    }
}
