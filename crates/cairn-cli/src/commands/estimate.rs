//! `estimate` and `import --dry-run`: what would be new, and which files cause it.

use std::path::Path;

use anyhow::Result;
use cairn_image::Platform;
use cairn_model::{Class, path_display};
use cairn_repo::{Estimate, ImportOptions, Options, Repo};

use super::Env;
use super::registry::Registry;
use crate::args::{self, Wire};
use crate::output::{self, Table, size};
use crate::progress::Bar;
use crate::report::image::names;

/// The repository that content is compared with. Where there is none, nothing is there: an empty one that goes again.
fn repository(env: &Env, options: Options) -> Result<(Repo, Option<tempfile::TempDir>)> {
    match Repo::open(&env.root, options.clone()) {
        Err(e) if e.class() == Class::NotFound => {
            let place = tempfile::tempdir()?;
            let repo = Repo::open_or_create(&place.path().join("empty"), options)?;
            Ok((repo, Some(place)))
        }
        opened => Ok((opened?, None)),
    }
}

/// `cairn estimate`
pub fn estimate(env: &Env, args: &args::Estimate) -> Result<()> {
    let source = Path::new(&args.source);
    let written = args.source == "-" || args.source.starts_with(['/', '.']);
    let settings = env.settings()?;
    let open = env.options_by(&settings);
    let platform = args.platform.clone().or(settings.platform.clone());
    let platform = platform.unwrap_or_else(Platform::host);
    if written || source.exists() {
        let options = ImportOptions {
            name: None,
            platform,
            read_all: false,
            verify_key: None,
        };
        return of_source(env, open, source, &options, args.files);
    }
    let (repo, _place) = repository(env, open)?;
    let registry = Registry::of(env, &settings, &Wire::default())?.for_platform(&platform);
    let estimate = registry.estimate(&repo, &args.source)?;
    tell(env, &estimate)
}

/// `cairn import --dry-run`
pub fn of_source(
    env: &Env,
    open: Options,
    source: &Path,
    options: &ImportOptions,
    files_max: usize,
) -> Result<()> {
    let (repo, _place) = repository(env, open)?;
    let bar = Bar::new("reading");
    env.watch.report_to(bar.clone());
    let estimate = repo.images().estimate(source, options, files_max)?;
    drop(bar);
    tell(env, &estimate)
}

fn tell(env: &Env, estimate: &Estimate) -> Result<()> {
    if env.json {
        return Ok(output::report(estimate)?);
    }
    for image in &estimate.images {
        let named = names(&image.names).join(", ");
        let id = image.id.map(|id| id.to_string()).unwrap_or_default();
        let name = if named.is_empty() {
            "(no name)"
        } else {
            &named
        };
        println!("{}", format!("{name}  {id}").trim_end());
        println!(
            "  {} layers, {} already present",
            image.layers, image.layers_present
        );
    }
    print_sums(estimate);
    print_layers(estimate)?;
    print_files(estimate)
}

fn print_sums(estimate: &Estimate) {
    match (
        estimate.bytes_new,
        estimate.bytes_stored,
        estimate.disk_bytes,
    ) {
        (Some(new), Some(stored), Some(disk)) => println!(
            "would read {}; new {}, stored as {}, on disk {}",
            size(estimate.source_bytes),
            size(new),
            size(stored),
            size(disk)
        ),
        _ => println!(
            "would fetch {}; what of it is new is known when it is here",
            size(estimate.source_bytes)
        ),
    }
}

fn print_layers(estimate: &Estimate) -> Result<()> {
    let known = estimate.bytes_new.is_some();
    let columns: &[&str] = match known {
        true => &["LAYER", "PRESENT", ">SIZE THERE", ">NEW", ">STORED"],
        false => &["LAYER", "PRESENT", ">SIZE THERE"],
    };
    let mut table = Table::new(columns);
    for layer in &estimate.layers {
        let diff_id = layer.diff_id.map(|id| id.short());
        let id = diff_id.or_else(|| layer.id.map(|id| id.short()));
        let id = id.unwrap_or_else(|| "?".to_owned());
        let present = if layer.present { "yes" } else { "no" };
        let mut cells = vec![id, present.to_owned(), size(layer.source_bytes)];
        if known {
            cells.extend([size(layer.bytes_new), size(layer.bytes_stored)]);
        }
        table.row(cells);
    }
    Ok(table.print()?)
}

fn print_files(estimate: &Estimate) -> Result<()> {
    if estimate.files.is_empty() {
        return Ok(());
    }
    println!();
    let mut table = Table::new(&[">NEW", ">STORED", "FILE"]);
    for file in &estimate.files {
        let path = format!("/{}", path_display(&file.path).trim_start_matches('/'));
        table.row(vec![size(file.bytes_new), size(file.bytes_stored), path]);
    }
    table.print()?;
    let more = estimate
        .files_new
        .saturating_sub(estimate.files.len() as u64);
    if more > 0 {
        println!("and {more} files more");
    }
    Ok(())
}
