//! From a container back to an image.

use cairn_model::{Class, ImageRef};
use cairn_repo::{CommitOptions, Imported, Repo};
use cairn_runtime::State;
use serde_json::{Value, json};

use crate::config::CONFIG;
use crate::error::{Error, Result};

/// What the image is to be.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// Its name.
    pub name: Option<ImageRef>,
    /// Who made it.
    pub author: String,
    /// A remark for the history.
    pub message: String,
}

/// What a commit made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Committed {
    /// The image.
    pub image: Imported,
    /// Why it has not the history of the image that the container was made of, if so.
    pub without: Option<String>,
}

/// Makes an image of a container: what it changed, on top of what it was made of, with the configuration it
/// was run with, `changed` by the caller. One that runs is held still meanwhile, by its monitor, which lets it
/// go when this is done or ends however it may: a database that is being written is copied whole or not at
/// all.
pub fn commit(
    repo: &Repo,
    name: &str,
    options: Commit,
    changed: impl FnOnce(Value) -> Result<Value>,
) -> Result<Committed> {
    let _span = tracing::info_span!("commit_container").entered();
    let container = repo.containers().find(name)?;
    let directory = repo.containers().dir(&container.id);
    let image = container
        .image
        .map(|id| repo.images().find(&id.to_string()));
    // The container has a configuration of its own, and layers know their digests: without the image's
    // document only its history is lost, and what the container changed is not.
    let (base, without) = match image.transpose() {
        Ok(image) => (image.map(|image| image.config), None),
        Err(e) if is_lost(&e) => (None, Some(cairn_model::one_line(&e))),
        Err(e) => return Err(e.into()),
    };
    // Its own, as it was created; before it is frozen, for it may be wrong.
    let own = std::fs::read(directory.join(CONFIG)).ok();
    let own = own.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let of_image = || {
        base.as_ref()
            .and_then(|config| config.value().get("config"))
    };
    let config = own
        .or_else(|| of_image().cloned())
        .filter(Value::is_object)
        .unwrap_or_else(|| json!({}));
    let config = changed(config)?;
    let state = State::load(&directory);
    if state.is_busy() && !state.is_running() {
        return Err(Error::Refused(format!(
            "container {name} is starting or exiting; try again"
        )));
    }
    let frozen = match state.is_running() {
        true => Some(cairn_runtime::freeze(&directory).map_err(refused)?),
        false => None,
    };
    let options = CommitOptions {
        name: options.name,
        author: options.author,
        message: options.message,
        created_by: container.command.join(" "),
        config: Some(config),
    };
    let done = repo
        .images()
        .commit(&container.snapshot, base.as_ref(), &options)?;
    drop(frozen);
    crate::events::event(&container, "commit")
        .with("image", done.id)
        .write(repo.root());
    Ok(Committed {
        image: done,
        without,
    })
}

/// True where it is the image's document that cannot be had, and trying again changes nothing.
fn is_lost(error: &cairn_repo::Error) -> bool {
    matches!(error.class(), Class::Corrupt | Class::NotFound)
}

/// What the monitor says is of the container's state, not of the command line.
fn refused(error: cairn_runtime::Error) -> Error {
    match error {
        cairn_runtime::Error::Invalid(why) => Error::Refused(why),
        error => error.into(),
    }
}
