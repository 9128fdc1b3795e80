//! `import`, `export`, `images`, `history`, `tag`, `rmi`.

use anyhow::Result;
use cairn_image::Platform;
use cairn_model::{ImageRef, path_display};
use cairn_repo::{Format, Image, ImportOptions, Imported, ListedImage, Removed};
use serde_json::json;

use super::listing::Listing;
use super::pull::Wanted;
use super::{Env, estimate, events, have, pull};
use crate::args::{self, Export, ExportFormat, FILES_SHOWN, Import, When};
use crate::output::{self, Table, size};
use crate::progress::Bar;
use crate::report::image::{HistoryLine, ImageLine, RemovedLine, names};

/// `cairn import`
pub fn import(env: &Env, args: Import) -> Result<()> {
    let settings = env.settings()?;
    let mut options = env.options_by(&settings);
    let limits = &mut options.limits;
    limits.entries_max = args.max_entries.unwrap_or(limits.entries_max);
    limits.bytes_max = args.max_bytes.unwrap_or(limits.bytes_max);
    let platform = args.platform.or(settings.platform);
    let verify_key = args.verify_key.as_deref().map(have::file_key).transpose()?;
    let import = ImportOptions {
        name: args.name,
        platform: platform.unwrap_or_else(Platform::host),
        read_all: args.read_all,
        verify_key,
    };
    if args.dry_run {
        return estimate::of_source(env, options, &args.source, &import, FILES_SHOWN);
    }
    let repo = env.open_with(options)?;
    let bar = Bar::new("importing");
    env.watch.report_to(bar.clone());
    let imported = repo.images().import(&args.source, &import)?;
    drop(bar);
    for image in &imported {
        events::image(&repo, "import", &image.id, image.names.first());
    }
    if env.json {
        return Ok(output::report(&imported)?);
    }
    for image in imported {
        let names = names(&image.names).join(", ");
        let name = if names.is_empty() {
            "(no name)".to_owned()
        } else {
            names
        };
        println!("{name}  {}", image.id);
        let stats = image.stats;
        println!(
            "  {} layers, {} already present; read {}, new {}, stored as {}",
            image.layers,
            image.layers_present,
            size(stats.bytes_in),
            size(stats.bytes_new),
            size(stats.bytes_stored)
        );
        tell_names(&image);
        for path in &image.left_out {
            eprintln!(
                "cairn: skipped {} (a socket or mount point)",
                path_display(path)
            );
        }
    }
    Ok(())
}

/// Says on standard error what happened to names: an import is not asked before it moves one.
pub fn tell_names(image: &Imported) {
    for left in &image.names_left_out {
        output::say(&format!(
            "skipped the name {:?} of {}: {}; use \"cairn tag\" to name the image",
            left.name,
            image.id.short(),
            left.why
        ));
    }
    for taken in &image.taken {
        output::say(&format!(
            "{} was moved from image {}",
            taken.name,
            taken.from.short()
        ));
    }
}

/// `cairn export`
pub fn export(env: &Env, args: Export) -> Result<()> {
    let repo = match args.pull {
        When::Never => env.open()?,
        _ => env.open_or_create()?,
    };
    let wanted = Wanted {
        when: args.pull,
        platform: args.platform.as_ref(),
    };
    let provided = args
        .images
        .iter()
        .map(|image| pull::provide(env, &repo, image, wanted))
        .collect::<Result<Vec<_>>>()?;
    let images = repo.images().to_export(&provided)?;
    let format = match args.format {
        ExportFormat::Docker => Format::Docker,
        ExportFormat::Oci => Format::Oci,
        ExportFormat::OciArchive => Format::OciArchive,
        ExportFormat::Tar => Format::Tar,
        ExportFormat::Dir => Format::Directory,
        ExportFormat::Cairn => return have::transfer(env, &repo, &args, &images),
    };
    have::refuse_options(&args)?;
    if let (Format::Directory, [image]) = (format, &images[..]) {
        let left_out = repo
            .images()
            .export_root(image, &args.output, args.devices)?;
        if let Some(first) = left_out.first() {
            eprintln!(
                "cairn: skipped {} device nodes, the first is /{}; use --devices to create them",
                left_out.len(),
                path_display(first).trim_start_matches('/')
            );
        }
        return exported(env, &args, &images, &left_out);
    }
    let bar = Bar::new("exporting");
    env.watch.report_to(bar.clone());
    let done = repo
        .images()
        .export(&images, &args.output, format, args.compression);
    drop(bar);
    if let Err(e) = &done
        && args.output == std::path::Path::new("-")
    {
        output::given_up(e);
    }
    done?;
    exported(env, &args, &images, &[])
}

fn exported(env: &Env, args: &Export, images: &[Image], left_out: &[Vec<u8>]) -> Result<()> {
    // On standard output is the archive itself.
    if env.json && args.output != std::path::Path::new("-") {
        let ids: Vec<String> = images.iter().map(|i| i.row.id.to_string()).collect();
        let left_out: Vec<String> = left_out.iter().map(|p| path_display(p)).collect();
        let output = args.output.to_string_lossy();
        output::json(&json!({"images": ids, "output": output, "left_out": left_out}))?;
    }
    Ok(())
}

/// `cairn images`
pub fn list(env: &Env, args: &args::Listing) -> Result<()> {
    let listing = Listing::parse(args)?;
    let images = env.open()?.images().list()?;
    let lines = listing.select(images, |image| ImageLine::from(image))?;
    if listing.print(env, &lines, |image| image.row.id.short())? {
        return Ok(());
    }
    let images: Vec<ListedImage> = lines.into_iter().map(|(image, _)| image).collect();
    print(&images)?;
    note_damaged(&images);
    Ok(())
}

fn print(images: &[ListedImage]) -> Result<()> {
    let mut table = Table::new(&["NAME", "TAG", "ID", "IMPORTED", ">LAYERS", ">CONTENT"]);
    for listed in images {
        let mut names: Vec<_> = listed
            .names
            .iter()
            .map(|n| (n.repository().to_owned(), n.tag().to_owned()))
            .collect();
        if names.is_empty() {
            names.push(("<none>".to_owned(), "<none>".to_owned()));
        }
        let (layers, content) = match &listed.image {
            Ok(image) => (image.layers.len().to_string(), size(image.content_bytes())),
            Err(_) => ("?".to_owned(), "damaged".to_owned()),
        };
        for (name, tag) in names {
            table.row(vec![
                name,
                tag,
                listed.row.id.short(),
                output::ago(listed.row.imported),
                layers.clone(),
                content.clone(),
            ]);
        }
    }
    Ok(table.print()?)
}

/// Says of each image that cannot be read why not.
pub fn note_damaged(images: &[ListedImage]) {
    for listed in images {
        if let Err(e) = &listed.image {
            let id = listed.row.id.short();
            let why = cairn_model::one_line(e);
            output::say(&format!(
                "image {id} is damaged: {why}; import it again, or remove it with \"cairn rmi {id}\""
            ));
        }
    }
}

/// `cairn history`
pub fn history(env: &Env, name: &str, args: &args::Listing, show_env: bool) -> Result<()> {
    let listing = Listing::parse(args)?;
    let image = env.open()?.images().find(name)?;
    let steps = listing.select(HistoryLine::all(&image, show_env), |step| step.clone())?;
    if listing.print(env, &steps, HistoryLine::by)? {
        return Ok(());
    }
    let mut table = Table::new(&["CREATED", ">CONTENT", "BY"]);
    for (step, _) in steps.iter().rev() {
        let content = size(step.content_bytes.unwrap_or(0));
        table.row(vec![step.when(), content, step.by()]);
    }
    Ok(table.print()?)
}

/// `cairn tag`
pub fn tag(env: &Env, image: &str, name: &ImageRef) -> Result<()> {
    let repo = env.open()?;
    repo.images().tag(image, name)?;
    if let Ok(tagged) = repo.images().find(&name.to_string()) {
        events::image(&repo, "tag", &tagged.row.id, Some(name));
    }
    if env.json {
        let id = repo.images().find(&name.to_string())?.row.id.to_string();
        output::json(&json!({"id": id, "name": name.to_string()}))?;
    }
    Ok(())
}

/// `cairn rmi`: goes on after an image that cannot be removed, and tells so by its exit code.
pub fn remove(env: &Env, images: &[String]) -> Result<u8> {
    let repo = env.open()?;
    let mut code = 0;
    let mut done = Vec::new();
    for image in images {
        let mut line = RemovedLine {
            image,
            untagged: None,
            removed: None,
            error: None,
        };
        match repo.images().remove(image) {
            Ok(Removed::Untagged(name)) => {
                events::image(&repo, "untag", &name, None);
                line.untagged = Some(name.to_string());
            }
            Ok(Removed::Image(id)) => {
                events::image(&repo, "remove", &id, None);
                line.removed = Some(id.to_string());
            }
            Err(e) => {
                line.error = Some(cairn_model::one_line(&e));
                let e = e.into();
                output::print_error(&e);
                code = output::exit_code(&e).max(code);
            }
        }
        match &line {
            _ if env.json => {}
            RemovedLine {
                untagged: Some(name),
                ..
            } => println!("untagged {name}"),
            RemovedLine {
                removed: Some(id), ..
            } => println!("removed {id}; run \"cairn gc\" to free its space"),
            _ => {}
        }
        done.push(line);
    }
    if env.json {
        output::report(&done)?;
    }
    Ok(code)
}
