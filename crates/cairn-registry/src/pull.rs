//! What an import is given of a registry.

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_image::{Found, Platform, Remote, RemoteBlob, RemoteError, remote};
use cairn_model::{Class, Digest};

use crate::client::Client;
use crate::error::Result;
use crate::fetch::Fetch;
use crate::location::Location;
use crate::partial::Partial;

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
    /// The blobs that this process fetches, while others wait.
    owned: Mutex<HashMap<Digest, Arc<Partial>>>,
}

impl Blobs {
    fn owned(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Partial>>> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fetches manifest and configuration of the image that `client` is at, for this platform. It gets the name of
/// `location`, wherever it comes from.
pub fn pull(
    client: &Arc<Client>,
    location: &Location,
    platform: &Platform,
) -> Result<Pulled, PullError> {
    let there = client.location();
    let top = client.manifest(&there.reference(), there.digest())?;
    let blobs: Arc<dyn Remote> = Arc::new(Blobs {
        client: client.clone(),
        owned: Mutex::default(),
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
        let kept = self.owned().get(&blob.digest).cloned();
        let fetch = Fetch::new(self.client.clone(), blob.clone(), kept);
        Ok(Box::new(fetch))
    }

    fn reserve(&self, blobs: &[RemoteBlob]) -> Result<bool, RemoteError> {
        let options = self.client.options();
        let Some(directory) = &options.downloads else {
            return Ok(false);
        };
        // All in one order, so that of two who need each other's blobs one has them all.
        let mut all: Vec<(Digest, u64)> = blobs.iter().map(|b| (b.digest, b.bytes)).collect();
        all.sort_unstable();
        all.dedup_by_key(|(digest, _)| *digest);
        let mut waited = false;
        for (digest, bytes) in all {
            if self.owned().contains_key(&digest) {
                continue;
            }
            let owned = Partial::own(directory, &digest, bytes, &options.watch);
            let (partial, had) = owned.map_err(|e| {
                let path = directory.join(digest.hex());
                RemoteError {
                    text: format!("cannot keep what is fetched in {}: {e}", path.display()),
                    class: Class::of_io(&e),
                }
            })?;
            waited |= had;
            self.owned().insert(digest, Arc::new(partial));
        }
        Ok(waited)
    }

    fn forget(&self, blob: &RemoteBlob) -> bool {
        let kept = self.owned().get(&blob.digest).cloned();
        kept.is_some_and(|kept| kept.spoiled())
    }

    fn release(&self, published: bool) {
        for (_, partial) in self.owned().drain() {
            if published {
                partial.remove();
            }
            partial.close();
        }
    }
}
