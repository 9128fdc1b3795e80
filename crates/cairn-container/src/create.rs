//! Creation: from an image and what the user wants to a container whose launch is written down.

use std::path::PathBuf;

use cairn_model::SnapshotKey;
use cairn_repo::{Image, NewContainer, Repo};
use cairn_runtime::{ContainerLock, IdClaim, LaunchSpec, LogLimits, Network, Text};
use cairn_snapshot::Snapshotter;

use crate::command::CommandLine;
use crate::error::{Error, Result};
use crate::generated::Names;
use crate::interrupt::Interrupts;
use crate::limits::LimitOptions;
use crate::prepare::Making;
use crate::security::Security;
use crate::surroundings::Surroundings;

/// What the user wants.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Image or committed snapshot.
    pub image: String,
    /// Words after it.
    pub command: Vec<Text>,
    /// Name of the container.
    pub name: Option<String>,
    /// Connect standard input.
    pub interactive: bool,
    /// Give it a terminal.
    pub terminal: bool,
    /// Run in the background.
    pub detach: bool,
    /// Remove it when it has ended.
    pub remove: bool,
    /// `HOST:CONTAINER[:ro]`
    pub volumes: Vec<Text>,
    /// `CONTAINER[:OPTIONS]`
    pub tmpfs: Vec<String>,
    /// `NAME[=VALUE]`
    pub env: Vec<Text>,
    /// Files with such lines.
    pub env_files: Vec<PathBuf>,
    /// Working directory.
    pub workdir: Option<Text>,
    /// `USER[:GROUP]`
    pub user: Option<String>,
    /// Program instead of the image's entrypoint.
    pub entrypoint: Option<Text>,
    /// Host name.
    pub hostname: Option<String>,
    /// The root file system cannot be written.
    pub read_only: bool,
    /// Network.
    pub network: Network,
    /// A small init stays process 1.
    pub init: bool,
    /// What the process may do.
    pub security: Security,
    /// What it may use.
    pub limits: LimitOptions,
    /// Namespaces, kernel parameters and limits of the process.
    pub surroundings: Surroundings,
    /// What is added to its files of names.
    pub names: Names,
    /// `NAME[=VALUE]`
    pub labels: Vec<String>,
    /// Seconds between the stop signal and the end.
    pub stop_timeout_secs: Option<u64>,
    /// Signal that asks it to end, instead of the image's.
    pub stop_signal: Option<String>,
    /// How much of its output is kept.
    pub log: LogLimits,
}

/// A container that is ready to be started, locked by this process.
#[derive(Debug)]
#[must_use = "a container that is never started stays as it is"]
pub struct Prepared {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) warnings: Vec<String>,
    pub(crate) directory: PathBuf,
    pub(crate) spec: LaunchSpec,
    pub(crate) lock: ContainerLock,
    pub(crate) claim: Option<IdClaim>,
}

/// Creates a container. Until [`Prepared`] is started, a signal that `interrupts` sees takes it back.
pub fn create(repo: &Repo, options: &RunOptions, interrupts: &Interrupts) -> Result<Prepared> {
    let _span = tracing::info_span!("create_container").entered();
    if options.interactive && options.terminal && !options.detach {
        // As Docker does: nobody could type, and the end of the input would never reach the process.
        let stdin = rustix::stdio::stdin();
        if !rustix::termios::isatty(stdin) {
            return Err(Error::Refused(
                "standard input is not a terminal; omit -t to use a pipe".into(),
            ));
        }
    }
    // Finding out what works here takes trial mounts at its first time: not while others wait.
    repo.views().driver()?;
    // One opening of the database for all that follows.
    let hold = repo.store().db().hold();
    let (parent, image) = find(repo, &options.image)?;
    let config = image
        .as_ref()
        .map(|image| image.config.container())
        .unwrap_or_default();
    let line = CommandLine::of(options.entrypoint.as_ref(), &options.command, &config);
    let words = line.words();
    if words.is_empty() {
        return Err(Error::Usage(format!(
            "image {} has no command; add one after the image name",
            options.image
        )));
    }
    let lock = std::cell::RefCell::new(None);
    let container = repo.containers().create(
        &NewContainer {
            name: options.name.as_deref(),
            parent: parent.as_ref(),
            image: image.as_ref().map(|i| i.row.id),
            image_name: &options.image,
            command: &words.iter().map(Text::lossy).collect::<Vec<_>>(),
        },
        // Before anybody sees it.
        &|directory| {
            let taken = ContainerLock::take(directory).map_err(std::io::Error::other)?;
            *lock.borrow_mut() = Some(taken);
            if let Some(id) = directory.file_name().and_then(|name| name.to_str()) {
                interrupts.created(id);
            }
            Ok(())
        },
    )?;
    let lock = lock.into_inner();
    let lock = lock.ok_or_else(|| Error::Refused("the container is not locked".into()));
    let making = Making {
        repo,
        options,
        config: &config,
        image: image.as_ref(),
        line: &line,
        container: &container,
        directory: repo.containers().dir(&container.id),
    };
    let prepared = lock.and_then(|lock| making.prepare(lock));
    drop(hold);
    match prepared {
        Ok(prepared) => Ok(prepared),
        Err(e) => {
            // The container never ran; the first error is the one to tell.
            let _ = repo.containers().remove(&container);
            Err(e)
        }
    }
}

/// The snapshot to start from, and the image if it is one.
fn find(repo: &Repo, name: &str) -> Result<(Option<SnapshotKey>, Option<Image>)> {
    match repo.images().find(name) {
        Ok(image) => return Ok((image.row.top.clone(), Some(image))),
        Err(cairn_repo::Error::NoImage(_)) => {}
        Err(e) => return Err(e.into()),
    }
    if let Ok(key) = name.parse::<SnapshotKey>()
        && repo.snapshots().stat(&key).is_ok()
    {
        return Ok((Some(key), None));
    }
    Err(Error::Refused(format!(
        "no image or snapshot named {name}; see \"cairn images\" and \"cairn snapshot ls\""
    )))
}
