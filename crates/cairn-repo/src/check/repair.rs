//! Makes good what can be made good.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use cairn_model::{BlobId, Class, Kind, LayerId, PackId, Piece};
use cairn_store::{Damage, Db, PackReader, Scope, ScrubOptions, layout, salvage, scrub};

use super::{Check, CheckReport, Place};
use crate::error::{Error, Result};
use crate::repo::{Options, Repo};

impl Repo {
    /// Repairs the repository in `root`, also where it is too damaged to be opened.
    pub fn repair_at(root: &Path, options: Options) -> Result<(Self, CheckReport)> {
        let disk = options.disk.clone();
        let mut done = Vec::new();
        if cairn_store::restore_format(root, &disk)? {
            done.push("rewrote the file \"format\"".to_owned());
        }
        for name in layout::directories() {
            let place = root.join(name);
            if !place.is_dir() {
                cairn_store::private_directory(&place, &disk)?;
                done.push(format!("recreated the directory {name}"));
            }
        }
        // Everything that opens the repository needs its rows.
        let metadata = Db::new(root, disk, options.notice.clone())
            .watched(options.watch.clone())
            .repair()?;
        done.extend(metadata.done);
        let repo = Self::open(root, options)?;
        let mut report = repo.check().repair_all(!metadata.lost.is_empty())?;
        done.append(&mut report.repaired);
        report.repaired = done;
        report.lost.splice(..0, metadata.lost);
        Ok((repo, report))
    }
}

impl Check<'_> {
    /// Makes good what can be: the index from the packs, the database from the journal, and packs that
    /// are damaged by saving each whole blob of them into a new pack. The damaged file is kept in
    /// `quarantine/`.
    pub fn repair(&self) -> Result<CheckReport> {
        let _span = tracing::info_span!("repair").entered();
        self.repair_all(false)
    }

    fn repair_all(&self, keep_heads: bool) -> Result<CheckReport> {
        let mut done = Vec::new();
        let _one = self.repo.only_collector()?;
        self.repo.store.may_spend_reserve();
        let metadata = self.repo.store.db().repair()?;
        done.extend(metadata.done);
        let mut lost = metadata.lost;
        lost.extend(self.drop_broken_references()?);
        if keep_heads || !lost.is_empty() {
            lost.extend(self.keep_unknown_heads()?);
        }
        let progress = |bytes| self.repo.watch().read(bytes);
        let scrub = scrub(&self.repo.store, &ScrubOptions::all(), &progress)?;
        let mut packs: HashSet<PackId> = HashSet::new();
        let mut index = false;
        for damage in scrub.damage {
            match damage {
                Damage::Pack { id, .. } | Damage::Blob { pack: id, .. } => {
                    packs.insert(id);
                }
                Damage::Index(_) => index = true,
                // Not ours: the check that follows names it.
                Damage::Base { .. } => {}
            }
        }
        // A repair that was cut off may have left a pack that no row names any more.
        let on_disk = self.repo.store.packs().list()?;
        let known: HashSet<PackId> = self
            .repo
            .store
            .pack_rows()?
            .into_iter()
            .map(|(id, _)| id)
            .collect();
        packs.extend(on_disk.into_iter().filter(|id| !known.contains(id)));
        for id in packs {
            done.push(self.quarantine(&id)?);
            index = true;
        }
        self.repo.views().cache().let_go_of_packs(&self.repo.store);
        if index {
            self.repo.store.rebuild_index()?;
            done.push("rebuilt the index from the packs".to_owned());
        }
        if matches!(self.repo.stats_are_right(), Ok(false)) {
            self.repo.forget_sharing();
            done.push("dropped the sharing table, which was wrong".to_owned());
        }
        for (image, wrong) in crate::referrers::check(self.repo, true)? {
            if wrong.is_corruption() {
                self.repo.drop_referrers(&image)?;
                done.push(format!("dropped {}", cairn_model::one_line(&wrong)));
            }
        }
        let mut report = self.packs_telling(&ScrubOptions::all(), &|_| ())?;
        let restored = self.restore_from_cache(&report)?;
        if restored > 0 {
            done.push(format!("restored {restored} files from the object cache"));
            report = self.packs_telling(&ScrubOptions::structure(), &|_| ())?;
        }
        // Last, because what is lost in the packs may be in the cache, and not the other way round.
        report.cache = self.cache(&ScrubOptions::all())?;
        report.cache.faults.retain(|fault| {
            if fault.stays.is_none() {
                done.push(format!("{}; recreated it", fault.what));
            }
            fault.stays.is_some()
        });
        let report = CheckReport {
            repaired: done,
            lost,
            ..report
        };
        self.record(Scope::All, &report);
        Ok(report)
    }

    fn quarantine(&self, id: &PackId) -> Result<String> {
        let path = self.repo.store.pack_path(id);
        let opened = match self.repo.store.packs().open(id) {
            Ok(pack) => Some(pack),
            Err(e) if e.class() == Class::NotFound => None,
            // What cannot be read now may be whole: it keeps its place.
            Err(e) => return Err(e.into()),
        };
        let directory = opened.as_ref().map(PackReader::directory);
        let known = directory.and_then(|d| Some(d.ok()?.slots.len()));
        // Its blobs count as gone from here on, so that what is saved is stored anew. The file stays where
        // it is until then: whenever this is cut off, the next repair finds it.
        self.repo.store.forget_pack(id)?;
        let mut count = 0;
        if let Some(pack) = opened {
            let ingest = self.repo.store.ingest()?;
            let mut feeder = ingest.feeder();
            let content_of = |id: &BlobId| self.repo.store.get(id);
            count = salvage::<Error>(&pack, &content_of, |content| {
                feeder.put(&content)?;
                Ok(())
            })?;
            feeder.ids()?;
            drop(feeder);
            self.repo
                .store
                .publish::<_, Error>(ingest.finish()?, |_| Ok(()))?;
        }
        let directory = self.repo.layout().quarantine();
        let kept = directory.join(path.file_name().unwrap_or_default());
        if path.exists() {
            let disk = self.repo.store.disk();
            disk.mkdir(&directory)?;
            disk.rename(&path, &kept)?;
            for place in [&directory, self.repo.root(), &self.repo.layout().packs()] {
                disk.sync_dir(place)?;
            }
        }
        let of = known.map_or_else(|| "an unknown number of".to_owned(), |n| n.to_string());
        Ok(format!(
            "recovered {count} of {of} blobs from pack {id}; the damaged file was moved to {}",
            kept.display()
        ))
    }

    /// Blobs that are gone may still be in files of the object cache, which are whole files that were
    /// checked when they were written: what the cache has of the affected files is cut and stored again.
    /// Whatever comes out is named by its own hash, so nothing wrong can come in.
    fn restore_from_cache(&self, report: &CheckReport) -> Result<usize> {
        let mut wanted: HashMap<LayerId, HashSet<&[u8]>> = HashMap::new();
        for place in report.affected.iter().flat_map(|blob| &blob.files) {
            if let Place::File { layer, path } = place {
                wanted.entry(*layer).or_default().insert(path);
            }
        }
        let lost: HashSet<BlobId> = report.affected.iter().map(|blob| blob.blob).collect();
        let ingest = self.repo.store.ingest()?;
        let mut feeder = ingest.feeder();
        let mut restored = 0;
        for (layer, paths) in wanted {
            let layer = self.repo.layers(&[layer])?;
            for entry in layer[0].read_entries(&self.repo.store)? {
                let Kind::File(content) = &entry.kind else {
                    continue;
                };
                if !paths.contains(&entry.path[..]) {
                    continue;
                }
                let objects = self.repo.views().cache().objects();
                let Ok(file) = File::open(objects.path(&content.object())) else {
                    continue;
                };
                let (mut found, mut at) = (false, 0);
                for piece in &content.pieces {
                    let (id, length) = match piece {
                        Piece::Data { id, len } => (Some(id), u64::from(*len)),
                        Piece::Hole { len } => (None, *len),
                    };
                    if let Some(id) = id.filter(|id| lost.contains(*id)) {
                        let mut part = vec![0; length as usize];
                        if file.read_exact_at(&mut part, at).is_ok() && BlobId::of(&part) == *id {
                            feeder.put(&part)?;
                            found = true;
                        }
                    }
                    at += length;
                }
                restored += usize::from(found);
            }
        }
        feeder.ids()?;
        drop(feeder);
        if restored > 0 {
            self.repo
                .store
                .publish::<_, Error>(ingest.finish()?, |_| Ok(()))?;
        }
        Ok(restored)
    }
}
