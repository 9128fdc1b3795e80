//! `why`, `orphans`.

use anyhow::Result;
use cairn_repo::{Step, Why};

use super::Env;
use super::listing::Listing;
use crate::args;
use crate::output::{self, Table, size};

/// Ways that are printed; JSON has them all.
const WAYS_SHOWN: usize = 20;
/// Steps of one way that are printed: its beginning and its end.
const STEPS_SHOWN: usize = 6;

/// `cairn why`
pub fn why(env: &Env, object: &str) -> Result<()> {
    let found = env.open()?.why(object)?;
    if env.json {
        return Ok(output::report(&found)?);
    }
    found.iter().for_each(print);
    Ok(())
}

fn print(why: &Why) {
    let object = words(&why.object);
    match &why.ways[..] {
        [] => return println!("{object} is needed by nothing; \"cairn gc\" deletes it"),
        [way] if way.is_empty() => return println!("{object} is kept until it is removed"),
        _ => println!("{object} is kept by"),
    }
    for way in why.ways.iter().take(WAYS_SHOWN) {
        match &way[..] {
            [itself] if *itself == why.object => println!("  itself, until it is removed"),
            way => println!("  {}", line(way)),
        }
    }
    if why.ways.len() > WAYS_SHOWN {
        println!(
            "  and {} more; --json shows them",
            why.ways.len() - WAYS_SHOWN
        );
    }
}

fn words(step: &Step) -> String {
    format!("{} {}", step.kind, step.name)
}

/// The way on one line; the middle of a long one is left out.
fn line(way: &[Step]) -> String {
    let mut steps: Vec<String> = way.iter().map(words).collect();
    if steps.len() > STEPS_SHOWN {
        let left_out = steps.len() - STEPS_SHOWN;
        let middle = STEPS_SHOWN / 2..STEPS_SHOWN / 2 + left_out;
        steps.splice(middle, [format!("… {left_out} more …")]);
    }
    steps.join(" > ")
}

/// `cairn orphans`
pub fn orphans(env: &Env, args: &args::Listing) -> Result<()> {
    let listing = Listing::parse(args)?;
    let found = listing.select(env.open()?.orphans()?, Clone::clone)?;
    if listing.print(env, &found, |orphan| orphan.name.clone())? {
        return Ok(());
    }
    if found.is_empty() && args.filters.is_empty() {
        println!("everything is needed by an image, a container or a snapshot with a name");
        return Ok(());
    }
    let mut table = Table::new(&["KIND", "NAME", ">FREES", "WHY", "REMOVE WITH"]);
    for (orphan, _) in found {
        let bytes = orphan.bytes.map_or("?".to_owned(), size);
        table.row(vec![
            orphan.kind.to_owned(),
            orphan.name,
            bytes,
            orphan.why,
            orphan.remove,
        ]);
    }
    Ok(table.print()?)
}
