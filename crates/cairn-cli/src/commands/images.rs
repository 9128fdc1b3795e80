//! `import`, `export`, `images`, `history`, `tag`, `rmi`.

use anyhow::Result;
use cairn_image::Platform;
use cairn_model::{ImageRef, path_display};
use cairn_repo::{Format, Image, ImportOptions, Imported, ListedImage, Removed, time};
use serde_json::{Value, json};

use super::Env;
use crate::args::{Export, ExportFormat, Import};
use crate::output::{self, Table, size};
use crate::progress::Bar;

/// `cairn import`
pub fn import(env: &Env, args: Import) -> Result<()> {
    let settings = env.settings()?;
    let mut options = env.options_by(&settings);
    let limits = &mut options.limits;
    limits.entries_max = args.max_entries.unwrap_or(limits.entries_max);
    limits.bytes_max = args.max_bytes.unwrap_or(limits.bytes_max);
    let platform = args.platform.or(settings.platform);
    let repo = env.open_with(options)?;
    let bar = Bar::new("importing");
    env.watch.report_to(bar.clone());
    let imported = repo.images().import(
        &args.source,
        &ImportOptions {
            name: args.name,
            platform: platform.unwrap_or_else(Platform::host),
            read_all: args.read_all,
        },
    )?;
    drop(bar);
    if env.json {
        return Ok(output::report(&imported)?);
    }
    for image in imported {
        let names = join(&image.names);
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
        report(&image);
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
fn report(image: &Imported) {
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

fn strings(names: &[ImageRef]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn join(names: &[ImageRef]) -> String {
    strings(names).join(", ")
}

/// `cairn export`
pub fn export(env: &Env, args: Export) -> Result<()> {
    let repo = env.open()?;
    let images = repo.images().to_export(&args.images)?;
    let format = match args.format {
        ExportFormat::Docker => Format::Docker,
        ExportFormat::Oci => Format::Oci,
        ExportFormat::OciArchive => Format::OciArchive,
        ExportFormat::Tar => Format::Tar,
        ExportFormat::Dir => Format::Directory,
    };
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
    let done = repo
        .images()
        .export(&images, &args.output, format, args.compression);
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

/// The fields of an image that every command shows.
pub fn image_json(image: &Image) -> Value {
    json!({
        "id": image.row.id.to_string(),
        "names": strings(&image.names),
        "created": image.config.created(),
        "imported": time::rfc3339(image.row.imported),
        "platform": image.config.platform().to_string(),
        "layers": image.layers.len(),
        "content_bytes": image.content_bytes(),
    })
}

/// An image that cannot be read has the same fields, null where they are not known.
fn listed_json(listed: &ListedImage) -> Value {
    match &listed.image {
        Ok(image) => image_json(image),
        Err(e) => json!({
            "id": listed.row.id.to_string(),
            "names": strings(&listed.names),
            "created": null,
            "imported": time::rfc3339(listed.row.imported),
            "platform": null,
            "layers": null,
            "content_bytes": null,
            "damaged": cairn_model::one_line(e),
        }),
    }
}

/// `cairn images`
pub fn list(env: &Env) -> Result<()> {
    let images = env.open()?.images().list()?;
    if env.json {
        return Ok(output::json(&images.iter().map(listed_json).collect())?);
    }
    let mut table = Table::new(&["NAME", "TAG", "ID", "IMPORTED", ">LAYERS", ">CONTENT"]);
    for listed in &images {
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
    table.print()?;
    note_damaged(&images);
    Ok(())
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
pub fn history(env: &Env, name: &str) -> Result<()> {
    let image = env.open()?.images().find(name)?;
    let mut layers = image.layers.iter();
    let steps: Vec<_> = image
        .config
        .history()
        .into_iter()
        .map(|step| {
            let bytes = if step.empty_layer {
                None
            } else {
                layers.next().map(|layer| layer.content_bytes)
            };
            (step, bytes)
        })
        .collect();
    if env.json {
        let step = |(step, bytes): &(cairn_image::History, Option<u64>)| {
            json!({"created": step.created, "created_by": step.created_by, "comment": step.comment,
                   "empty_layer": step.empty_layer, "content_bytes": bytes})
        };
        return Ok(output::json(&steps.iter().map(step).collect())?);
    }
    let mut table = Table::new(&["CREATED", ">CONTENT", "BY"]);
    for (step, bytes) in steps.iter().rev() {
        let by = if step.created_by.is_empty() {
            &step.comment
        } else {
            &step.created_by
        };
        let created = step
            .created
            .get(..19)
            .unwrap_or(&step.created)
            .replace('T', " ");
        table.row(vec![
            created,
            size(bytes.unwrap_or(0)),
            by.split_whitespace().collect::<Vec<_>>().join(" "),
        ]);
    }
    Ok(table.print()?)
}

/// `cairn tag`
pub fn tag(env: &Env, image: &str, name: &ImageRef) -> Result<()> {
    let repo = env.open()?;
    repo.images().tag(image, name)?;
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
    for reference in images {
        let mut line =
            json!({"image": reference, "untagged": null, "removed": null, "error": null});
        match repo.images().remove(reference) {
            Ok(Removed::Untagged(name)) if env.json => line["untagged"] = json!(name.to_string()),
            Ok(Removed::Image(id)) if env.json => line["removed"] = json!(id.to_string()),
            Ok(Removed::Untagged(name)) => println!("untagged {name}"),
            Ok(Removed::Image(id)) => println!("removed {id}; run \"cairn gc\" to free its space"),
            Err(e) => {
                line["error"] = json!(cairn_model::one_line(&e));
                let e = e.into();
                output::print_error(&e);
                code = output::exit_code(&e).max(code);
            }
        }
        done.push(line);
    }
    if env.json {
        output::json(&json!(done))?;
    }
    Ok(code)
}
