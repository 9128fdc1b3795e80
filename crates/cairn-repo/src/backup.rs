//! A consistent copy of a repository while it is in use; the copy is a repository itself.
//!
//! Packs never change, so only those that the copy lacks are brought: as hard links on the same file
//! system, else byte by byte. Rows are those of one moment. Order in the copy: packs, then what is derived
//! goes, then the journal takes its place as a whole, then packs that it does not name go: whenever this is
//! cut off, the copy is the one before or the new one.
//!
//! Writable snapshots and containers change all the time and are left out.

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use cairn_model::PackId;
use cairn_snapshot::{Kind, graph};
use cairn_store::{AllRows, DELTAS, Disk, Layout, NewStore, OWN_NAMES, Store, gc, kinds, layout};
use serde::Serialize;

use crate::check::without_dangling;
use crate::error::{At, Error, Result};
use crate::repo::Repo;
use crate::rows;
use crate::settings::SettingsFile;

/// What a backup did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Backup {
    /// Packs that the copy had already.
    pub kept_packs: u64,
    /// Packs that it got.
    pub new_packs: u64,
    /// Their bytes.
    pub new_bytes: u64,
    /// Those of them that are hard links and so took no room.
    pub linked_bytes: u64,
    /// Writable snapshots and views that were left out.
    pub left_out: Vec<String>,
    /// Volumes that were left out.
    pub volumes_left_out: Vec<String>,
}

impl Repo {
    /// Brings the repository's images and committed snapshots to `to`: an empty or new directory, or an
    /// earlier backup.
    pub fn backup(&self, to: &Path) -> Result<Backup> {
        let _span = tracing::info_span!("backup", to = %to.display()).entered();
        let disk = Disk::default();
        let here = self.root().canonicalize().at("find", self.root())?;
        let to = &std::path::absolute(to).at("find", to)?;
        let above = to.ancestors().find(|path| path.exists()).unwrap_or(to);
        if above.canonicalize().at("find", above)?.starts_with(&here) {
            return Err(Error::Invalid(format!(
                "{} is inside the repository; choose a directory elsewhere",
                to.display()
            )));
        }
        let copy = Layout::of(to);
        // A copy of a repository above a base stands above the same one, and it has the same packs.
        let wanted = NewStore {
            base: self.store.base().map(|base| base.root()),
            frames: self.store.has_frames(),
        };
        Store::create_as(to, disk.clone(), wanted)?;
        for name in layout::directories() {
            cairn_store::private_directory(&to.join(name), &disk)?;
        }
        let target = Self::open(to, crate::repo::Options::default())?;
        let busy = std::fs::read_dir(copy.heads()).at("list", to)?.count();
        if busy > 0 {
            return Err(Error::Invalid(format!(
                "{} contains writable snapshots, so it is not a backup; choose another directory",
                to.display()
            )));
        }
        // No collection or repair takes a pack away meanwhile, here or there.
        let _here = self.only_collector()?;
        let _there = target.only_collector()?;
        let mut report = Backup::default();
        let rows = self.rows_to_keep(&mut report)?;
        // They come before the first row that needs them.
        for feature in [DELTAS, OWN_NAMES] {
            if self.store.requires(feature)? {
                target.store.require(feature)?;
            }
        }
        let packs: HashSet<PackId> = gc::pack_rows(&rows)?
            .into_iter()
            .map(|(id, _)| id)
            .collect();
        for id in &packs {
            self.watch().check()?;
            self.bring(&target, id, &mut report)?;
        }
        disk.sync_dir(&copy.packs())?;
        target.store.db().replace_all(rows, || {
            for path in [copy.db(), copy.index()] {
                if path.is_dir() {
                    std::fs::remove_dir_all(&path).at("remove", &path)?;
                }
            }
            Ok::<_, Error>(cairn_store::private_directory(&copy.index(), &disk)?)
        })?;
        // Packs without a row would be adopted with the next opening.
        for entry in std::fs::read_dir(copy.packs()).at("list", to)?.flatten() {
            let path = entry.path();
            let id = path.file_stem().and_then(|s| s.to_str()?.parse().ok());
            if id.is_none_or(|id| !packs.contains(&id)) {
                disk.unlink(&path)?;
            }
        }
        self.bring_settings(to, &disk)?;
        self.bring_referrers(&target)?;
        drop(target);
        // The index is made of the packs' own directories.
        Self::open(to, crate::repo::Options::default())?;
        Ok(report)
    }

    /// Rows of images and committed snapshots, and of the packs in force.
    fn rows_to_keep(&self, report: &mut Backup) -> Result<AllRows> {
        let mut rows = self.store.db().read::<_, Error>(|rows| {
            let all: AllRows = rows.scan(&[])?.into_iter().collect();
            Ok(all)
        })?;
        for snapshot in graph::list(&rows)? {
            if snapshot.kind != Kind::Committed {
                let name = snapshot.key.to_string();
                rows.remove(&kinds::SNAPSHOT.key(name.as_bytes()));
                report.left_out.push(name);
            }
        }
        let volumes = self.volumes().list()?.into_iter();
        report.volumes_left_out = volumes.map(|volume| volume.name).collect();
        for (id, row) in gc::pack_rows(&rows)? {
            if row.retired.is_some() {
                rows.remove(&kinds::PACK.key(id.as_bytes()));
            }
        }
        // Containers, and what is known of directories of this machine.
        rows.retain(|key, _| {
            let kind = key.first().and_then(|prefix| kinds::of_prefix(*prefix));
            !matches!(kind, Some(kinds::CONTAINER | kinds::KNOWN_TREE))
        });
        Ok(without_dangling(rows))
    }

    /// The copy has the settings of the repository, or none.
    fn bring_settings(&self, to: &Path, disk: &Disk) -> Result<()> {
        let target = SettingsFile::path(to);
        match SettingsFile::read(self.root())?.text() {
            "" => Ok(disk.unlink(&target)?),
            text => Ok(disk.replace(&target, text.as_bytes())?),
        }
    }

    /// The copy has what is kept beside the images that it has.
    fn bring_referrers(&self, target: &Self) -> Result<()> {
        let images = target.store.db().read(|rows| rows::images(rows))?;
        for image in images {
            let had = target.kept_referrers(&image.id).ok().flatten();
            match self.all_kept(&image.id) {
                Ok(Some(all)) if had.as_ref() == Some(&all.kept) => {}
                Ok(Some(all)) => {
                    let staged = target.stage_referrers(&all)?;
                    target.keep_referrers(&image.id, staged)?;
                }
                Ok(None) if had.is_some() => target.drop_referrers(&image.id)?,
                Ok(None) => {}
                // The image is as good without it.
                Err(e) => {
                    let what = format!("what refers to {}", image.id);
                    self.watch().passed_over(&what, &cairn_model::one_line(&e));
                }
            }
        }
        crate::referrers::sweep(target).map(drop)
    }

    fn bring(&self, target: &Self, id: &PackId, report: &mut Backup) -> Result<()> {
        let (from, to) = (self.store.pack_path(id), target.store.pack_path(id));
        let bytes = from.metadata().at("read", &from)?.len();
        if to.metadata().is_ok_and(|meta| meta.len() == bytes) {
            report.kept_packs += 1;
            return Ok(());
        }
        let new: PathBuf = to.with_extension("new");
        let _unfinished = self.watch().unfinished(&new);
        for left in [&to, &new] {
            target.store.disk().unlink(left)?;
        }
        if std::fs::hard_link(&from, &new).is_ok() {
            report.linked_bytes += bytes;
        } else {
            self.watch().total(bytes);
            std::fs::copy(&from, &new).at("copy", &from)?;
            File::open(&new)
                .and_then(|f| f.sync_all())
                .at("sync", &new)?;
            self.watch().read(bytes);
        }
        target.store.disk().rename(&new, &to)?;
        report.new_packs += 1;
        report.new_bytes += bytes;
        Ok(())
    }
}
