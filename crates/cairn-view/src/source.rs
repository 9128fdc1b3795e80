//! Where a tree comes from that a view is made of.

use cairn_layer::Tree;
use cairn_model::TreeId;

use crate::error::{Error, Result};
use crate::packed::Over;
use crate::small::Small;

/// Gives a tree, whole or as what is different from another one.
pub trait Source {
    /// Why it cannot.
    type Error: From<Error>;

    /// The whole tree.
    fn tree(&self) -> Result<Tree, Self::Error>;

    /// What it has over a tree of which `over` knows a view, and that view, if what it has is little.
    fn small(
        &self,
        _over: &dyn Fn(&TreeId) -> Result<Option<Over>>,
    ) -> Result<Option<(Over, Small)>, Self::Error> {
        Ok(None)
    }
}

impl<F, E> Source for F
where
    F: Fn() -> Result<Tree, E>,
    E: From<Error>,
{
    type Error = E;

    fn tree(&self) -> Result<Tree, E> {
        self()
    }
}
