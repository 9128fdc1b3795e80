//! Images out.

mod new_directory;
mod root;
mod target;

use std::io::Write;
use std::path::Path;

use cairn_image::{Compression, ExportLayer, ImageWriter};
use cairn_layer::export_layer;
use cairn_model::Watch;

use crate::error::{At, Error, Result};
use crate::images::{Image, Images};
use crate::repo::Repo;
use new_directory::NewDirectory;
pub(crate) use target::Target;

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

impl Images<'_> {
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
        let _span = tracing::info_span!("export", output = %output.display()).entered();
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
                let target = Target::open(output, self.repo.watch())?;
                let out = target.writer()?;
                self.export_archive(images, output, out, format, compression)?;
                target.finish()
            }
        }
    }

    /// The images of these names and ids, each once, with the names that were given and no others.
    pub fn to_export(&self, references: &[String]) -> Result<Vec<Image>> {
        let mut out: Vec<Image> = Vec::new();
        for reference in references {
            let (mut image, name) = self.find_named(reference)?;
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
            let made = NewDirectory::prepare(output, 0o777, self.repo.watch())?;
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
            let tree = self.repo.tree(&image.layers)?;
            match cairn_layer::write_tree(&self.repo.store, &tree, &mut out) {
                Err(cairn_layer::Error::Write(e)) => return Err(e).at("write", output),
                done => done?,
            };
            return out.flush().at("write", output);
        }
        self.write_images(images, ImageWriter::tar(output, out), format, compression)
    }

    /// The same layer, of which it is told how much is written.
    pub(crate) fn telling<'b>(&'b self, layer: ExportLayer<'b>) -> ExportLayer<'b> {
        let write = layer.write;
        ExportLayer {
            write: Box::new(move |out| {
                let watch = self.repo.watch();
                write(&mut Telling { out, watch })
            }),
            ..layer
        }
    }

    fn write_images(
        &self,
        images: &[Image],
        mut writer: ImageWriter,
        format: Format,
        compression: Compression,
    ) -> Result<()> {
        let images = &self.all_settled(images)?;
        let all = images.iter().flat_map(|image| &image.layers);
        let bytes = all.filter_map(|layer| layer.tar_bytes).sum();
        self.repo.watch().total(bytes);
        for image in images {
            let layers = image
                .layers
                .iter()
                .map(|layer| Ok(self.telling(self.repo.export_layer(layer)?)))
                .collect::<Result<Vec<_>>>()?;
            match format {
                Format::Docker => writer.docker_image(&image.names, &image.config, &layers)?,
                _ => self.write_oci(image, &mut writer, &layers, compression)?,
            }
        }
        Ok(writer.finish()?)
    }
}

impl Images<'_> {
    /// Writes an image with what is kept beside it, where its manifest is the one that it came with.
    fn write_oci(
        &self,
        image: &Image,
        writer: &mut ImageWriter,
        layers: &[ExportLayer<'_>],
        compression: Compression,
    ) -> Result<()> {
        let (beside, spool) = (self.repo.beside(image)?, self.repo.spool());
        let (names, config) = (&image.names, &image.config);
        let original = beside.as_ref().map(|beside| &beside.original);
        let form = (compression, spool.as_path());
        let same = writer.oci_image(names, config, layers, form, original)?;
        if let Some(beside) = &beside {
            let carried = match same {
                true => beside.write(writer)?,
                false => beside.staying(),
            };
            if let Some(why) = carried.why {
                let what = format!("{} of what refers to {}", carried.left, image.row.id);
                self.repo.watch().passed_over(&what, why);
            }
        }
        Ok(())
    }
}

impl Repo {
    /// A layer as those take it who write it out.
    pub(crate) fn export_layer(&self, layer: &cairn_layer::Layer) -> Result<ExportLayer<'_>> {
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
    }
}

/// Tells of the bytes that are written, and ends where the work is to end.
struct Telling<'a> {
    out: &'a mut dyn Write,
    watch: &'a Watch,
}

impl Write for Telling<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.watch.check()?;
        let written = self.out.write(bytes)?;
        self.watch.read(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

fn one_image() -> Error {
    Error::Invalid(
        "only one image can be exported as a root file system; export them one by one".into(),
    )
}
