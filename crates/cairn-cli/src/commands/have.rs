//! `have`, and files for machines that no network connects.

use std::fs::File;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context, Result};
use cairn_repo::{Have, Image, Missing, Repo, Transferred};
use cairn_trust::{FileKey, FileSigningKey};
use serde::Serialize;

use super::Env;
use crate::args;
use crate::output::{self, Usage, size};

/// Longest key file.
const KEY_BYTES_MAX: u64 = 64 << 10;

/// What was written.
#[derive(Serialize)]
struct TransferredLine {
    output: String,
    #[serde(flatten)]
    transferred: Transferred,
}

/// `cairn have`
pub fn have(env: &Env, args: &args::Have) -> Result<()> {
    let to_terminal = std::io::stdout().is_terminal();
    let is_stdout = args.output == Path::new("-");
    if is_stdout && to_terminal {
        let why = "the list is not for a terminal; name a file with --output, or redirect it";
        return Err(Usage(why.to_owned()).into());
    }
    let have = env.open()?.images().have()?;
    if is_stdout {
        return Ok(have.write(&mut std::io::stdout().lock())?);
    }
    let failed = || format!("cannot write {}", args.output.display());
    let mut file = File::create(&args.output).with_context(failed)?;
    have.write(&mut file).with_context(failed)?;
    file.sync_all().with_context(failed)
}

/// `cairn export --format cairn`
pub fn transfer(env: &Env, repo: &Repo, args: &args::Export, images: &[Image]) -> Result<()> {
    let since = args.since.iter().map(|image| repo.images().find(image));
    let missing = Missing {
        have: args
            .have
            .as_deref()
            .map_or_else(|| Ok(Have::default()), Have::read)?,
        since: since.collect::<Result<_, _>>()?,
    };
    for image in images {
        let count = repo.images().referrers(image)?.len();
        if count > 0 {
            output::say(&format!(
                "skipped {count} of what refers to {}: this form has no place for it",
                image.row.id
            ));
        }
    }
    let key = args.sign_key.as_deref().map(signing_key).transpose()?;
    let transferred = repo
        .images()
        .transfer(images, &args.output, &missing, key.as_ref())?;
    if args.output == Path::new("-") {
        return Ok(());
    }
    if env.json {
        let output = args.output.display().to_string();
        return Ok(output::report(&TransferredLine {
            output,
            transferred,
        })?);
    }
    writeln!(
        std::io::stdout(),
        "{}  {}\n  {} images; {} of {} blobs",
        args.output.display(),
        size(transferred.bytes),
        transferred.images,
        transferred.blobs_written,
        transferred.blobs
    )?;
    Ok(())
}

/// Fails where an option was given that only this format has.
pub fn refuse_options(args: &args::Export) -> Result<()> {
    let given = [
        ("--since", !args.since.is_empty()),
        ("--have", args.have.is_some()),
        ("--sign-key", args.sign_key.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(Usage(format!("{option} needs --format cairn")).into()),
        None => Ok(()),
    }
}

/// The public key in a file of minisign.
pub fn file_key(path: &Path) -> Result<FileKey> {
    FileKey::parse(&text(path)?).with_context(|| path.display().to_string())
}

fn signing_key(path: &Path) -> Result<FileSigningKey> {
    FileSigningKey::parse(&text(path)?).with_context(|| path.display().to_string())
}

/// The text of a key file.
pub fn text(path: &Path) -> Result<String> {
    let mut text = String::new();
    let failed = || format!("cannot read {}", path.display());
    let file = File::open(path).with_context(failed)?;
    file.take(KEY_BYTES_MAX)
        .read_to_string(&mut text)
        .with_context(failed)?;
    Ok(text)
}
