//! Mounts at places of the host's tree.

use std::path::Path;

use cairn_model::{BlobId, SnapshotKey};
use cairn_snapshot::{FieldPath, Kind, Labels, Snapshotter};
use cairn_view::{attach, is_mountpoint, mount, unmount};

use crate::error::{At, Error, Result};
use crate::repo::Repo;

/// Label that says where a snapshot is mounted.
pub(crate) const MOUNTPOINT: &str = "cairn.mountpoint";

fn view_key(target: &Path) -> Result<SnapshotKey> {
    Ok(format!(
        "mount/{}",
        BlobId::of(target.as_os_str().as_encoded_bytes()).short()
    )
    .parse()?)
}

fn text(target: &Path) -> Result<String> {
    let text = target.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        Error::Invalid(format!(
            "{} is not UTF-8; mount somewhere else",
            target.display()
        ))
    })
}

impl Repo {
    /// Mounts a snapshot, or an image read-only, at `target`. A committed snapshot and an image get a
    /// view that goes with the mount.
    pub fn mount_at(&self, name: &str, target: &Path) -> Result<()> {
        let target = target.canonicalize().at("mount at", target)?;
        if is_mountpoint(&target) {
            return Err(Error::Invalid(format!(
                "something is mounted at {} already",
                target.display()
            )));
        }
        let place = text(&target)?;
        let snapshot = name
            .parse::<SnapshotKey>()
            .ok()
            .and_then(|key| self.stat(&key).ok());
        let label = Labels::from([(MOUNTPOINT.to_owned(), place)]);
        let (key, plan, made) = match snapshot {
            Some(snapshot) if snapshot.kind != Kind::Committed => {
                self.refuse_if_mounted(&snapshot)?;
                let plan = self.mounts(&snapshot.key)?;
                self.update(&snapshot.key, label, &[FieldPath::Label(MOUNTPOINT.into())])?;
                (snapshot.key, plan, false)
            }
            found => {
                let parent = match found {
                    Some(snapshot) => Some(snapshot.key),
                    None => self.image(name)?.row.top,
                };
                let key = view_key(&target)?;
                if let Ok(stale) = self.stat(&key) {
                    self.remove(&stale.key)?;
                }
                let plan = self.view(&key, parent.as_ref(), label)?;
                (key, plan, true)
            }
        };
        let mounted = mount(&plan).and_then(|mount| attach(&mount, &target));
        if let Err(e) = mounted {
            if made {
                // The mount's own error is the one to tell.
                let _ = self.remove(&key);
            }
            return Err(e.into());
        }
        Ok(())
    }

    /// Takes a mount away again, and the view that was made for it.
    pub fn unmount_at(&self, target: &Path, lazy: bool) -> Result<()> {
        let target = target.canonicalize().at("unmount", target)?;
        if !is_mountpoint(&target) {
            return Err(Error::Invalid(format!(
                "nothing is mounted at {}",
                target.display()
            )));
        }
        unmount(&target, lazy)?;
        let place = text(&target)?;
        for snapshot in self.walk(&[])? {
            if snapshot.labels.get(MOUNTPOINT) != Some(&place) {
                continue;
            }
            if snapshot.key == view_key(&target)? {
                self.remove(&snapshot.key)?;
            } else {
                self.update(
                    &snapshot.key,
                    Labels::new(),
                    &[FieldPath::Label(MOUNTPOINT.into())],
                )?;
            }
        }
        Ok(())
    }
}
