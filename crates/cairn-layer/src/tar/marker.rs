//! Names that mean a deletion: `.wh.NAME` and `.wh..wh..opq` of the OCI layer format.

use cairn_model::Kind;

use crate::error::{Error, Result};
use crate::layer::LayerWriter;
use crate::path::{join, split};

/// What begins every such name.
pub const PREFIX: &[u8] = b".wh.";

/// What a marker says.
#[derive(Debug, PartialEq, Eq)]
pub enum Marker {
    /// This path of the lower layers is gone.
    Whiteout(Vec<u8>),
    /// All that lower layers have in this directory is gone.
    Opaque(Vec<u8>),
    /// Aufs's own bookkeeping, which no reader of layers applies.
    Bookkeeping,
}

impl Marker {
    /// The marker that a clean path of an archive is, if it is one.
    pub fn of(path: &[u8]) -> Result<Option<Self>> {
        let Some((directory, name)) = split(path) else {
            return Ok(None);
        };
        let mut above = directory.split(|b| *b == b'/');
        if let Some(part) = above.find(|part| part.starts_with(PREFIX)) {
            if part.starts_with(b".wh..wh.") {
                return Ok(Some(Self::Bookkeeping));
            }
            return Err(Error::entry(
                path,
                "it lies inside something that is deleted",
            ));
        }
        let Some(hidden) = name.strip_prefix(PREFIX) else {
            return Ok(None);
        };
        Ok(Some(match hidden {
            b"" => return Err(Error::entry(path, "a whiteout names nothing")),
            b".wh..opq" => Self::Opaque(directory.to_vec()),
            other if other.starts_with(PREFIX) => Self::Bookkeeping,
            b"." | b".." => return Err(Error::entry(path, "a whiteout names no file")),
            name => Self::Whiteout(join(directory, name)),
        }))
    }

    /// Adds it to a layer.
    pub fn push(self, writer: &mut LayerWriter) -> Result<()> {
        match self {
            Self::Whiteout(path) => writer.push(path, Default::default(), Kind::Whiteout),
            Self::Opaque(path) => writer.push(path, Default::default(), Kind::Opaque),
            Self::Bookkeeping => Ok(()),
        }
    }
}
