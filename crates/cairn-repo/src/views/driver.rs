//! Which driver mounts views here, and why no better one does.

use cairn_model::Driver;
use serde::{Serialize, Serializer};

use super::Views;
use crate::error::{At, Result};

/// What `cairn driver` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DriverReport {
    /// The one that is used.
    #[serde(serialize_with = "crate::report::text")]
    pub driver: Driver,
    /// It was named by the user, and no other was tried.
    pub forced: bool,
    /// Better ones, and why they do not work.
    #[serde(serialize_with = "refused")]
    pub refused: Vec<(Driver, String)>,
    /// Whether the driver packs, which is used where blobs are frames or where it is named, could be.
    pub packs: PacksReport,
    /// Whether the repository's file system could seal files by fs-verity, which Cairn does not use.
    #[serde(rename = "file_system_has_fs_verity")]
    pub fs_verity: bool,
}

/// Whether the kernel can read contents from this repository's packs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PacksReport {
    /// A trial found nothing wrong.
    pub works: bool,
    /// Why it does not work.
    pub why_not: Option<String>,
    /// Blobs are stored so that it can be of use.
    pub frames: bool,
}

fn refused<S: Serializer>(refused: &[(Driver, String)], to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Refused<'a> {
        driver: String,
        why: &'a str,
    }
    to.collect_seq(refused.iter().map(|(driver, why)| Refused {
        driver: driver.to_string(),
        why,
    }))
}

impl Views<'_> {
    /// Tries the drivers anew, whatever is remembered of an earlier trial, and asks for fs-verity.
    pub fn report(&self) -> Result<DriverReport> {
        let heads = self.repo.heads().place();
        let scratch = tempfile::tempfile_in(&heads).at("make a temporary file in", &heads)?;
        let fs_verity = cairn_sys::has_fs_verity(&scratch).at("ask for fs-verity in", &heads)?;
        let words = |e| cairn_model::one_line(&crate::Error::from(e));
        let tried = self.cache().try_one(Driver::Packs, &heads);
        let packs = PacksReport {
            works: tried.is_ok(),
            why_not: tried.err().map(words),
            frames: self.repo.store.has_frames(),
        };
        let (driver, refused) = match self.wanted() {
            Some(driver) if driver != Driver::Packs || packs.works => (driver, Vec::new()),
            _ => {
                let trial = self.cache().trial(&heads);
                let refused = trial.refused.into_iter();
                let refused = refused.map(|(driver, e)| (driver, words(e))).collect();
                (trial.driver, refused)
            }
        };
        Ok(DriverReport {
            driver,
            forced: self.repo.options.driver == Some(driver),
            refused,
            packs,
            fs_verity,
        })
    }
}
