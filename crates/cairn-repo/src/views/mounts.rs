//! Mounts at places of the host's tree.

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cairn_model::{BlobId, MountPlan, SnapshotKey};
use cairn_snapshot::{FieldPath, Kind, Labels, Snapshot, Snapshotter};
use cairn_view::{Mounted, attach, is_mountpoint, mount, restrict, unmount};

use super::Views;
use crate::error::{At, Error, Result};

/// Label that says where a snapshot is mounted.
pub(crate) const MOUNTPOINT: &str = "cairn.mountpoint";
/// How keys of views begin that were made for a mount.
const VIEW_PREFIX: &str = "mount/";
/// How often, and how long apart, a mount is looked for that may be about to go.
const COPIED_LOOKS: u32 = 20;
const COPIED_PAUSE: Duration = Duration::from_millis(25);

/// What works in a mount made by hand. By default neither does: any local user can walk into it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// Programs may be setuid, setgid or have capabilities.
    pub suid: bool,
    /// Device nodes can be opened.
    pub dev: bool,
}

fn view_key(target: &Path) -> Result<SnapshotKey> {
    let name = BlobId::of(target.as_os_str().as_encoded_bytes()).hex();
    Ok(format!("{VIEW_PREFIX}{name}").parse()?)
}

/// True for a view that goes with its mount, also where an older version named it.
fn is_made_for_a_mount(snapshot: &Snapshot) -> bool {
    snapshot.kind == Kind::View && snapshot.key.as_str().starts_with(VIEW_PREFIX)
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

/// A lock on a directory, which goes with the file that is returned.
fn lock_directory(path: &Path, exclusive: bool) -> Result<File> {
    let file = File::open(path).at("open", path)?;
    let locked = match exclusive {
        true => file.try_lock().map_err(std::io::Error::from),
        false => file.lock_shared(),
    };
    locked.at("lock", path)?;
    Ok(file)
}

impl Views<'_> {
    /// Mounts a snapshot, or an image read-only, at `target`. A committed snapshot and an image get a
    /// view that goes with the mount. Returns the key of what is mounted.
    pub fn mount(&self, name: &str, target: &Path, options: MountOptions) -> Result<SnapshotKey> {
        let _span = tracing::info_span!("mount", target = %target.display()).entered();
        let snapshots = self.repo.snapshots();
        let target = target.canonicalize().at("mount at", target)?;
        if !target.is_dir() {
            return Err(Error::Invalid(format!(
                "{} is not a directory; choose a directory to mount on",
                target.display()
            )));
        }
        if is_mountpoint(&target) {
            return Err(Error::Invalid(format!(
                "something is already mounted at {}; unmount it first, or choose another directory",
                target.display()
            )));
        }
        self.refuse_around_repository(&target)?;
        let place = text(&target)?;
        // Keeps a collection from taking the view for one that was left behind.
        let _mounting = lock_directory(&self.repo.heads().place(), false)?;
        let snapshot = name
            .parse::<SnapshotKey>()
            .ok()
            .and_then(|key| snapshots.stat(&key).ok());
        let label = Labels::from([(MOUNTPOINT.to_owned(), place)]);
        match snapshot {
            Some(snapshot) if snapshot.kind != Kind::Committed => {
                self.mount_own(&snapshot, &target, label, options)?;
                Ok(snapshot.key)
            }
            found => {
                let parent = match found {
                    Some(snapshot) => Some(snapshot.key),
                    None => self.repo.images().find(name)?.row.top,
                };
                let key = view_key(&target)?;
                if let Ok(stale) = snapshots.stat(&key) {
                    snapshots.remove(&stale.key)?;
                }
                let plan = snapshots.view(&key, parent.as_ref(), label)?;
                if let Err(e) = put_in_place(&plan, &target, options) {
                    // The mount's own error is the one to tell.
                    let _ = snapshots.remove(&key);
                    return Err(e);
                }
                Ok(key)
            }
        }
    }

    /// Mounts an active snapshot or a view itself.
    fn mount_own(
        &self,
        snapshot: &Snapshot,
        target: &Path,
        label: Labels,
        options: MountOptions,
    ) -> Result<()> {
        let snapshots = self.repo.snapshots();
        // Two that mount one head at once: the second finds it locked, or sees the first one's mount.
        let head = snapshot.head.map(|head| self.repo.heads().dir(&head));
        let in_use = |_| {
            Error::from(cairn_snapshot::Error::InUse {
                key: snapshot.key.clone(),
                by: "another mount in progress; try again".into(),
            })
        };
        let _only = head
            .map(|head| lock_directory(&head, true))
            .transpose()
            .map_err(in_use)?;
        self.refuse_if_mounted(snapshot)?;
        self.refuse_if_starting(snapshot)?;
        let plan = snapshots.mounts(&snapshot.key)?;
        let field = [FieldPath::Label(MOUNTPOINT.into())];
        let before: Labels = snapshot
            .labels
            .get_key_value(MOUNTPOINT)
            .map(|(name, value)| (name.clone(), value.clone()))
            .into_iter()
            .collect();
        snapshots.update(&snapshot.key, label, &field)?;
        put_in_place(&plan, target, options).inspect_err(|_| {
            // The mount's own error is the one to tell.
            let _ = snapshots.update(&snapshot.key, before, &field);
        })
    }

    /// Nothing is mounted over the repository, above it or in it: nothing would work afterwards.
    fn refuse_around_repository(&self, target: &Path) -> Result<()> {
        let root = self
            .repo
            .root()
            .canonicalize()
            .at("find", self.repo.root())?;
        // By inode, because a bind mount gives a directory another path.
        let inode = |path: &Path| path.metadata().ok().map(|m| (m.dev(), m.ino()));
        let (at, of) = (inode(target), inode(&root));
        let hides = root.ancestors().any(|above| inode(above) == at);
        if hides || target.ancestors().any(|above| inode(above) == of) {
            return Err(Error::Invalid(format!(
                "{} contains the repository {} or is inside it; mount somewhere else",
                target.display(),
                root.display()
            )));
        }
        Ok(())
    }

    /// Refuses the snapshot of a container that is being started: its monitor is about to mount it. Whoever
    /// starts a container holds its lock from before its row can be seen.
    fn refuse_if_starting(&self, snapshot: &Snapshot) -> Result<()> {
        let containers = self.repo.containers();
        for container in containers.list()? {
            let lock = containers.dir(&container.id).join("lock");
            let held = || {
                let lock = File::open(&lock).ok()?;
                let refused = lock.try_lock_shared().err()?;
                Some(matches!(refused, TryLockError::WouldBlock))
            };
            if container.snapshot == snapshot.key && held().unwrap_or(false) {
                let key = snapshot.key.clone();
                let by = format!(
                    "container {}, which is being started or runs",
                    container.name
                );
                return Err(cairn_snapshot::Error::InUse { key, by }.into());
            }
        }
        Ok(())
    }

    /// Refuses where a snapshot is mounted: two overlays over one upper directory damage each other.
    pub(crate) fn refuse_if_mounted(&self, snapshot: &Snapshot) -> Result<()> {
        let refuse = |by: String| {
            let key = snapshot.key.clone();
            Err(cairn_snapshot::Error::InUse { key, by }.into())
        };
        if let Some(place) = snapshot.labels.get(MOUNTPOINT)
            && is_mountpoint(Path::new(place))
        {
            return refuse(format!(
                "the mount at {place}; run \"cairn unmount {place}\" first"
            ));
        }
        let Some(head) = &snapshot.head else {
            return Ok(());
        };
        let directory = self.repo.heads().dir(head);
        let Some(found) = Mounted::now().writer(&directory) else {
            return Ok(());
        };
        let containers = self.repo.containers().list()?;
        if let Some(container) = containers.iter().find(|c| c.snapshot == snapshot.key) {
            return refuse(format!(
                "container {0}, which is running; run \"cairn stop {0}\" and \"cairn rm {0}\" first",
                container.name
            ));
        }
        match lasting(found, &directory) {
            Some(place) => refuse(format!("a mount at {}; unmount it first", place.display())),
            None => Ok(()),
        }
    }

    /// Takes a mount away again, and the view that was made for it. Returns the keys of what was mounted.
    pub fn unmount(&self, target: &Path, lazy: bool) -> Result<Vec<SnapshotKey>> {
        let snapshots = self.repo.snapshots();
        let target = target.canonicalize().at("unmount", target)?;
        if !is_mountpoint(&target) {
            return Err(Error::Invalid(format!(
                "nothing is mounted at {}",
                target.display()
            )));
        }
        unmount(&target, lazy)?;
        let place = text(&target)?;
        let mut keys = Vec::new();
        for snapshot in snapshots.walk(&[])? {
            if snapshot.labels.get(MOUNTPOINT) != Some(&place) {
                continue;
            }
            if is_made_for_a_mount(&snapshot) {
                snapshots.remove(&snapshot.key)?;
            } else {
                snapshots.update(
                    &snapshot.key,
                    Labels::new(),
                    &[FieldPath::Label(MOUNTPOINT.into())],
                )?;
            }
            keys.push(snapshot.key);
        }
        Ok(keys)
    }

    /// Removes views made for mounts that are no more: the command was killed before it mounted, somebody
    /// used umount(8), or the machine was started anew. Leaves them while something is being mounted.
    pub(crate) fn drop_stale(&self) -> Result<u64> {
        let Ok(_none_mounting) = lock_directory(&self.repo.heads().place(), true) else {
            return Ok(0);
        };
        let snapshots = self.repo.snapshots();
        let mut views = snapshots.walk(&[])?;
        views.retain(is_made_for_a_mount);
        if views.is_empty() {
            return Ok(0);
        }
        let mounted = Mounted::now();
        let mut count = 0;
        for view in views {
            // Without the label it is a user's own snapshot.
            let Some(place) = view.labels.get(MOUNTPOINT) else {
                continue;
            };
            if !mounted.is_point(Path::new(place)) {
                snapshots.remove(&view.key)?;
                count += 1;
            }
        }
        Ok(count)
    }
}

fn put_in_place(plan: &MountPlan, target: &Path, options: MountOptions) -> Result<()> {
    let mount = mount(plan)?;
    restrict(&mount, !options.suid, !options.dev)?;
    Ok(attach(&mount, target)?)
}

/// Where an overlay is mounted that writes into a head. A mount that only another namespace has may be a copy that a
/// process got when it was started in one of its own, and is about to drop: it counts once it stays.
fn lasting(mut found: PathBuf, head: &Path) -> Option<PathBuf> {
    for _ in 0..COPIED_LOOKS {
        if is_mountpoint(&found) {
            break;
        }
        std::thread::sleep(COPIED_PAUSE);
        found = Mounted::now().writer(head)?;
    }
    Some(found)
}
