//! Heads: the directories that active snapshots write to.

use std::collections::HashSet;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use cairn_layer::{Scanned, Tree};
use cairn_model::{HeadId, Meta};
use cairn_snapshot::{Snapshot, graph};
use cairn_store::{Ingest, Lease};

use crate::error::{At, Error, Result};
use crate::gc::Collector;
use crate::repo::Repo;

const HEAD_ID_BYTES: usize = 16;

/// The heads of a repository.
#[derive(Clone, Copy)]
pub(crate) struct Heads<'a> {
    repo: &'a Repo,
}

impl Repo {
    pub(crate) fn heads(&self) -> Heads<'_> {
        Heads { repo: self }
    }
}

/// A head that is complete but not in its place yet.
pub(crate) struct NewHead {
    pub id: HeadId,
    /// Keeps a collection away from it.
    _lease: Lease,
    path: PathBuf,
}

impl Heads<'_> {
    /// The directory that all of them are in.
    pub fn place(&self) -> PathBuf {
        self.repo.layout().heads()
    }

    pub fn dir(&self, head: &HeadId) -> PathBuf {
        self.place().join(head.hex())
    }

    /// An id that no head has.
    pub fn new_id(&self) -> Result<HeadId> {
        Ok(HeadId::from_bytes(cairn_store::random::<HEAD_ID_BYTES>()?))
    }

    /// An empty upper in `directory` whose root has the attributes that the tree's root has.
    pub fn fill(&self, directory: &Path, root: &Meta) -> Result<()> {
        let store = &self.repo.store;
        for path in [directory, &directory.join("upper"), &directory.join("work")] {
            store.disk().mkdir(path)?;
        }
        let driver = self.repo.views().driver()?;
        Ok(cairn_view::start_head(store, driver, directory, root)?)
    }

    /// The same, durable, in the directory of a lease.
    pub fn make(&self, root: &Meta) -> Result<NewHead> {
        let id = self.new_id()?;
        let lease = self.repo.store.lease()?;
        let directory = lease.directory().join("head");
        self.fill(&directory, root)?;
        for path in [&directory.join("upper"), &directory] {
            self.repo.store.disk().sync_dir(path)?;
        }
        Ok(NewHead {
            id,
            _lease: lease,
            path: directory,
        })
    }

    /// Puts a new head in its place, durably.
    pub fn install(&self, new: &NewHead) -> Result<()> {
        let disk = self.repo.store.disk();
        disk.rename(&new.path, &self.dir(&new.id))?;
        Ok(disk.sync_dir(&self.place())?)
    }

    /// Reads what the active snapshot changed, into `ingest`.
    pub fn read(&self, snapshot: &Snapshot, parent: &Tree, ingest: &Ingest) -> Result<Scanned> {
        let not_active = || cairn_snapshot::Error::NotActive {
            key: snapshot.key.clone(),
            kind: snapshot.kind.as_str(),
            action: "committed",
        };
        let directory = self.dir(snapshot.head.as_ref().ok_or_else(not_active)?);
        Ok(cairn_view::read_head(
            &self.repo.store,
            &directory,
            parent,
            ingest.feeder(),
            self.repo.options.limits,
        )?)
    }

    /// Removes the head of a snapshot that is gone.
    pub fn remove_of(&self, snapshot: &Snapshot) -> Result<()> {
        let head = snapshot.head.as_ref().map(|head| self.dir(head));
        head.map_or(Ok(()), |head| remove(&head))
    }

    /// Heads of snapshots and directories of containers that are gone: left by a kill in the middle of
    /// a removal, or of a creation. No repair is under way, which might want to keep them.
    pub fn drop_orphans(&self, _only: &Collector) -> Result<u64> {
        self.repo.store.db().read::<_, Error>(|rows| {
            let heads = graph::list(rows)?.into_iter().filter_map(|s| s.head);
            let containers = crate::containers::all(rows)?.into_iter().map(|c| c.id);
            let layout = self.repo.layout();
            Ok(drop_unknown(&layout.heads(), &heads.collect())?
                + drop_unknown(&layout.containers(), &containers.collect())?)
        })
    }
}

/// Removes the directory of a head that no snapshot has any more.
pub(crate) fn remove(head: &Path) -> Result<()> {
    match std::fs::remove_dir_all(head) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).at("remove", head),
        _ => Ok(()),
    }
}

/// Removes the directories in `directory` that are none of the known ones.
fn drop_unknown<Id: FromStr + Eq + Hash>(directory: &Path, known: &HashSet<Id>) -> Result<u64> {
    let mut count = 0;
    let mut failed = None;
    for entry in std::fs::read_dir(directory)
        .at("list", directory)?
        .flatten()
    {
        let id = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<Id>().ok());
        if id.is_some_and(|id| !known.contains(&id)) {
            match std::fs::remove_dir_all(entry.path()) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    // The others go nevertheless.
                    failed.get_or_insert((e, entry.path()));
                }
                _ => count += 1,
            }
        }
    }
    match failed {
        Some((e, path)) => Err(e).at("remove", &path),
        None => Ok(count),
    }
}
