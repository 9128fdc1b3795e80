//! How a repository grew: a row after each import, commit, removal and collection.
//!
//! **Invariant:** nothing depends on it. A row is one line that is appended by one write and never synced; one that a
//! crash cut off is passed over, and a file that is lost begins anew. It has a bound: beyond it every second of the
//! older rows goes.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use cairn_store::gc;
use serde::{Deserialize, Serialize};

use crate::error::{At, Error, Result};
use crate::repo::Repo;
use crate::{rows, time};

/// A longer file is thinned out.
const BYTES_MAX: u64 = 512 << 10;

/// What a repository came to after something was done. All of it is from rows, which are at hand: no pack and no
/// manifest is read for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GrowthRow {
    /// When, RFC 3339.
    pub time: String,
    /// What was done: `import`, `commit`, `remove` or `gc`.
    pub action: String,
    /// Images.
    pub images: u64,
    /// Layers.
    pub layers: u64,
    /// File content of all layers, each once.
    pub content_bytes: u64,
    /// Blobs in packs, dead ones included.
    pub blobs: u64,
    /// Bytes of packs.
    pub packs_bytes: u64,
}

impl Repo {
    /// Remembers what the repository comes to now. That it cannot be remembered is no reason for anything to fail.
    pub(crate) fn note_growth(&self, action: &str) {
        let noted = self
            .growth_row(action)
            .and_then(|row| self.append_growth(&row));
        if let Err(e) = noted {
            tracing::debug!(error = %e, "a row of the history is not kept");
        }
    }

    fn growth_row(&self, action: &str) -> Result<GrowthRow> {
        self.store.db().read::<_, Error>(|rows| {
            let layers = rows::layers(rows)?;
            let packs = gc::pack_rows(rows)?;
            Ok(GrowthRow {
                time: time::rfc3339_now(),
                action: action.to_owned(),
                images: rows::images(rows)?.len() as u64,
                content_bytes: layers.iter().map(|layer| layer.content_bytes).sum(),
                layers: layers.len() as u64,
                blobs: packs.iter().map(|(_, pack)| u64::from(pack.blobs)).sum(),
                packs_bytes: packs.iter().map(|(_, pack)| pack.bytes).sum(),
            })
        })
    }

    fn append_growth(&self, row: &GrowthRow) -> Result<()> {
        let path = self.layout().history();
        let written = || -> std::io::Result<u64> {
            let mut options = OpenOptions::new();
            let mut file = options.append(true).create(true).mode(0o600).open(&path)?;
            // A line that a crash cut off ends here.
            file.write_all(format!("\n{}\n", serde_json::to_string(row)?).as_bytes())?;
            Ok(file.metadata()?.len())
        };
        let bytes = written().at("append to", &path)?;
        if bytes > BYTES_MAX {
            self.thin_growth()?;
        }
        Ok(())
    }

    fn thin_growth(&self) -> Result<()> {
        let mut text = String::new();
        for row in thinned(self.growth()) {
            text.push_str(&serde_json::to_string(&row).unwrap_or_default());
            text.push('\n');
        }
        let path = self.layout().history();
        let lease = self.store.lease()?;
        let new = lease.directory().join("history");
        let written = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &path));
        written.at("replace", &path)
    }

    /// The rows that are kept, oldest first; none where they were lost.
    pub fn growth(&self) -> Vec<GrowthRow> {
        let bytes = std::fs::read(self.layout().history()).unwrap_or_default();
        let lines = bytes.split(|byte| *byte == b'\n');
        lines
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect()
    }
}

/// Every second of the older half, and the newer half.
fn thinned(rows: Vec<GrowthRow>) -> Vec<GrowthRow> {
    let half = rows.len() / 2;
    let stays = |(at, _): &(usize, GrowthRow)| *at >= half || at % 2 == 0;
    rows.into_iter()
        .enumerate()
        .filter(stays)
        .map(|(_, row)| row)
        .collect()
}

#[cfg(test)]
mod tests {
    use cairn_model::Driver;

    use super::*;
    use crate::Options;

    fn repository(place: &std::path::Path) -> Repo {
        let options = Options {
            driver: Some(Driver::Copy),
            ..Options::default()
        };
        Repo::open_or_create(&place.join("r"), options).unwrap()
    }

    #[test]
    fn rows_that_a_crash_cut_off_are_passed_over() {
        let place = tempfile::tempdir().unwrap();
        let repo = repository(place.path());
        repo.note_growth("import");
        let path = repo.layout().history();
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            repo.note_growth("gc");
            let rows = repo.growth();
            assert_eq!(rows.last().unwrap().action, "gc");
            assert!(rows.len() <= 2, "{rows:?}");
        }
        std::fs::write(&path, b"\xff\0garbage").unwrap();
        assert!(repo.growth().is_empty());
    }

    #[test]
    fn the_history_has_a_bound_and_keeps_its_ends() {
        let place = tempfile::tempdir().unwrap();
        let repo = repository(place.path());
        repo.note_growth("first");
        let mut row = repo.growth()[0].clone();
        row.action = "x".repeat(1000);
        for _ in 0..700 {
            repo.append_growth(&row).unwrap();
        }
        repo.note_growth("last");
        let bytes = std::fs::metadata(repo.layout().history()).unwrap().len();
        assert!(bytes <= BYTES_MAX + 2000, "{bytes}");
        let rows = repo.growth();
        assert_eq!(rows[0].action, "first");
        assert_eq!(rows.last().unwrap().action, "last");
        assert!(rows.len() > 200);
    }
}
