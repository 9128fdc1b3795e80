//! Views whose rows are made of files: manifests are read.

use std::collections::HashMap;

use cairn_layer::Layer;
use cairn_model::{Entry, Kind, LayerId, path_display};

use super::ask::By;
use super::breakdown::{Breakdown, Rows};
use super::claims::{Claims, HIDDEN, Unit};
use super::classes::class;
use super::order::Came;
use super::paths::prefix;
use crate::error::Result;
use crate::packages::{Owners, Records};
use crate::repo::Repo;
use crate::sharing::Blobs;
use crate::time;

/// A layer of a view of files.
pub(super) struct Shown<'a> {
    pub came: &'a Came<'a>,
    /// How often its content counts; none where all of it is hidden.
    pub times: Option<u64>,
    /// What is not shown has it too.
    pub is_beside: bool,
}

/// Of which row a file is.
pub(super) struct Sorter {
    pub by: By,
    pub depth: usize,
    /// Packages, by the layer.
    pub owners: HashMap<LayerId, std::rc::Rc<Owners>>,
}

impl Sorter {
    fn key(&self, came: &Came<'_>, entry: &Entry) -> Vec<u8> {
        match self.by {
            By::Type => class(&entry.path, entry.meta.mode).as_bytes().to_vec(),
            By::Package => self.package(came, entry).into_bytes(),
            By::Day => day(came).into_bytes(),
            By::File => entry.path.clone(),
            _ => prefix(&entry.path, self.depth).to_vec(),
        }
    }

    fn package(&self, came: &Came<'_>, entry: &Entry) -> String {
        let owners = self.owners.get(&came.layer.id);
        let package = owners.and_then(|owners| owners.of(&entry.path));
        package.unwrap_or_else(|| NO_PACKAGE.to_owned())
    }

    fn name(&self, key: &[u8]) -> String {
        match self.by {
            By::Path | By::File => format!("/{}", path_display(key)),
            _ => String::from_utf8_lossy(key).into_owned(),
        }
    }
}

/// The row of files that no package has.
pub(super) const NO_PACKAGE: &str = "(no package)";

/// The day on which a layer came.
pub(super) fn day(came: &Came<'_>) -> String {
    let mut text = time::rfc3339(came.when.secs);
    text.truncate(text.find('T').unwrap_or(text.len()));
    text
}

/// Bytes of the blob with this number.
pub(super) fn unit(blobs: &Blobs<'_>, number: usize) -> Unit {
    let size = blobs.size(number);
    Unit {
        raw: u64::from(size.raw),
        stored: u64::from(size.stored),
    }
}

impl Repo {
    /// The view of these layers, in the order in which they claim what they have.
    pub(super) fn view_of_files(
        &self,
        layers: &[Shown<'_>],
        blobs: &Blobs<'_>,
        sorter: &Sorter,
    ) -> Result<Breakdown> {
        let (mut rows, mut claims) = (Rows::default(), Claims::new(blobs.len()));
        let read: Vec<&Layer> = layers.iter().map(|shown| shown.came.layer).collect();
        self.each_manifest(&read, |number, entries| {
            let Shown {
                came,
                times,
                is_beside,
            } = layers[number];
            for entry in &entries {
                let Kind::File(content) = &entry.kind else {
                    continue;
                };
                let row = match times {
                    Some(_) => rows.number(sorter.key(came, entry)),
                    None => HIDDEN,
                };
                claims.count(row, times.unwrap_or(0) * content.size);
                for (id, _) in content.blobs() {
                    if let Some(blob) = blobs.find(&id) {
                        claims.claim(row, blob);
                        if is_beside {
                            claims.claim(HIDDEN, blob);
                        }
                    }
                }
            }
            Ok(())
        })?;
        let name = |key: &Vec<u8>| sorter.name(key);
        Ok(rows.view(&claims, |number| unit(blobs, number), name))
    }

    /// Whose the files of each layer are: as the first of the chains says that has it.
    pub(super) fn owners(
        &self,
        layers: &[Layer],
        chains: &[Vec<LayerId>],
    ) -> Result<HashMap<LayerId, std::rc::Rc<Owners>>> {
        let mut records: HashMap<LayerId, Records> = HashMap::new();
        let read: Vec<&Layer> = layers.iter().collect();
        self.each_manifest(&read, |number, entries| {
            let of_layer = records.entry(layers[number].id).or_default();
            entries.iter().for_each(|entry| of_layer.see(entry));
            Ok(())
        })?;
        let mut owners = HashMap::new();
        for chain in chains {
            if chain.iter().all(|id| owners.contains_key(id)) {
                continue;
            }
            let of_chain = chain.iter().filter_map(|id| records.get(id));
            let of_chain = std::rc::Rc::new(Owners::read(&self.store, of_chain)?);
            for id in chain {
                owners.entry(*id).or_insert_with(|| of_chain.clone());
            }
        }
        Ok(owners)
    }
}
