//! Arguments of commands that make images of containers.

use cairn_model::ImageRef;
use clap::Args;

/// Arguments of `commit`.
#[derive(Debug, Args)]
pub struct Commit {
    /// Container; if it is running, it is paused during the commit
    pub container: String,
    /// Name of the new image
    pub name: Option<ImageRef>,
    /// Author, for example "Ann <ann@example.org>"
    #[arg(short, long)]
    pub author: Option<String>,
    /// Message for the image's history
    #[arg(short, long)]
    pub message: Option<String>,
    /// Apply a Dockerfile instruction to the image's configuration: CMD, ENTRYPOINT, ENV, EXPOSE,
    /// HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME or WORKDIR
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub change: Vec<String>,
}
