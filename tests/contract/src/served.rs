//! Snapshots by way of `cairn serve`: gRPC over its socket, and mounts made with mount(2) as containerd makes them.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cairn_model::{Class, Driver};
use cairn_serve::proto::snapshots as wire;
use cairn_serve::proto::snapshots::snapshots_client::SnapshotsClient;
use cairn_serve::proto::types::Mount;
use rustix::mount::{MountFlags, UnmountFlags};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::{Answer, Labels, Record, Refusal, Snapshotter, run_script};

/// A repository in a directory of its own, and a server of it.
pub struct Served {
    program: PathBuf,
    runtime: Runtime,
    client: SnapshotsClient<Channel>,
    child: Child,
    directory: tempfile::TempDir,
}

/// The client of a server's socket, once it answers.
pub fn client(runtime: &Runtime, socket: &Path) -> SnapshotsClient<Channel> {
    let start = Instant::now();
    let address = format!("unix://{}", socket.display());
    loop {
        let endpoint = Endpoint::try_from(address.clone()).expect("an address");
        match runtime.block_on(endpoint.connect()) {
            Ok(channel) => return SnapshotsClient::new(channel),
            Err(e) => assert!(start.elapsed().as_secs() < 60, "no server: {e:?}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Makes mounts as containerd's library does: mount(2) with words, and a bind mount once more to make it read-only.
pub fn mount_all(mounts: &[Mount], target: &Path) {
    for mount in mounts {
        let (mut flags, mut data) = (MountFlags::empty(), Vec::new());
        for option in &mount.options {
            match option.as_str() {
                "ro" => flags |= MountFlags::RDONLY,
                "rw" => {}
                "bind" => flags |= MountFlags::BIND,
                "rbind" => flags |= MountFlags::BIND | MountFlags::REC,
                other => data.push(other),
            }
        }
        let data = data.join(",");
        assert!(data.len() < 4096, "options fit into a page");
        let data = CString::new(data).expect("no NUL");
        let (source, kind) = (mount.source.as_str(), mount.r#type.as_str());
        rustix::mount::mount(source, target, kind, flags, Some(data.as_c_str()))
            .unwrap_or_else(|e| panic!("{mount:?}: {e}"));
        if flags.contains(MountFlags::BIND | MountFlags::RDONLY) {
            rustix::mount::mount_remount(target, flags, "").expect("a read-only mount");
        }
    }
}

fn refusal(status: Status) -> Refusal {
    let class = match status.code() {
        Code::NotFound => Class::NotFound,
        Code::AlreadyExists => Class::Exists,
        Code::InvalidArgument => Class::Usage,
        Code::FailedPrecondition => Class::FailedPrecondition,
        Code::DataLoss => Class::Corrupt,
        Code::Unavailable => Class::Unavailable,
        Code::Cancelled => Class::Cancelled,
        _ => Class::Internal,
    };
    Refusal {
        class: Some(class),
        words: status.message().to_owned(),
    }
}

fn record(info: wire::Info) -> Record {
    let time = |t: Option<prost_types::Timestamp>| {
        let t = t.expect("a time");
        format!("{}.{:09}", t.seconds, t.nanos)
    };
    let kind = match info.kind() {
        wire::Kind::Active => "active",
        wire::Kind::View => "view",
        wire::Kind::Committed => "committed",
        wire::Kind::Unknown => "unknown",
    };
    Record {
        kind: kind.to_owned(),
        parent: Some(info.parent).filter(|parent| !parent.is_empty()),
        labels: info.labels.into_iter().collect(),
        created: time(info.created_at),
        updated: time(info.updated_at),
        name: info.name,
    }
}

fn labels(of: Labels<'_>) -> std::collections::HashMap<String, String> {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    of.iter().map(own).collect()
}

impl Served {
    /// An empty repository, served by the program at this path.
    pub fn new(program: impl Into<PathBuf>, driver: Option<Driver>) -> Self {
        let (program, directory) = (program.into(), tempfile::tempdir().expect("a directory"));
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir(at("mnt")).expect("a place to mount at");
        let mut command = Command::new(&program);
        command
            .arg("--root")
            .arg(at("repository"))
            .env_remove("CAIRN_ROOT")
            .args(driver.map(|driver| format!("--driver={driver}")))
            .arg("serve")
            .arg("--address")
            .arg(at("socket"))
            .arg("--state")
            .arg(at("state"))
            .stdin(Stdio::null());
        let child = command.spawn().expect("the program starts");
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().expect("a runtime");
        let client = client(&runtime, &at("socket"));
        Self {
            program,
            runtime,
            client,
            child,
            directory,
        }
    }

    fn place(&self) -> PathBuf {
        self.directory.path().join("mnt")
    }

    fn mounts_of(&self, key: &str) -> Answer<Vec<Mount>> {
        let request = wire::MountsRequest {
            key: key.to_owned(),
            ..Default::default()
        };
        let mut client = self.client.clone();
        let answer = self.runtime.block_on(client.mounts(request));
        Ok(answer.map_err(refusal)?.into_inner().mounts)
    }

    fn mounted(&self, key: &str, work: impl FnOnce(&Path)) {
        let place = self.place();
        mount_all(&self.mounts_of(key).expect("mounts"), &place);
        work(&place);
        rustix::mount::unmount(&place, UnmountFlags::DETACH).expect("it is mounted");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
        unmount_kept(&self.directory.path().join("state"));
    }
}

/// Unmounts what a server kept mounted, as a boot does.
pub fn unmount_kept(state: &Path) {
    for repository in std::fs::read_dir(state).into_iter().flatten().flatten() {
        for place in std::fs::read_dir(repository.path())
            .into_iter()
            .flatten()
            .flatten()
        {
            let _ = rustix::mount::unmount(place.path(), UnmountFlags::DETACH);
        }
    }
}

impl Snapshotter for Served {
    fn prepare(&self, key: &str, parent: Option<&str>, with: Labels<'_>) -> Answer<()> {
        let request = wire::PrepareSnapshotRequest {
            key: key.to_owned(),
            parent: parent.unwrap_or_default().to_owned(),
            labels: labels(with),
            ..Default::default()
        };
        let mut client = self.client.clone();
        let done = self.runtime.block_on(client.prepare(request));
        done.map(drop).map_err(refusal)
    }

    fn view(&self, key: &str, parent: Option<&str>) -> Answer<()> {
        let request = wire::ViewSnapshotRequest {
            key: key.to_owned(),
            parent: parent.unwrap_or_default().to_owned(),
            ..Default::default()
        };
        let mut client = self.client.clone();
        let done = self.runtime.block_on(client.view(request));
        done.map(drop).map_err(refusal)
    }

    fn mounts(&self, key: &str) -> Answer<Option<PathBuf>> {
        let mounts = self.mounts_of(key)?;
        let [mount] = &mounts[..] else {
            panic!("one mount: {mounts:?}");
        };
        let option = |name: &str| mount.options.iter().find_map(|o| o.strip_prefix(name));
        let of_bind = || (option("rw") == Some("")).then_some(mount.source.as_str());
        Ok(option("upperdir=").or_else(of_bind).map(PathBuf::from))
    }

    fn commit(&self, name: &str, key: &str, with: Labels<'_>) -> Answer<()> {
        let request = wire::CommitSnapshotRequest {
            name: name.to_owned(),
            key: key.to_owned(),
            labels: labels(with),
            ..Default::default()
        };
        let mut client = self.client.clone();
        let done = self.runtime.block_on(client.commit(request));
        done.map(drop).map_err(refusal)
    }

    fn remove(&self, key: &str) -> Answer<()> {
        let request = wire::RemoveSnapshotRequest {
            key: key.to_owned(),
            ..Default::default()
        };
        let mut client = self.client.clone();
        let done = self.runtime.block_on(client.remove(request));
        done.map(drop).map_err(refusal)
    }

    fn stat(&self, key: &str) -> Answer<Record> {
        let request = wire::StatSnapshotRequest {
            key: key.to_owned(),
            ..Default::default()
        };
        let mut client = self.client.clone();
        let answer = self.runtime.block_on(client.stat(request));
        let info = answer.map_err(refusal)?.into_inner().info;
        Ok(record(info.expect("a record")))
    }

    fn label(&self, key: &str, with: Labels<'_>) -> Answer<()> {
        let paths = with.iter().map(|(name, _)| format!("labels.{name}"));
        let request = wire::UpdateSnapshotRequest {
            info: Some(wire::Info {
                name: key.to_owned(),
                labels: labels(with),
                ..Default::default()
            }),
            update_mask: Some(prost_types::FieldMask {
                paths: paths.collect(),
            }),
            ..Default::default()
        };
        let mut client = self.client.clone();
        let done = self.runtime.block_on(client.update(request));
        done.map(drop).map_err(refusal)
    }

    fn walk(&self, filters: &[&str]) -> Answer<Vec<Record>> {
        let request = wire::ListSnapshotsRequest {
            filters: filters.iter().map(|filter| (*filter).to_owned()).collect(),
            ..Default::default()
        };
        let mut client = self.client.clone();
        self.runtime.block_on(async {
            let mut out = Vec::new();
            let mut pages = client.list(request).await.map_err(refusal)?.into_inner();
            while let Some(page) = pages.message().await.map_err(refusal)? {
                out.extend(page.info.into_iter().map(record));
            }
            Ok(out)
        })
    }

    fn usage(&self, key: &str) -> Answer<(u64, u64)> {
        let request = wire::UsageRequest {
            key: key.to_owned(),
            ..Default::default()
        };
        let mut client = self.client.clone();
        let answer = self.runtime.block_on(client.usage(request));
        let usage = answer.map_err(refusal)?.into_inner();
        Ok((usage.size as u64, usage.inodes as u64))
    }

    fn cleanup(&self) -> Answer<()> {
        let mut client = self.client.clone();
        let done = self
            .runtime
            .block_on(client.cleanup(wire::CleanupRequest::default()));
        done.map(drop).map_err(refusal)
    }

    fn is_sound(&self) -> Option<bool> {
        let mut command = Command::new(&self.program);
        command
            .arg("--root")
            .arg(self.directory.path().join("repository"));
        let output = command
            .args(["--json", "check"])
            .output()
            .expect("it starts");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
        report["sound"].as_bool()
    }

    fn change(&self, key: &str, script: &str) {
        self.mounted(key, |place| run_script(place, script));
    }

    fn show(&self, name: &str, look: &mut dyn FnMut(&Path)) {
        self.view("show", Some(name)).expect("a view");
        self.mounted("show", look);
        self.remove("show").expect("the view goes");
    }
}
