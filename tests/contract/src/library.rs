//! Snapshots by way of the library.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use cairn_model::{Driver, MountPlan, SnapshotKey};
use cairn_repo::{Error, Options, Repo};
use cairn_snapshot::{Labels, Snapshot, Snapshotter as _};

use crate::{Answer, Record, Refusal, Snapshotter, run_script};

/// A repository in a directory of its own.
pub struct Library {
    repo: Repo,
    _directory: tempfile::TempDir,
}

fn key(text: &str) -> SnapshotKey {
    text.parse().expect("a key")
}

fn labels(of: crate::Labels<'_>) -> Labels {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    of.iter().map(own).collect()
}

fn refusal(e: Error) -> Refusal {
    Refusal {
        class: Some(e.class()),
        words: e.to_string(),
    }
}

fn record(s: Snapshot) -> Record {
    let time = |t: cairn_model::Timestamp| format!("{}.{:09}", t.secs, t.nanos);
    Record {
        name: s.key.to_string(),
        kind: s.kind.as_str().to_owned(),
        parent: s.parent.map(|p| p.to_string()),
        labels: s.labels,
        created: time(s.created),
        updated: time(s.updated),
    }
}

/// The writable directory of a plan.
fn upper(plan: MountPlan) -> Option<PathBuf> {
    match plan {
        MountPlan::Packs(plan) => plan.head.map(|head| head.upper),
        MountPlan::Erofs(plan) | MountPlan::ErofsLoop(plan) => plan.head.map(|head| head.upper),
        MountPlan::Overlay(plan) | MountPlan::OverlayUser(plan) => plan.head.map(|head| head.upper),
        MountPlan::Copy(plan) => plan.writable.then_some(plan.directory),
    }
}

/// A path that leads into a detached mount while it is open.
fn path_of(mount: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}/", mount.as_raw_fd()).into()
}

impl Library {
    /// An empty repository.
    pub fn new(driver: Option<Driver>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let options = Options {
            driver,
            frames: driver == Some(Driver::Packs),
            ..Options::default()
        };
        let repo = Repo::open_or_create(&directory.path().join("repository"), options);
        Self {
            repo: repo.expect("a repository"),
            _directory: directory,
        }
    }

    fn mount(&self, key: &SnapshotKey) -> OwnedFd {
        let plan = self.repo.snapshots().mounts(key).expect("a plan");
        cairn_view::mount(&plan).expect("a mount")
    }
}

impl Snapshotter for Library {
    fn prepare(&self, k: &str, parent: Option<&str>, with: crate::Labels<'_>) -> Answer<()> {
        let parent = parent.map(key);
        let done = self.repo.snapshots();
        let done = done.prepare(&key(k), parent.as_ref(), labels(with));
        done.map(drop).map_err(refusal)
    }

    fn view(&self, k: &str, parent: Option<&str>) -> Answer<()> {
        let parent = parent.map(key);
        let snapshots = self.repo.snapshots();
        let done =
            cairn_snapshot::Snapshotter::view(&snapshots, &key(k), parent.as_ref(), Labels::new());
        done.map(drop).map_err(refusal)
    }

    fn mounts(&self, k: &str) -> Answer<Option<PathBuf>> {
        let plan = self.repo.snapshots().mounts(&key(k));
        plan.map(upper).map_err(refusal)
    }

    fn commit(&self, name: &str, k: &str, with: crate::Labels<'_>) -> Answer<()> {
        let done = self.repo.snapshots();
        done.commit(&key(name), &key(k), labels(with))
            .map_err(refusal)
    }

    fn remove(&self, k: &str) -> Answer<()> {
        self.repo.snapshots().remove(&key(k)).map_err(refusal)
    }

    fn stat(&self, k: &str) -> Answer<Record> {
        let found = self.repo.snapshots().stat(&key(k));
        found.map(record).map_err(refusal)
    }

    fn label(&self, k: &str, with: crate::Labels<'_>) -> Answer<()> {
        let fields = with
            .iter()
            .map(|(name, _)| format!("labels.{name}").parse());
        let fields: Vec<_> = fields.collect::<Result<_, _>>().expect("fields");
        let done = self.repo.snapshots();
        let done = done.update(&key(k), labels(with), &fields);
        done.map(drop).map_err(refusal)
    }

    fn walk(&self, filters: &[&str]) -> Answer<Vec<Record>> {
        let parsed = filters.iter().map(|filter| filter.parse());
        let filters: Vec<_> = parsed
            .collect::<Result<_, cairn_snapshot::Error>>()
            .map_err(|e| refusal(e.into()))?;
        let found = self.repo.snapshots().walk(&filters).map_err(refusal)?;
        Ok(found.into_iter().map(record).collect())
    }

    fn usage(&self, k: &str) -> Answer<(u64, u64)> {
        let usage = self.repo.snapshots().usage(&key(k));
        usage.map(|u| (u.bytes, u.inodes)).map_err(refusal)
    }

    fn cleanup(&self) -> Answer<()> {
        self.repo.snapshots().cleanup().map_err(refusal)
    }

    fn is_sound(&self) -> Option<bool> {
        None
    }

    fn change(&self, k: &str, script: &str) {
        let mount = self.mount(&key(k));
        run_script(&path_of(&mount), script);
    }

    fn show(&self, name: &str, look: &mut dyn FnMut(&Path)) {
        self.view("show", Some(name)).expect("a view");
        look(&path_of(&self.mount(&key("show"))));
        self.remove("show").expect("the view goes");
    }
}
