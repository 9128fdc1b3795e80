//! A bundle for any OCI runtime: the files of an image or a container in a directory, and a document that says
//! what Cairn itself would do with them.
//!
//! It stands by itself: nothing is mounted, and nothing of it is the repository's but the volumes that a container
//! names.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use cairn_oci::{Files, document_of};
use cairn_repo::{Image, Repo};
use cairn_runtime::{LaunchSpec, MountKind, Origin, user_in};

use crate::copy::{CopyOptions, Side, copy};
use crate::error::{Error, Result, Step};
use crate::interrupt::Interrupts;
use crate::options::RunOptions;
use crate::stop;

const ROOT: &str = "rootfs";
const FILES: &str = "files";
const CONFIG: &str = "config.json";

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bundled {
    /// Files that were left out, and why.
    pub left_out: Vec<(Vec<u8>, String)>,
}

/// A bundle that is being written; what there is of it goes where it is not finished.
struct Making {
    directory: PathBuf,
    made: bool,
    finished: bool,
}

impl Making {
    fn begin(directory: &Path) -> Result<Self> {
        let made = match fs::DirBuilder::new().mode(0o700).create(directory) {
            Ok(()) => true,
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                let mut entries =
                    fs::read_dir(directory).step(format!("read {}", directory.display()))?;
                if entries.next().is_some() {
                    return Err(Error::Refused(format!(
                        "{} is not empty; name a new directory",
                        directory.display()
                    )));
                }
                false
            }
            Err(e) => return Err(e).step(format!("create {}", directory.display())),
        };
        Ok(Self {
            directory: directory.to_owned(),
            made,
            finished: false,
        })
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // The first error is the one to tell.
        for name in [ROOT, FILES] {
            let _ = fs::remove_dir_all(self.directory.join(name));
        }
        let _ = fs::remove_file(self.directory.join(CONFIG));
        if self.made {
            let _ = fs::remove_dir(&self.directory);
        }
    }
}

/// Writes a bundle of an image or a container into `directory`, which is new or empty.
pub fn bundle(
    repo: &Repo,
    name: &str,
    directory: &Path,
    interrupts: &Interrupts,
) -> Result<Bundled> {
    let mut making = Making::begin(directory)?;
    let done = match repo.images().find(name) {
        Ok(image) => of_image(repo, name, &image, directory, interrupts),
        Err(cairn_repo::Error::NoImage(_)) => {
            interrupts.over();
            of_container(repo, name, directory)
        }
        Err(e) => Err(e.into()),
    }?;
    making.finished = true;
    Ok(done)
}

/// What a container of the image would be: one is created, asked, and removed.
fn of_image(
    repo: &Repo,
    name: &str,
    image: &Image,
    directory: &Path,
    interrupts: &Interrupts,
) -> Result<Bundled> {
    let prepared = crate::create(repo, &RunOptions::of_image(name), interrupts)?;
    let mut spec = prepared.spec.clone();
    // The root is the bundle's own: it has what a volume would begin with.
    spec.mounts.retain(|mount| mount.origin != Origin::Image);
    let written = repo
        .images()
        .export_root(image, &directory.join(ROOT), false)
        .map_err(Error::from)
        .and_then(|left_out| write(&spec, directory).map(|()| left_out));
    let created = prepared.leave(interrupts);
    let removed = stop::remove(repo, &[created], true, true);
    let why = "a device node of the image, which a runtime would let open";
    let left_out = written?.into_iter().map(|path| (path, why.to_owned()));
    removed.into_iter().try_for_each(|(_, done)| done)?;
    Ok(Bundled {
        left_out: left_out.collect(),
    })
}

fn of_container(repo: &Repo, name: &str, directory: &Path) -> Result<Bundled> {
    let container = repo.containers().find(name)?;
    let mut spec = LaunchSpec::load(&repo.containers().dir(&container.id))?;
    let root = directory.join(ROOT);
    fs::DirBuilder::new()
        .mode(0o755)
        .create(&root)
        .step(format!("create {}", root.display()))?;
    let options = CopyOptions {
        from: Side::Container {
            name: name.to_owned(),
            path: b"/.".to_vec(),
        },
        to: Side::Local(root),
        archive: true,
        follow: false,
    };
    let mut left_out = Vec::new();
    let mut say = |path: &[u8], why: &str| left_out.push((path.to_vec(), why.to_owned()));
    copy(
        repo,
        &options,
        &mut std::io::empty(),
        &mut std::io::sink(),
        &mut say,
    )?;
    spec.terminal &= spec.interactive;
    write(&spec, directory)?;
    Ok(Bundled { left_out })
}

/// Writes the document, and the files that the container would have generated.
fn write(spec: &LaunchSpec, directory: &Path) -> Result<()> {
    let flags =
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let root = rustix::fs::open(directory.join(ROOT), flags, rustix::fs::Mode::empty());
    let root: OwnedFd = root
        .map_err(std::io::Error::from)
        .step("open the bundle's root")?;
    let user = user_in(&root, &spec.user)?;
    let files = files(spec, directory)?;
    let document =
        document_of(spec, &user, &files).map_err(|e| Error::Refused(cairn_model::one_line(&e)))?;
    let bytes = serde_json::to_vec_pretty(&document).map_err(std::io::Error::other);
    let path = directory.join(CONFIG);
    // It has environment values.
    let mut options = fs::File::options();
    let file = options.write(true).create_new(true).mode(0o600).open(&path);
    file.and_then(|mut file| std::io::Write::write_all(&mut file, &bytes?))
        .step(format!("write {}", path.display()))
}

/// Copies what was generated for the container; by place inside, the path in the bundle.
fn files(spec: &LaunchSpec, directory: &Path) -> Result<Files> {
    let mut files = Files::new();
    for mount in &spec.mounts {
        let (Origin::Generated, MountKind::Bind { source } | MountKind::FlatBind { source }) =
            (mount.origin, &mount.what)
        else {
            continue;
        };
        if !source.is_file() {
            // The socket of a service.
            continue;
        }
        let Some(name) = source.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let place = directory.join(FILES);
        fs::create_dir_all(&place)
            .and_then(|()| fs::copy(source, place.join(name)))
            .step(format!("copy {}", source.display()))?;
        files.insert(mount.target.lossy(), format!("{FILES}/{name}"));
    }
    Ok(files)
}
