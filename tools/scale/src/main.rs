//! Fills a store with millions of tiny blobs and prints what opening, looking up and publishing cost at
//! each size: `cargo run --release -p cairn-scale -- DIR [MILLIONS…]`, DIR being new or empty.
//!
//! Each measurement runs in a process of its own, so that its peak memory is that of a command that
//! meets a store of this size.

#![forbid(unsafe_code)]

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use cairn_model::BlobId;
use cairn_store::{Disk, Error, Store};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Blobs of one publication while filling.
const BATCH: u64 = 250_000;
/// Blobs of one publication that is timed.
const SMALL: u64 = 100;
const PUBLICATIONS: usize = 40;
const LOOKUPS: u64 = 1_000_000;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match &args[..] {
        [verb, root, from, to] if verb == "fill" => fill(root, from, to),
        [verb, root, n] if verb == "probe" => {
            n.parse().map_err(Into::into).and_then(|n| probe(root, n))
        }
        [root, sizes @ ..] => series(root, sizes),
        [] => Err("usage: cairn-scale DIR [MILLIONS…]".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("cairn-scale: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Fills to each size in turn, each step and each measurement in a process of its own.
fn series(root: &str, sizes: &[String]) -> Result<()> {
    let sizes: Vec<u64> = if sizes.is_empty() {
        vec![1, 3, 10]
    } else {
        sizes
            .iter()
            .map(|s| s.parse())
            .collect::<std::result::Result<_, _>>()?
    };
    Store::create(Path::new(root), Disk::default())?;
    println!(
        "{:>9} {:>9} {:>8} {:>9} {:>9} {:>11} {:>11} {:>11} {:>9}",
        "blobs",
        "fill s",
        "fill MB",
        "open ms",
        "hit us",
        "miss us",
        "publish ms",
        "(max) ms",
        "peak MB"
    );
    let mut from = "0".to_owned();
    for millions in sizes {
        let to = (millions * 1_000_000).to_string();
        for args in [&["fill", root, &from, &to][..], &["probe", root, &to]] {
            let status = Command::new(std::env::current_exe()?).args(args).status()?;
            if !status.success() {
                return Err(format!("\"{}\" failed", args.join(" ")).into());
            }
        }
        from = to;
    }
    Ok(())
}

fn content(i: u64) -> [u8; 12] {
    let mut out = *b"blob........";
    out[4..].copy_from_slice(&i.to_le_bytes());
    out
}

fn store_range(store: &Store, range: std::ops::Range<u64>) -> Result<()> {
    let ingest = store.ingest()?;
    let mut feeder = ingest.feeder();
    for i in range {
        feeder.put(&content(i))?;
    }
    feeder.ids()?;
    drop(feeder);
    store.publish::<_, Error>(ingest.finish()?, |_| Ok(()))?;
    Ok(())
}

fn fill(root: &str, from: &str, to: &str) -> Result<()> {
    let (from, to): (u64, u64) = (from.parse()?, to.parse()?);
    let start = Instant::now();
    let store = Store::open(Path::new(root), Disk::default(), None)?;
    for at in (from..to).step_by(BATCH as usize) {
        store_range(&store, at..(at + BATCH).min(to))?;
    }
    let spent = start.elapsed().as_secs_f64();
    print!("{to:>9} {spent:>9.1} {:>8}", peak_mb()?);
    Ok(())
}

fn probe(root: &str, blobs: u64) -> Result<()> {
    let start = Instant::now();
    let store = Store::open(Path::new(root), Disk::default(), None)?;
    let open = start.elapsed();
    let hit = lookups(&store, 0, blobs, true)?;
    let miss = lookups(&store, 1 << 40, blobs, false)?;
    let mut publish: Vec<Duration> = Vec::new();
    let base = 1_u64 << 41 | blobs;
    for i in 0..PUBLICATIONS as u64 {
        let start = Instant::now();
        store_range(&store, base + i * SMALL..base + (i + 1) * SMALL)?;
        publish.push(start.elapsed());
    }
    publish.sort_unstable();
    println!(
        " {:>9.2} {:>9.3} {:>11.3} {:>11.2} {:>11.2} {:>9}",
        open.as_secs_f64() * 1e3,
        hit,
        miss,
        publish[PUBLICATIONS / 2].as_secs_f64() * 1e3,
        publish[PUBLICATIONS - 1].as_secs_f64() * 1e3,
        peak_mb()?
    );
    Ok(())
}

/// Microseconds of one lookup, the mean of many at random places; hashing is not counted.
fn lookups(store: &Store, base: u64, blobs: u64, there: bool) -> Result<f64> {
    let index = store.index();
    let mut state = 88_172_645_463_325_252_u64;
    let mut spent = Duration::ZERO;
    // One round to warm the page cache, one that counts.
    for _ in 0..2 {
        spent = Duration::ZERO;
        for _ in 0..LOOKUPS / 1000 {
            let ids: Vec<BlobId> = (0..1000)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    BlobId::of(&content(base + state % blobs))
                })
                .collect();
            let start = Instant::now();
            for id in &ids {
                if index.find(id)?.is_some() != there {
                    return Err(format!("blob {id} should be there: {there}").into());
                }
            }
            spent += start.elapsed();
        }
    }
    Ok(spent.as_secs_f64() * 1e6 / LOOKUPS as f64)
}

/// Largest resident set of this process so far, megabytes (`VmHWM`).
fn peak_mb() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kib.ok_or("no VmHWM in /proc/self/status")?.parse::<u64>()? / 1000)
}
