//! The record of the last check.

use cairn_store::Scope;
use serde::{Deserialize, Serialize};

use super::{Check, CheckReport};
use crate::repo::Repo;
use crate::{notes, time};

/// The last check of a repository, or the check that ended its last repair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LastCheck {
    /// When it ended, RFC 3339.
    pub ended: String,
    /// The same, seconds since 1970.
    pub ended_secs: i64,
    /// What it read: `structure`, `part` or `all`.
    pub extent: String,
    /// False where it found damage.
    pub sound: bool,
    /// Faults, damaged blobs and losses that it found.
    pub faults: u64,
    /// What it could not read.
    pub unread: u64,
}

impl LastCheck {
    fn of(scope: Scope, report: &CheckReport) -> Self {
        let extent = match scope {
            Scope::Structure => "structure",
            Scope::All => "all",
            Scope::Share(_) | Scope::OlderThan(_) => "part",
        };
        let faults = report.faults.len() + report.affected.len() + report.lost.len();
        Self {
            ended: time::rfc3339_now(),
            ended_secs: time::now_secs(),
            extent: extent.to_owned(),
            sound: report.is_sound(),
            faults: faults as u64,
            unread: report.unread.len() as u64,
        }
    }
}

impl Check<'_> {
    /// Keeps a record of a check.
    pub(super) fn record(&self, scope: Scope, report: &CheckReport) {
        let path = self.repo.layout().check_record();
        notes::write(&path, &LastCheck::of(scope, report));
    }
}

impl Repo {
    /// The last check that ran to its end; none where there is no record.
    pub fn last_check(&self) -> Option<LastCheck> {
        notes::read(&self.layout().check_record())
    }
}
