//! `cairn stats --by`, `--show` and `--html`: what is stored, seen from all sides.

use std::collections::BTreeMap;

use anyhow::Result;
use cairn_repo::{Ask, Breakdown, By, Details, Repo};

use super::Env;
use crate::args::{self, Show, ViewBy};
use crate::output::{self, Table, size};
use crate::page;

/// Rows that are shown where nobody says how many.
const ROWS: usize = 30;
/// Files of which the page knows each one; a page of so many has a megabyte when it is compressed.
const PAGE_FILES: usize = 80_000;

/// A view, or the page of all of them.
pub fn view(env: &Env, repo: &Repo, args: &args::Stats) -> Result<()> {
    if let Some(file) = &args.html {
        let details = repo.details(PAGE_FILES)?;
        return page::write(&details, &repo.growth(), file);
    }
    let top = match args.top {
        Some(0) => usize::MAX,
        top => top.unwrap_or(ROWS),
    };
    match args.show {
        Some(show) => shown(env, repo, show, top),
        None => divided(env, repo, args, top),
    }
}

fn divided(env: &Env, repo: &Repo, args: &args::Stats, top: usize) -> Result<()> {
    let by = args.by.unwrap_or(ViewBy::Image);
    let mut ask = Ask::new(match by {
        ViewBy::Image => By::Image,
        ViewBy::Layer => By::Layer,
        ViewBy::Snapshot => By::Snapshot,
        ViewBy::Head => By::Head,
        ViewBy::Path => By::Path,
        ViewBy::File => By::File,
        ViewBy::Type => By::Type,
        ViewBy::Package => By::Package,
        ViewBy::Time => By::Day,
    });
    ask.image = args.image.clone();
    ask.depth = args.depth;
    ask.since = args.since;
    let mut view = repo.breakdown(&ask)?;
    if by == ViewBy::Time {
        view.rows.sort_by(|a, b| a.name.cmp(&b.name));
    }
    if !env.json || args.top.is_some() {
        view.shorten(top);
    }
    for note in &view.notes {
        output::say(note);
    }
    match env.json {
        true => Ok(output::report(&view)?),
        false => print(title(by), &view),
    }
}

fn title(by: ViewBy) -> &'static str {
    match by {
        ViewBy::Image => "IMAGE",
        ViewBy::Layer => "LAYER",
        ViewBy::Snapshot => "SNAPSHOT",
        ViewBy::Head => "HEAD",
        ViewBy::Path => "PATH",
        ViewBy::File => "FILE",
        ViewBy::Type => "TYPE",
        ViewBy::Package => "PACKAGE",
        ViewBy::Time => "DAY",
    }
}

fn print(title: &'static str, view: &Breakdown) -> Result<()> {
    let mut table = Table::new(&[title, ">CONTENT", ">UNIQUE", ">STORED", ">ONLY HERE"]);
    for row in &view.rows {
        let f = &row.figures;
        let cells = [
            f.content_bytes,
            f.unique_bytes,
            f.stored_bytes,
            f.exclusive_bytes,
        ];
        table.row(named_sizes(&row.name, cells));
    }
    let dash = || "-".to_owned();
    let several = size(view.several_rows_bytes);
    table.row(vec![
        "(in several rows)".to_owned(),
        dash(),
        dash(),
        dash(),
        several,
    ]);
    let t = &view.total;
    let cells = [
        t.content_bytes,
        t.unique_bytes,
        t.stored_bytes,
        t.stored_bytes,
    ];
    table.row(named_sizes("total", cells));
    Ok(table.print()?)
}

/// Cells of a row: a name and sizes.
pub fn named_sizes(name: &str, bytes: [u64; 4]) -> Vec<String> {
    let name = std::iter::once(name.to_owned());
    name.chain(bytes.map(size)).collect()
}

fn shown(env: &Env, repo: &Repo, show: Show, top: usize) -> Result<()> {
    if show == Show::Growth {
        return growth(env, repo, top);
    }
    let details = repo.details(0)?;
    match show {
        Show::Waste => waste(env, &details, top),
        Show::Sharing => sharing(env, &details, top),
        _ => histograms(env, &details),
    }
}

fn growth(env: &Env, repo: &Repo, top: usize) -> Result<()> {
    let rows = repo.growth();
    if env.json {
        return Ok(output::report(&rows)?);
    }
    let mut table = Table::new(&[
        "TIME", "AFTER", ">IMAGES", ">LAYERS", ">CONTENT", ">BLOBS", ">PACKS",
    ]);
    for row in rows.iter().skip(rows.len().saturating_sub(top)) {
        table.row(vec![
            row.time.clone(),
            row.action.clone(),
            row.images.to_string(),
            row.layers.to_string(),
            size(row.content_bytes),
            row.blobs.to_string(),
            size(row.packs_bytes),
        ]);
    }
    Ok(table.print()?)
}

/// What each image carries in vain, and where.
fn waste(env: &Env, details: &Details, top: usize) -> Result<()> {
    if env.json {
        let named = details.images.iter().zip(&details.stats.images);
        let rows: Vec<_> = named
            .map(|(image, share)| serde_json::json!({ "image": share.name, "waste": image.waste }))
            .collect();
        return Ok(output::report(&rows)?);
    }
    let mut table = Table::new(&["IMAGE", ">CONTENT", ">SEEN", ">WASTED", ">EFFICIENCY"]);
    for (image, share) in details.images.iter().zip(&details.stats.images).take(top) {
        let waste = &image.waste;
        table.row(vec![
            share.name.clone(),
            size(waste.content_bytes),
            size(waste.visible_bytes),
            size(waste.content_bytes - waste.visible_bytes),
            format!("{:.1} %", waste.efficiency() * 100.0),
        ]);
    }
    table.print()?;
    println!();
    wasted_paths(details, top)
}

/// Paths that images carry in vain; images that share a layer share these.
fn wasted_paths(details: &Details, top: usize) -> Result<()> {
    let mut paths: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
    for path in details.images.iter().flat_map(|image| &image.waste.paths) {
        let (images, layers, bytes) = paths.entry(&path.path).or_default();
        *images += 1;
        *layers = path.layers.max(*layers);
        *bytes = path.bytes.max(*bytes);
    }
    let mut paths: Vec<_> = paths.into_iter().collect();
    paths.sort_by_key(|(_, (_, _, bytes))| std::cmp::Reverse(*bytes));
    let mut table = Table::new(&["WASTED PATH", ">IMAGES", ">LAYERS", ">IN EACH"]);
    for (path, (images, layers, bytes)) in paths.into_iter().take(top) {
        table.row(vec![
            path.to_owned(),
            images.to_string(),
            layers.to_string(),
            size(bytes),
        ]);
    }
    Ok(table.print()?)
}

fn sharing(env: &Env, details: &Details, top: usize) -> Result<()> {
    let name = |at: usize| details.stats.layers[at].name.clone();
    if env.json {
        let pair = |pair: &cairn_repo::Pair| serde_json::json!({ "a": name(pair.a), "b": name(pair.b), "bytes": pair.bytes });
        let rows: Vec<_> = details.pairs.iter().map(pair).collect();
        return Ok(output::report(&rows)?);
    }
    let mut table = Table::new(&["LAYER", "AND LAYER", ">IN COMMON"]);
    for pair in details.pairs.iter().take(top) {
        table.row(vec![name(pair.a), name(pair.b), size(pair.bytes)]);
    }
    Ok(table.print()?)
}

fn histograms(env: &Env, details: &Details) -> Result<()> {
    if env.json {
        return Ok(output::report(&serde_json::json!({
            "chunk_sizes": details.chunk_sizes,
            "file_sizes": details.file_sizes,
            "references": details.references,
        }))?);
    }
    let kinds = [
        ("CHUNKS FROM", &details.chunk_sizes, true),
        ("FILES FROM", &details.file_sizes, true),
        ("REFERENCES FROM", &details.references, false),
    ];
    for (title, bars, is_bytes) in kinds {
        let mut table = Table::new(&[title, ">COUNT", ">BYTES"]);
        for bar in bars {
            let from = match is_bytes {
                true => size(bar.from),
                false => bar.from.to_string(),
            };
            table.row(vec![from, bar.count.to_string(), size(bar.bytes)]);
        }
        table.print()?;
        println!();
    }
    Ok(())
}
