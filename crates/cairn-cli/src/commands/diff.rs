//! `cairn diff`: what a container changed, or what differs between two images.

use anyhow::Result;
use cairn_layer::ChangeKind;
use cairn_model::path_display;
use cairn_repo::{Comparison, FileChange, PackageChange};

use super::{Env, snapshots};
use crate::args::{Diff, DiffOrder};
use crate::output::{self, Table, Usage, size};

/// `cairn diff`
pub fn diff(env: &Env, args: &Diff) -> Result<()> {
    let Some(other) = &args.other else {
        if args.all || args.packages || args.sort.is_some() {
            let words = "--all, --packages and --sort compare two images; name the second one";
            return Err(Usage(words.to_owned()).into());
        }
        return snapshots::diff_container(env, &args.name);
    };
    let found = env.open()?.images().compare(&args.name, other)?;
    if env.json {
        return Ok(output::report(&found)?);
    }
    if !args.packages {
        print_files(&found, args)?;
        println!();
    }
    print_packages(&found.packages)?;
    print_sums(&found);
    Ok(())
}

/// True for a path of which nothing but its time differs, as of every directory whose content does.
fn is_only_time(change: &FileChange) -> bool {
    change.what == ["mtime"]
}

fn sorted<'a>(found: &'a Comparison, args: &Diff) -> Vec<&'a FileChange> {
    let all = found.files.iter();
    let mut files: Vec<_> = all.filter(|file| args.all || !is_only_time(file)).collect();
    match args.sort.unwrap_or(DiffOrder::Path) {
        DiffOrder::Path => {}
        DiffOrder::Size => files.sort_by_key(|f| std::cmp::Reverse(f.new_bytes.max(f.old_bytes))),
        DiffOrder::Stored => files.sort_by_key(|f| std::cmp::Reverse(f.stored_bytes)),
    }
    files
}

fn letter(change: ChangeKind) -> &'static str {
    match change {
        ChangeKind::Added => "A",
        ChangeKind::Changed => "C",
        ChangeKind::Deleted => "D",
    }
}

fn print_files(found: &Comparison, args: &Diff) -> Result<()> {
    let mut table = Table::new(&["", ">SIZE", ">STORED", "PATH", "WHAT"]);
    for file in sorted(found, args) {
        let bytes = match file.change {
            ChangeKind::Deleted => file.old_bytes,
            _ => file.new_bytes,
        };
        table.row(vec![
            letter(file.change).to_owned(),
            size(bytes),
            size(file.stored_bytes),
            format!("/{}", path_display(&file.path)),
            file.what.join(", "),
        ]);
    }
    table.print()?;
    let hidden = found.files.iter().filter(|file| is_only_time(file)).count();
    if hidden > 0 && !args.all {
        println!("{hidden} more paths differ in nothing but their time; show them with --all");
    }
    Ok(())
}

fn print_packages(changes: &[PackageChange]) -> Result<()> {
    if changes.is_empty() {
        println!("no package differs");
        return Ok(());
    }
    let mut table = Table::new(&["PACKAGE", "OF", "BEFORE", "AFTER"]);
    let text = |versions: &[String]| match versions {
        [] => "-".to_owned(),
        versions => versions.join(", "),
    };
    for change in changes {
        table.row(vec![
            change.name.clone(),
            change.manager.as_str().to_owned(),
            text(&change.old),
            text(&change.new),
        ]);
    }
    Ok(table.print()?)
}

fn print_sums(found: &Comparison) {
    println!(
        "files {} → {}; the second image adds {} stored",
        size(found.old_bytes),
        size(found.new_bytes),
        size(found.stored_bytes)
    );
}
