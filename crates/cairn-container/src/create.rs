//! Creation: from an image and what the user wants to a container whose launch is written down.

use cairn_model::SnapshotKey;
use cairn_repo::{Image, NewContainer, Repo};
use cairn_runtime::{ContainerLock, Text};
use cairn_snapshot::Snapshotter;

use crate::command::CommandLine;
use crate::error::{Error, Result};
use crate::interrupt::Interrupts;
use crate::options::RunOptions;
use crate::prepare::{Making, Prepared};

/// Creates a container. Until [`Prepared`] is started, a signal that `interrupts` sees takes it back.
pub fn create(repo: &Repo, options: &RunOptions, interrupts: &Interrupts) -> Result<Prepared> {
    let _span = tracing::info_span!("create_container").entered();
    refuse_pipe(options)?;
    // Finding out what works here takes trial mounts at its first time: not while others wait.
    repo.views().driver()?;
    // One opening of the database for all that follows.
    let hold = repo.store().db().hold();
    let options = RunOptions {
        network: crate::network::resolve(repo, &options.network)?,
        ..options.clone()
    };
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
    let (container, plan) = repo.containers().create(
        &NewContainer {
            name: options.name.as_deref(),
            parent: parent.as_ref(),
            image: image.as_ref().map(|i| i.row.id),
            image_name: &options.image,
            command: &words.iter().map(Text::lossy).collect::<Vec<_>>(),
            passing: options.remove,
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
        options: &options,
        config: &config,
        image: image.as_ref(),
        line: &line,
        container: &container,
        directory: repo.containers().dir(&container.id),
    };
    let prepared = lock.and_then(|lock| making.prepare(lock, plan));
    drop(hold);
    match prepared {
        Ok(prepared) => {
            cairn_runtime::note_name(&prepared.directory, &prepared.name);
            crate::events::event(&container, "create")
                .with("image", &options.image)
                .write(repo.root());
            Ok(prepared)
        }
        Err(e) => {
            // The container never ran; the first error is the one to tell.
            let _ = crate::stop::remove_whole(repo, &container, true);
            Err(e)
        }
    }
}

/// Refuses a terminal whose input is a pipe, as Docker does: nobody could type, and the end of the input would
/// never reach the process.
fn refuse_pipe(options: &RunOptions) -> Result<()> {
    if options.interactive && options.terminal && !options.detach {
        let stdin = rustix::stdio::stdin();
        if !rustix::termios::isatty(stdin) {
            return Err(Error::Refused(
                "standard input is not a terminal; omit -t to use a pipe".into(),
            ));
        }
    }
    Ok(())
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
    Err(Error::NoImage(name.to_owned()))
}
