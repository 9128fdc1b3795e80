//! `cairn stats`.

use anyhow::Result;
use cairn_repo::{Share, Stats};
use serde_json::{Value, json};

use super::Env;
use crate::output::{self, Table, size};

/// `cairn stats`
pub fn stats(env: &Env) -> Result<()> {
    let repo = env.open()?;
    let s = repo.stats()?;
    super::images::note_damaged(&repo.images().list()?);
    if env.json {
        return Ok(output::json(&stats_json(&s))?);
    }
    let line =
        |sign: &str, name: &str, bytes: u64| println!("{sign} {name:<44} {:>10}", size(bytes));
    line(" ", "content of all images and snapshots", s.logical);
    line("-", "shared, whole layers", s.shared_layers);
    line("-", "holes of sparse files", s.holes);
    line("-", "shared: within a layer", s.shared_within);
    line("-", "shared: between layers", s.shared_between);
    line("=", "content, each piece once", s.unique);
    line("-", "saved by compression", s.compression);
    if let Some(base) = &s.base_root {
        line(
            "-",
            &format!("in the base {}", base.display()),
            s.base_content,
        );
    }
    line("=", "content as stored", s.stored_content);
    line("+", "manifests, tar framing, documents", s.stored_metadata);
    line("+", "dead, not yet collected", s.dead);
    line("+", "headers and directories of packs", s.pack_overhead);
    line("+", "index", s.index);
    line("+", "database and journal", s.database);
    line("+", "cache: views and objects", s.cache);
    line("+", "changes of writable snapshots", s.heads);
    line("+", "containers, leases, unfinished imports", s.other);
    line("+", "file system overhead", s.rounding);
    line("=", "disk usage, as reported by du", s.disk);
    println!(
        "\n{} blobs in {} packs; content takes {:.1} times its stored size",
        s.blobs,
        s.packs,
        s.ratio()
    );
    if s.base_root.is_some() {
        println!(
            "{} more blobs are read from the base: {} of content, {} of manifests, framing and documents",
            s.base_blobs,
            size(s.base_content),
            size(s.base_metadata)
        );
    }
    for (title, shares) in [("IMAGE", &s.images), ("LAYER", &s.layers)] {
        if shares.is_empty() {
            continue;
        }
        println!();
        let mut table = Table::new(&[
            title,
            ">CONTENT",
            ">EXCLUSIVE",
            ">SHARED",
            ">FREED IF REMOVED",
        ]);
        for share in shares {
            let cells = [
                share.content_bytes,
                share.exclusive_bytes,
                share.shared_bytes,
                share.freed_bytes,
            ];
            table.row(
                std::iter::once(share.name.clone())
                    .chain(cells.map(size))
                    .collect(),
            );
        }
        table.print()?;
    }
    Ok(())
}

fn shares_json(shares: &[Share]) -> Value {
    let share = |s: &Share| {
        json!({"name": s.name, "content_bytes": s.content_bytes, "exclusive_bytes": s.exclusive_bytes,
               "shared_bytes": s.shared_bytes, "freed_if_removed_bytes": s.freed_bytes})
    };
    shares.iter().map(share).collect()
}

fn stats_json(s: &Stats) -> Value {
    json!({
        "logical_bytes": s.logical,
        "shared_layers_bytes": s.shared_layers,
        "holes_bytes": s.holes,
        "shared_within_bytes": s.shared_within,
        "shared_between_bytes": s.shared_between,
        "unique_bytes": s.unique,
        "compression_saved_bytes": s.compression,
        "base_root": s.base_root.as_ref().map(|base| base.display().to_string()),
        "base_content_bytes": s.base_content,
        "base_metadata_bytes": s.base_metadata,
        "base_blobs": s.base_blobs,
        "stored_content_bytes": s.stored_content,
        "stored_metadata_bytes": s.stored_metadata,
        "dead_bytes": s.dead,
        "pack_overhead_bytes": s.pack_overhead,
        "index_bytes": s.index,
        "database_bytes": s.database,
        "cache_bytes": s.cache,
        "heads_bytes": s.heads,
        "other_bytes": s.other,
        "rounding_bytes": s.rounding,
        "disk_bytes": s.disk,
        "blobs": s.blobs,
        "packs": s.packs,
        "images": shares_json(&s.images),
        "layers": shares_json(&s.layers),
        "snapshots": shares_json(&s.snapshots),
    })
}
