//! Images that a collection removes before it frees what nothing needs: what is known of each is gathered here, and
//! what is decided is carried out.

use cairn_model::Digest;

use super::Gc;
use crate::error::{Error, Result};
use crate::images::{Image, Removed};
use crate::retention::{Candidate, Decision, decide};
use crate::time;
use crate::trees::tree_id;

impl Gc<'_> {
    /// What rules, pins and dates say of each image name, and changes nothing.
    pub fn decisions(&self) -> Result<Vec<Decision>> {
        let rules = &self.repo.options.retention.rules;
        Ok(decide(&self.candidates()?, rules, time::now_secs()))
    }

    /// Removes what is to go. What cannot be removed any more (somebody uses it by now) stays.
    pub(crate) fn carry_out(&self, decisions: &mut [Decision]) -> Result<()> {
        for decision in decisions.iter_mut().filter(|decision| decision.remove) {
            if let Err(why) = self.remove(&decision.id, decision.name.as_deref())? {
                decision.remove = false;
                decision.why = why;
            }
        }
        Ok(())
    }

    /// Removes a name, or an image by its id; why not, where that is refused or somebody was quicker.
    fn remove(&self, id: &Digest, name: Option<&str>) -> Result<std::result::Result<(), String>> {
        match self.repo.images().remove_if(id, name) {
            Ok(Removed::Untagged(_) | Removed::Image(_)) => Ok(Ok(())),
            Err(e @ (Error::InUse { .. } | Error::NoImage(_))) => Ok(Err(e.to_string())),
            Err(e) => Err(e),
        }
    }

    pub(super) fn candidates(&self) -> Result<Vec<Candidate>> {
        let containers = self.repo.containers().list()?;
        let uses = self.repo.views().cache().uses();
        let candidate = |image: Image| {
            let user = containers.iter().find(|c| c.image == Some(image.row.id));
            let used = uses.get(&tree_id(&image.layers)).copied();
            Ok(Candidate {
                id: image.row.id,
                labels: image.config.container().labels.clone(),
                imported: image.row.imported,
                used: used.unwrap_or(0).max(image.row.imported),
                pinned: image.keep.pinned,
                expires: image.keep.expires,
                in_use: user.map(|container| format!("container {} uses it", container.name)),
                names: image.names,
            })
        };
        self.repo
            .images()
            .readable()?
            .into_iter()
            .map(candidate)
            .collect()
    }
}
