//! Images out.

use std::io::Write;
use std::path::Path;

use cairn_image::{Compression, ExportLayer, ImageWriter};
use cairn_layer::{checkout, export_layer};

use crate::error::{At, Error, Result};
use crate::images::Image;
use crate::repo::Repo;

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
    /// Writes images to `output`; `-` is standard output for the archive formats. A file appears under
    /// its name only when it is whole.
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
                output,
                Box::new(std::io::stdout()),
                format,
                compression,
            ),
            _ => {
                let directory = output
                    .parent()
                    .filter(|p| !p.as_os_str().is_empty())
                    .unwrap_or(Path::new("."));
                let file = tempfile::NamedTempFile::new_in(directory)
                    .at("make a temporary file in", directory)?;
                let out = std::io::BufWriter::with_capacity(
                    1 << 18,
                    file.reopen().at("open", file.path())?,
                );
                self.export_archive(images, output, Box::new(out), format, compression)?;
                file.as_file().sync_all().at("sync", output)?;
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
                file.as_file()
                    .set_permissions(mode)
                    .at("change the mode of", output)?;
                file.persist(output)
                    .map_err(|e| e.error)
                    .at("put in place", output)?;
                Ok(())
            }
        }
    }

    fn export_directory(
        &self,
        images: &[Image],
        output: &Path,
        format: Format,
        compression: Compression,
    ) -> Result<()> {
        let empty = std::fs::read_dir(output).map_or(true, |mut entries| entries.next().is_none());
        if !empty {
            return Err(Error::Invalid(format!(
                "{} is not empty; export into a new directory",
                output.display()
            )));
        }
        std::fs::create_dir_all(output).at("create directory", output)?;
        if format == Format::Oci {
            return self.write_images(images, ImageWriter::directory(output)?, format, compression);
        }
        let [image] = images else {
            return Err(one_image());
        };
        let tree = self.tree(&image.layers)?;
        let skipped = checkout(&self.store, &tree, output)?;
        if let Some(first) = skipped.first() {
            let path = cairn_model::path_display(first);
            return Err(Error::Invalid(format!(
                "{} device nodes need root to be made, the first is {path}; all else was written",
                skipped.len()
            )));
        }
        Ok(())
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
            cairn_layer::write_tree(&self.store, &tree, &mut out)?;
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
            let names: Vec<String> = image.names.iter().map(ToString::to_string).collect();
            match format {
                Format::Docker => writer.docker_image(&names, &image.config, &layers)?,
                _ => {
                    writer.oci_image(&names, &image.config, &layers, compression, &self.spool())?
                }
            }
        }
        Ok(writer.finish()?)
    }
}

fn one_image() -> Error {
    Error::Invalid("a root file system is that of one image; export them one by one".into())
}
