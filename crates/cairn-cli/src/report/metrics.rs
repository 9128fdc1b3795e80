//! Figures of a repository for Prometheus, in the text form of its node exporter.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use cairn_repo::{Repo, Stats};

/// Writes all figures to a file, which is replaced at once: a reader never sees half of it.
pub fn write(repo: &Repo, file: &Path) -> Result<()> {
    let text = text(repo)?;
    let mut new = file.as_os_str().to_owned();
    new.push(format!(".{}.new", std::process::id()));
    let written = std::fs::write(&new, text)
        .and_then(|()| std::fs::set_permissions(&new, PermissionsExt::from_mode(0o644)))
        .and_then(|()| std::fs::rename(&new, file));
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    written.with_context(|| format!("write {}", file.display()))
}

fn text(repo: &Repo) -> Result<String> {
    let stats = repo.stats()?;
    let mut out = String::new();
    let help = "Bytes on disk, by what they are.";
    family(&mut out, "cairn_disk_bytes", help, &disk(&stats));
    let images = stats.images.len() as u64;
    let snapshots = stats.snapshots.len() as u64;
    let help = "File content of all images and snapshots, each as if it were alone.";
    one(&mut out, "cairn_logical_bytes", help, stats.logical);
    let help = "File content, each piece once.";
    one(&mut out, "cairn_unique_bytes", help, stats.unique);
    one(
        &mut out,
        "cairn_blobs",
        "Blobs that are needed.",
        stats.blobs,
    );
    one(&mut out, "cairn_packs", "Pack files.", stats.packs);
    one(&mut out, "cairn_images", "Images that can be read.", images);
    one(
        &mut out,
        "cairn_snapshots",
        "Committed snapshots.",
        snapshots,
    );
    let Some(last) = repo.last_job() else {
        return Ok(out);
    };
    let ended = u64::try_from(last.ended_secs).unwrap_or(0);
    let help = "When the last gc ended.";
    one(&mut out, "cairn_gc_last_run_timestamp_seconds", help, ended);
    let help = "Bytes that the last gc freed.";
    one(
        &mut out,
        "cairn_gc_last_freed_bytes",
        help,
        last.freed_bytes,
    );
    let help = "Image names that the last gc removed.";
    one(
        &mut out,
        "cairn_gc_last_removed_images",
        help,
        last.removed_images,
    );
    let help = "1 if the last gc came to its end, 0 if its time ran out or it failed.";
    one(
        &mut out,
        "cairn_gc_last_complete",
        help,
        u64::from(last.complete),
    );
    Ok(out)
}

/// The parts that add up to what `du` says.
fn disk(stats: &Stats) -> [(&'static str, u64); 11] {
    [
        ("content", stats.stored_content),
        ("metadata", stats.stored_metadata),
        ("dead", stats.dead),
        ("pack_overhead", stats.pack_overhead),
        ("index", stats.index),
        ("database", stats.database),
        ("cache", stats.cache),
        ("heads", stats.heads),
        ("volumes", stats.volumes),
        ("other", stats.other),
        ("rounding", stats.rounding),
    ]
}

fn one(out: &mut String, name: &str, help: &str, value: u64) {
    head(out, name, help);
    let _ = writeln!(out, "{name} {value}");
}

fn family(out: &mut String, name: &str, help: &str, parts: &[(&str, u64)]) {
    head(out, name, help);
    for (part, value) in parts {
        let _ = writeln!(out, "{name}{{part=\"{part}\"}} {value}");
    }
}

fn head(out: &mut String, name: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
}
