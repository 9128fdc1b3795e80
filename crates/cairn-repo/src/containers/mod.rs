//! Containers: a name, an active snapshot, and the directory where its process keeps its state.

mod images;
mod launch;
mod rename;
mod way;

pub(crate) use images::showing;

use std::path::{Path, PathBuf};

use cairn_model::{ContainerId, Digest, MountPlan, SnapshotKey};
use cairn_snapshot::{Kind, Labels, graph};
use cairn_store::codec::Stored;
use cairn_store::kinds;
use cairn_store::{Rows, Table, Txn};
use serde::{Deserialize, Serialize};

use crate::error::{At, Error, Result};
use crate::repo::Repo;
use crate::time;

#[derive(Serialize, Deserialize)]
struct ContainerV1 {
    name: String,
    snapshot: String,
    image: Option<[u8; 32]>,
    image_name: String,
    command: Vec<String>,
    created: i64,
}

impl Stored for ContainerV1 {
    const KIND: kinds::Kind = kinds::CONTAINER;
}

const CONTAINERS: Table<ContainerV1> = Table::new();

/// A container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// Its name, unique.
    pub name: String,
    /// The active snapshot it writes to.
    pub snapshot: SnapshotKey,
    /// The image it was made of, if it was one.
    pub image: Option<Digest>,
    /// As the user named image or snapshot.
    pub image_name: String,
    /// What it runs.
    pub command: Vec<String>,
    /// When it was made, seconds since 1970.
    pub created: i64,
}

/// The containers of a repository.
#[derive(Clone, Copy)]
pub struct Containers<'a> {
    pub(crate) repo: &'a Repo,
}

impl Repo {
    /// Containers: a name, an active snapshot and a directory each.
    pub fn containers(&self) -> Containers<'_> {
        Containers { repo: self }
    }
}

/// A container to be created.
#[derive(Debug, Clone, Copy)]
pub struct NewContainer<'a> {
    /// Its name; none for one made of its id.
    pub name: Option<&'a str>,
    /// What it starts from: a committed snapshot, or nothing.
    pub parent: Option<&'a SnapshotKey>,
    /// The image it is made of, if it is one.
    pub image: Option<Digest>,
    /// As the user named image or snapshot.
    pub image_name: &'a str,
    /// What it runs, for lists.
    pub command: &'a [String],
    /// It goes with its process: nothing of it survives the machine, and nothing is synced for it.
    pub passing: bool,
}

impl Containers<'_> {
    /// Directory of a container's own files.
    pub fn dir(&self, id: &ContainerId) -> PathBuf {
        self.repo.layout().containers().join(id.hex())
    }

    /// Makes a container with an active snapshot of its own, and says how that is mounted. `claim` is called
    /// with its directory before anybody can see the container.
    pub fn create(
        &self,
        new: &NewContainer<'_>,
        claim: &dyn Fn(&Path) -> std::io::Result<()>,
    ) -> Result<(Container, MountPlan)> {
        let NewContainer {
            name,
            parent,
            image,
            image_name,
            command,
            passing,
        } = *new;
        let id = ContainerId::from_bytes(cairn_store::random()?);
        let name = match name {
            Some(name) => {
                check_container_name(name)?;
                name.to_owned()
            }
            None => id.short(),
        };
        if self.list()?.iter().any(|other| other.name == name) {
            return Err(Error::ContainerExists(name));
        }
        let mut snapshot: SnapshotKey = format!("container/{name}").parse()?;
        // A container that was called so once keeps its snapshot.
        if self.list()?.iter().any(|other| other.snapshot == snapshot) {
            snapshot = format!("container/{}", id.hex()).parse()?;
        }
        let row = ContainerV1 {
            name: name.clone(),
            snapshot: snapshot.to_string(),
            image: image.map(|id| *id.as_bytes()),
            image_name: image_name.to_owned(),
            command: command
                .iter()
                .map(|word| word.chars().take(200).collect())
                .take(10)
                .collect(),
            created: time::now_secs(),
        };
        let directory = self.dir(&id);
        // Snapshot and container appear together or not at all, and a collection, which takes away
        // directories that no row names, never sees one without the other.
        let put = |txn: &mut Txn<'_>| {
            if all(txn)?.iter().any(|other| other.name == name) {
                return Err(Error::ContainerExists(name.clone()));
            }
            self.repo.store.disk().mkdir(&directory)?;
            claim(&directory).at("claim", &directory)?;
            Ok(CONTAINERS.put(txn, id.as_bytes(), &row)?)
        };
        let made = self.repo.snapshots().create(
            &snapshot,
            Kind::Active,
            parent,
            Labels::new(),
            passing,
            &put,
        );
        let container = || {
            self.list()?
                .into_iter()
                .find(|c| c.id == id)
                .ok_or_else(|| Error::NoContainer(name.clone()))
        };
        made.and_then(|plan| Ok((container()?, plan))).map_err(|e| {
            // Whatever of it is there goes; the first error is the one to tell.
            let _ = container().and_then(|container| self.remove(&container));
            let _ = std::fs::remove_dir_all(&directory);
            match e {
                // Somebody else was quicker.
                Error::Snapshot(cairn_snapshot::Error::Exists(_)) if self.is_taken(&name) => {
                    Error::ContainerExists(name.clone())
                }
                e => e,
            }
        })
    }

    fn is_taken(&self, name: &str) -> bool {
        let named = |all: Vec<Container>| all.iter().any(|other| other.name == name);
        self.list().is_ok_and(named)
    }

    /// All containers, newest first.
    pub fn list(&self) -> Result<Vec<Container>> {
        let mut all = self.repo.store.db().read(all)?;
        all.sort_by_key(|container| std::cmp::Reverse(container.created));
        Ok(all)
    }

    /// The container of a name, an id or the start of an id.
    pub fn find(&self, name: &str) -> Result<Container> {
        let all = self.list()?;
        // An id is never another container's name.
        let by_id = || all.iter().find(|container| container.id.hex() == name);
        let by_name = || all.iter().find(|container| container.name == name);
        if let Some(found) = by_id().or_else(by_name) {
            return Ok(found.clone());
        }
        let mut found = all
            .into_iter()
            .filter(|container| name.len() >= 4 && container.id.hex().starts_with(name));
        match (found.next(), found.next()) {
            (Some(container), None) => Ok(container),
            (Some(_), Some(_)) => Err(Error::Ambiguous(name.to_owned())),
            _ => Err(Error::NoContainer(name.to_owned())),
        }
    }

    /// Removes a container, its snapshot and its files. The caller has made sure that it does not run.
    pub fn remove(&self, container: &Container) -> Result<()> {
        self.repo.store.may_spend_reserve();
        let gone = self.repo.store.db().write::<_, Error>(|txn| {
            CONTAINERS.delete(txn, container.id.as_bytes());
            images::remove_views(txn, &container.id)?;
            match graph::find(txn, &container.snapshot)? {
                Some(snapshot) if snapshot.kind == Kind::Active => {
                    Ok(Some(graph::remove(txn, &container.snapshot)?))
                }
                _ => Ok(None),
            }
        })?;
        if let Some(snapshot) = gone {
            self.repo.heads().remove_of(&snapshot)?;
        }
        let directory = self.dir(&container.id);
        match std::fs::remove_dir_all(&directory) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).at("remove", &directory),
            _ => Ok(()),
        }
    }
}

/// Longest name of a container.
const NAME_LEN_MAX: usize = 200;

/// Refuses what cannot be the name of a container.
pub fn check_container_name(name: &str) -> Result<()> {
    let fail = |why: &str| {
        let shown: String = name.chars().take(100).collect();
        Err(Error::Invalid(format!(
            "container name {shown:?} is not valid: {why}; choose another with --name"
        )))
    };
    let letter = |b: u8| b.is_ascii_alphanumeric();
    if name.len() > NAME_LEN_MAX {
        return fail(&format!(
            "it has {} characters, but at most {NAME_LEN_MAX} are allowed",
            name.len()
        ));
    }
    if !name.bytes().next().is_some_and(letter)
        || !name.bytes().all(|b| letter(b) || b"_.-".contains(&b))
    {
        return fail(
            "only letters, digits, _ . and - are allowed, starting with a letter or digit",
        );
    }
    let hex = name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if hex && (12..=64).contains(&name.len()) {
        return fail("it looks like a container id");
    }
    Ok(())
}

/// All containers, in order of id.
pub(crate) fn all(rows: &dyn Rows) -> Result<Vec<Container>> {
    let container = |(key, row): (Vec<u8>, ContainerV1)| {
        let corrupt = || {
            cairn_store::Error::corrupt("container row", "its key or snapshot is not a valid name")
        };
        Ok(Container {
            id: ContainerId::from_bytes(key.try_into().map_err(|_| corrupt())?),
            name: row.name,
            snapshot: row.snapshot.parse().map_err(|_| corrupt())?,
            image: row.image.map(Digest::from_bytes),
            image_name: row.image_name,
            command: row.command,
            created: row.created,
        })
    };
    CONTAINERS
        .scan(rows, [])?
        .into_iter()
        .map(container)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_are_refused_with_the_limit_and_the_next_step() {
        for good in ["a", "web-1", "A.b_c", "cafe", &"n".repeat(200)] {
            assert!(check_container_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            ".a",
            "_a",
            "a b",
            "a/b",
            "é",
            "3f9a3f9a3f9a",
            &"ab".repeat(32),
        ] {
            assert!(check_container_name(bad).is_err(), "{bad}");
        }
        let e = check_container_name(&"n".repeat(201))
            .unwrap_err()
            .to_string();
        assert!(
            e.contains("201") && e.contains("200") && e.contains("--name"),
            "{e}"
        );
    }
}
