//! Reads manifests of many layers, as many at a time as there are processors.

use cairn_layer::Layer;
use cairn_model::Entry;
use cairn_sys::threads;

use crate::error::Result;
use crate::repo::Repo;

impl Repo {
    /// Tells the entries of each layer, with its number among `layers`, in their order. One manifest for each
    /// processor is in memory.
    pub(super) fn each_manifest(
        &self,
        layers: &[&Layer],
        mut tell: impl FnMut(usize, Vec<Entry>) -> Result<()>,
    ) -> Result<()> {
        let cores = threads::cores();
        for (round, some) in layers.chunks(cores).enumerate() {
            let read = threads::map(cores, some, |layer| {
                self.watch().check()?;
                Ok::<_, crate::error::Error>(layer.read_entries(&self.store)?)
            })?;
            for (number, entries) in read.into_iter().enumerate() {
                tell(round * cores + number, entries)?;
            }
        }
        Ok(())
    }
}
