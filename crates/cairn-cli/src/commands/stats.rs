//! `cairn stats`.

use anyhow::Result;
use cairn_repo::{Repo, Share, Stats, WhatIf};

use super::{Env, views};
use crate::output::{self, Table, size};
use crate::report::metrics;
use crate::{args, browse};

/// Less than this that is unreferenced is not worth a word.
const DEAD_BYTES_NOTED: u64 = 10_000_000;

/// `cairn stats`
pub fn stats(env: &Env, args: &args::Stats) -> Result<()> {
    if !args.containers.is_empty() {
        return super::usage::usage(env, &args.containers, args.no_stream);
    }
    if args.interactive {
        return browse::browse(env);
    }
    let repo = env.open()?;
    if args.by.is_some() || args.show.is_some() || args.html.is_some() {
        return views::view(env, &repo, args);
    }
    if !args.what_if_removed.is_empty() {
        return what_if(env, &repo.what_if_removed(&args.what_if_removed)?);
    }
    let s = match args.recount {
        true => repo.recount()?,
        false => repo.stats()?,
    };
    if let Some(file) = &args.metrics {
        metrics::write(&repo, file)?;
    }
    super::images::note_damaged(&repo.images().list()?);
    if let Some(why) = repo.gc().behind() {
        output::say(&format!(
            "garbage collection falls behind: {why}; run \"cairn gc\""
        ));
    }
    if env.json {
        return Ok(output::report(&s)?);
    }
    print_lines(&s);
    print_last_job(&repo, &s);
    print_shares("IMAGE", &s.images)?;
    print_shares("LAYER", &s.layers)
}

fn what_if(env: &Env, answer: &WhatIf) -> Result<()> {
    if env.json {
        return Ok(output::report(answer)?);
    }
    for refused in &answer.refused {
        output::say(&format!(
            "{} cannot be removed: {}",
            refused.image, refused.why
        ));
    }
    let count = answer.images.len() - answer.refused.len();
    println!(
        "removing {count} images with {} layers that nothing else needs, and then gc, would free {}",
        answer.layers,
        size(answer.freed_bytes)
    );
    if answer.freed_by_all_bytes > answer.freed_bytes {
        println!(
            "\"cairn gc --all\", which rewrites packs with little dead data too, would free {}",
            size(answer.freed_by_all_bytes)
        );
    }
    if answer.freed_anyway_bytes > 0 {
        println!(
            "{} of it gc would free now",
            size(answer.freed_anyway_bytes)
        );
    }
    Ok(())
}

/// From what users think they have down to what the disk says.
fn print_lines(s: &Stats) {
    let line =
        |sign: &str, name: &str, bytes: u64| println!("{sign} {name:<44} {:>10}", size(bytes));
    line(" ", "content of all images and snapshots", s.logical);
    line("-", "holes of sparse files", s.logical_holes);
    line(
        "-",
        "identical files inside an image",
        s.same_files_in_image,
    );
    line(
        "-",
        "identical files of several images",
        s.same_files_between_images,
    );
    line("-", "identical chunks of different files", s.same_chunks);
    line("=", "content, each piece once", s.unique);
    line("-", "saved by compression", s.compression);
    if s.framing > 0 {
        line("+", "frames around what is not shorter", s.framing);
    }
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
    line("+", "volumes", s.volumes);
    line("+", "containers, leases, unfinished imports", s.other);
    line("+", "file system overhead", s.rounding);
    line("=", "disk usage, as reported by du", s.disk);
    println!(
        "\n{} blobs in {} packs; content takes {:.1} times its stored size",
        s.blobs,
        s.packs,
        s.ratio()
    );
    if s.views > 0 {
        println!(
            "{} views in the cache take {}, {} objects {}",
            s.views,
            size(s.views_bytes),
            s.objects,
            size(s.objects_bytes)
        );
    }
    if s.base_root.is_some() {
        println!(
            "{} more blobs are read from the base: {} of content, {} of manifests, framing and documents",
            s.base_blobs,
            size(s.base_content),
            size(s.base_metadata)
        );
    }
}

/// When the last collection was, and whether it is time for one.
fn print_last_job(repo: &Repo, s: &Stats) {
    match repo.last_job() {
        None => println!("gc has not run here yet"),
        Some(last) => println!(
            "gc ran {} and freed {}",
            output::ago(last.ended_secs),
            size(last.freed_bytes)
        ),
    }
    let packs = s.stored_content + s.stored_metadata + s.dead;
    if s.dead > DEAD_BYTES_NOTED && s.dead > packs / 4 {
        output::say(&format!(
            "{} of {} in packs are unreferenced; run \"cairn gc\"",
            size(s.dead),
            size(packs)
        ));
    }
}

/// What each takes, and what its removal would free.
fn print_shares(title: &'static str, shares: &[Share]) -> Result<()> {
    if shares.is_empty() {
        return Ok(());
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
        table.row(views::named_sizes(&share.name, cells));
    }
    Ok(table.print()?)
}
