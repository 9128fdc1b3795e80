//! Images out.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;

use cairn_image::{Compression, ExportLayer, ImageWriter};
use cairn_layer::{Tree, checkout, export_layer};
use cairn_model::Kind;

use crate::error::{At, Error, Result};
use crate::images::Image;
use crate::new_directory::NewDirectory;
use crate::repo::Repo;
use crate::target::Target;

/// What an export writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As `docker save` does.
    Docker,
    /// An OCI layout directory.
    Oci,
    /// An OCI layout in a tar.
    OciArchive,
    /// The merged root file system as one tar.
    Tar,
    /// The merged root file system as a directory.
    Directory,
}

impl Repo {
    /// Writes images, with the names they have here, to `output`; `-` is standard output for the archive
    /// formats. A file appears under its name only when it is whole; what is not a regular file is written
    /// into, and links are followed.
    pub fn export(
        &self,
        images: &[Image],
        output: &Path,
        format: Format,
        compression: Compression,
    ) -> Result<()> {
        match format {
            Format::Directory | Format::Oci => {
                self.export_directory(images, output, format, compression)
            }
            _ if output == Path::new("-") => self.export_archive(
                images,
                Path::new("standard output"),
                Box::new(std::io::stdout()),
                format,
                compression,
            ),
            _ => {
                let target = Target::open(output)?;
                let out = target.writer()?;
                self.export_archive(images, output, out, format, compression)?;
                target.finish()
            }
        }
    }

    /// The images of these names and ids, each once, with the names that were given and no others.
    pub fn images_to_export(&self, references: &[String]) -> Result<Vec<Image>> {
        let mut out: Vec<Image> = Vec::new();
        for reference in references {
            let (mut image, name) = self.image_named(reference)?;
            image.names = name.into_iter().collect();
            match out.iter_mut().find(|other| other.row.id == image.row.id) {
                None => out.push(image),
                Some(other) => {
                    for name in image.names {
                        if !other.names.contains(&name) {
                            other.names.push(name);
                        }
                    }
                }
            }
        }
        Ok(out)
    }

    fn export_directory(
        &self,
        images: &[Image],
        output: &Path,
        format: Format,
        compression: Compression,
    ) -> Result<()> {
        if format == Format::Oci {
            let made = NewDirectory::prepare(output, 0o777)?;
            let writer = ImageWriter::directory(output)?;
            self.write_images(images, writer, format, compression)?;
            made.keep();
            return Ok(());
        }
        let [image] = images else {
            return Err(one_image());
        };
        self.export_root(image, output, false).map(drop)
    }

    /// Writes the merged root file system of an image into `output`, a new or empty directory, which only
    /// its owner can enter until it is complete. Device nodes are made where `devices` says so; returns
    /// the paths of those that were left out.
    pub fn export_root(&self, image: &Image, output: &Path, devices: bool) -> Result<Vec<Vec<u8>>> {
        let made = NewDirectory::prepare(output, 0o700)?;
        let mut tree = self.tree(&image.layers)?;
        let left_out = if devices {
            Vec::new()
        } else {
            leave_out_devices(&mut tree)?
        };
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(output, mode).at("change the mode of", output)?;
        // The root gets its own mode last.
        let skipped = checkout(&self.store, &tree, output)?;
        made.keep();
        if let Some(first) = skipped.first() {
            let path = cairn_model::path_display(first);
            return Err(Error::Invalid(format!(
                "creating device nodes requires root; {} were skipped, the first is {path}; everything else was written",
                skipped.len()
            )));
        }
        Ok(left_out)
    }

    fn export_archive(
        &self,
        images: &[Image],
        output: &Path,
        mut out: Box<dyn Write>,
        format: Format,
        compression: Compression,
    ) -> Result<()> {
        if format == Format::Tar {
            let [image] = images else {
                return Err(one_image());
            };
            let tree = self.tree(&image.layers)?;
            match cairn_layer::write_tree(&self.store, &tree, &mut out) {
                Err(cairn_layer::Error::Write(e)) => return Err(e).at("write", output),
                done => done?,
            };
            return out.flush().at("write", output);
        }
        self.write_images(images, ImageWriter::tar(output, out), format, compression)
    }

    fn write_images(
        &self,
        images: &[Image],
        mut writer: ImageWriter,
        format: Format,
        compression: Compression,
    ) -> Result<()> {
        for image in images {
            let layer = |layer: &cairn_layer::Layer| {
                let layer = *layer;
                let unknown = || Error::Invalid(format!("layer {} has no diff id", layer.id));
                Ok(ExportLayer {
                    diff_id: layer.diff_id.ok_or_else(unknown)?,
                    tar_bytes: layer.tar_bytes.ok_or_else(unknown)?,
                    write: Box::new(move |out| {
                        export_layer(&self.store, &layer, out)
                            .map(drop)
                            .map_err(std::io::Error::other)
                    }),
                })
            };
            let layers = image.layers.iter().map(layer).collect::<Result<Vec<_>>>()?;
            match format {
                Format::Docker => writer.docker_image(&image.names, &image.config, &layers)?,
                _ => writer.oci_image(
                    &image.names,
                    &image.config,
                    &layers,
                    compression,
                    &self.spool(),
                )?,
            }
        }
        Ok(writer.finish()?)
    }
}

/// Takes device nodes and all their names out of a tree; returns their paths.
fn leave_out_devices(tree: &mut Tree) -> Result<Vec<Vec<u8>>> {
    let is_device = |id| {
        matches!(
            tree.kind(id),
            Kind::CharDevice { .. } | Kind::BlockDevice { .. }
        )
    };
    let devices: Vec<Vec<u8>> = tree
        .walk()
        .into_iter()
        .filter(|(_, id)| is_device(*id))
        .map(|(path, _)| path)
        .collect();
    if !devices.is_empty() {
        let gone: HashSet<&Vec<u8>> = devices.iter().collect();
        let mut entries = tree.entries();
        entries.retain(|entry| !gone.contains(&entry.path));
        let mut rest = Tree::new();
        rest.apply(&entries)?;
        *tree = rest;
    }
    Ok(devices)
}

fn one_image() -> Error {
    Error::Invalid(
        "only one image can be exported as a root file system; export them one by one".into(),
    )
}
