//! What an import is given of a registry.

use std::io::Read;
use std::sync::Arc;

use cairn_image::{Found, Platform, Remote, RemoteBlob, RemoteError, remote};
use cairn_model::Digest;

use crate::client::Client;
use crate::error::Result;
use crate::fetch::Fetch;
use crate::location::Location;

/// An image of a registry, of which only the documents were fetched.
#[derive(Debug)]
pub struct Pulled {
    /// The image; its layers come when they are opened.
    pub found: Found,
    /// Digest of the manifest or index that the reference leads to.
    pub digest: Digest,
}

/// Blobs of one repository.
#[derive(Debug)]
struct Blobs {
    client: Arc<Client>,
}

/// Fetches manifest and configuration of the image at `location`, for this platform.
pub fn pull(
    client: &Arc<Client>,
    location: &Location,
    platform: &Platform,
) -> Result<Pulled, PullError> {
    let top = client.manifest(&location.reference(), location.digest())?;
    let blobs: Arc<dyn Remote> = Arc::new(Blobs {
        client: client.clone(),
    });
    let name = location.name().map(ToString::to_string);
    Ok(Pulled {
        found: remote(&blobs, &top.bytes, name.as_deref(), platform)?,
        digest: top.digest,
    })
}

/// Why an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry does not give it.
    #[error(transparent)]
    Registry(#[from] crate::Error),
    /// What it gives is no image.
    #[error(transparent)]
    Image(#[from] cairn_image::Error),
}

impl Remote for Blobs {
    fn name(&self) -> String {
        self.client.name()
    }

    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, RemoteError> {
        let manifest = self.client.manifest(&digest.to_string(), Some(*digest))?;
        Ok(manifest.bytes)
    }

    fn document(&self, blob: &RemoteBlob) -> Result<Vec<u8>, RemoteError> {
        Ok(self.client.document(blob)?)
    }

    fn layer(&self, blob: &RemoteBlob) -> Result<Box<dyn Read + Send>, RemoteError> {
        Ok(Box::new(Fetch::new(self.client.clone(), blob.clone())))
    }

    fn forget(&self, _blob: &RemoteBlob) -> bool {
        false
    }
}
