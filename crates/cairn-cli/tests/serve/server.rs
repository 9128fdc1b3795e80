//! A server of a test's own, which can be killed and started again.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cairn_contract::{client, mount_all, unmount_kept};
use cairn_serve::proto::snapshots as wire;
use cairn_serve::proto::snapshots::snapshots_client::SnapshotsClient;
use cairn_serve::proto::types::Mount;
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;
use tonic::Status;
use tonic::transport::Channel;

use crate::common::Cairn;

pub struct Server {
    pub cairn: Cairn,
    pub child: Option<Child>,
    pub runtime: Runtime,
    options: Vec<String>,
    /// Where the repository is.
    root: PathBuf,
}

pub fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

impl Server {
    pub fn start(options: &[&str]) -> Self {
        let cairn = Cairn::new();
        let root = cairn.root();
        Self::of(cairn, root, options)
    }

    fn of(cairn: Cairn, root: PathBuf, options: &[&str]) -> Self {
        std::fs::create_dir(cairn.path("mnt")).unwrap();
        let mut server = Self {
            cairn,
            child: None,
            runtime: runtime(),
            options: options.iter().map(|o| (*o).to_owned()).collect(),
            root,
        };
        server.start_again();
        server
    }

    /// Another one of the same repository, with a socket and views of its own.
    pub fn beside(&self) -> Self {
        Self::of(Cairn::new(), self.root.clone(), &[])
    }

    /// One whose repository is on a small disk, at the path `disk`.
    pub fn on_a_disk_of(size: &str) -> Self {
        let cairn = Cairn::new();
        let disk = cairn.path("disk");
        std::fs::create_dir(&disk).unwrap();
        let options = std::ffi::CString::new(format!("size={size}")).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("disk", &disk, "tmpfs", flags, options.as_c_str()).unwrap();
        // Where commands look for it, too.
        std::os::unix::fs::symlink(disk.join("repository"), cairn.root()).unwrap();
        Self::of(cairn, disk.join("repository"), &[])
    }

    pub fn socket(&self) -> PathBuf {
        self.cairn.path("socket")
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
        command
            .env_remove("CAIRN_ROOT")
            .arg("--root")
            .arg(&self.root)
            .args(["serve", "--address"])
            .arg(self.socket())
            .arg("--state")
            .arg(self.cairn.path("state"))
            .arg("--containerd")
            .arg(self.cairn.path("containerd.sock"))
            .args(&self.options)
            .stdin(Stdio::null());
        command
    }

    pub fn start_again(&mut self) {
        self.child = Some(self.command().spawn().unwrap());
        drop(self.client());
    }

    /// A client with a connection of its own.
    pub fn client(&self) -> SnapshotsClient<Channel> {
        client(&self.runtime, &self.socket())
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Asks the server to end; its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let mut child = self.child.take()?;
        // It may have ended by itself.
        let _ = kill_process(Pid::from_child(&child), Signal::TERM);
        child.wait().unwrap().code()
    }

    pub fn prepare(&self, key: &str, parent: &str) -> Result<Vec<Mount>, Status> {
        self.prepare_with(key, parent, &[])
    }

    pub fn prepare_with(
        &self,
        key: &str,
        parent: &str,
        labels: &[(&str, &str)],
    ) -> Result<Vec<Mount>, Status> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let request = wire::PrepareSnapshotRequest {
            key: key.to_owned(),
            parent: parent.to_owned(),
            labels: labels.iter().map(own).collect(),
            ..Default::default()
        };
        let answer = self.runtime.block_on(self.client().prepare(request))?;
        Ok(answer.into_inner().mounts)
    }

    pub fn view(&self, key: &str, parent: &str) -> Result<Vec<Mount>, Status> {
        let request = wire::ViewSnapshotRequest {
            key: key.to_owned(),
            parent: parent.to_owned(),
            ..Default::default()
        };
        let answer = self.runtime.block_on(self.client().view(request))?;
        Ok(answer.into_inner().mounts)
    }

    pub fn mounts(&self, key: &str) -> Result<Vec<Mount>, Status> {
        let request = wire::MountsRequest {
            key: key.to_owned(),
            ..Default::default()
        };
        let answer = self.runtime.block_on(self.client().mounts(request))?;
        Ok(answer.into_inner().mounts)
    }

    pub fn commit(&self, name: &str, key: &str) -> Result<(), Status> {
        self.commit_onto(name, key, "", &[])
    }

    /// A commit of a snapshot without a parent onto one.
    pub fn commit_onto(
        &self,
        name: &str,
        key: &str,
        parent: &str,
        labels: &[(&str, &str)],
    ) -> Result<(), Status> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let request = wire::CommitSnapshotRequest {
            name: name.to_owned(),
            key: key.to_owned(),
            parent: parent.to_owned(),
            labels: labels.iter().map(own).collect(),
            ..Default::default()
        };
        self.runtime.block_on(self.client().commit(request))?;
        Ok(())
    }

    pub fn remove(&self, key: &str) -> Result<(), Status> {
        let request = wire::RemoveSnapshotRequest {
            key: key.to_owned(),
            ..Default::default()
        };
        self.runtime.block_on(self.client().remove(request))?;
        Ok(())
    }

    /// Names of all snapshots, in order.
    pub fn names(&self) -> Vec<String> {
        let all = self.cairn.json(&["snapshot", "ls"]);
        let all = all.as_array().unwrap().iter();
        all.map(|s| s["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Does something where a snapshot is mounted as containerd would.
    pub fn mounted<T>(&self, key: &str, work: impl FnOnce(&Path) -> T) -> T {
        let place = self.cairn.path("mnt");
        mount_all(&self.mounts(key).unwrap(), &place);
        let out = work(&place);
        rustix::mount::unmount(&place, UnmountFlags::DETACH).unwrap();
        out
    }

    /// A committed snapshot with one file, under a key as containerd's.
    pub fn layer(&self, name: &str, parent: &str, file: &str, content: &[u8]) {
        let key = format!("{name}-being-made");
        self.prepare(&key, parent).unwrap();
        self.mounted(&key, |place| {
            std::fs::write(place.join(file), content).unwrap()
        });
        self.commit(name, &key).unwrap();
    }

    /// What is kept mounted.
    pub fn kept(&self) -> Vec<String> {
        let state = self.cairn.path("state");
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let points = table.lines().filter_map(|line| line.split(' ').nth(4));
        let state = state.to_str().unwrap();
        points
            .filter(|p| p.starts_with(state))
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        let _ = rustix::mount::unmount(self.cairn.path("mnt"), UnmountFlags::DETACH);
        unmount_kept(&self.cairn.path("state"));
        // Where it has a disk of its own.
        let _ = rustix::mount::unmount(self.cairn.path("disk"), UnmountFlags::DETACH);
    }
}
