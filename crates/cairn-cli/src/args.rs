//! The command line.

use std::path::PathBuf;

use cairn_image::{Compression, Platform};
use cairn_model::{Driver, ImageRef};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// A content-addressed snapshotter for container images: no daemon, every byte accounted for.
#[derive(Debug, Parser)]
#[command(name = "cairn", version, max_term_width = 100)]
pub struct Cli {
    /// The repository [default: /var/lib/cairn, for others than root $XDG_DATA_HOME/cairn]
    #[arg(long, env = "CAIRN_ROOT", global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,

    /// Mount with this driver instead of the best that works: erofs, erofs-loop, overlay, copy
    #[arg(long, global = true, value_name = "NAME")]
    pub driver: Option<Driver>,

    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Import an archive, layout, root file system tar or directory
    Import(Import),
    /// Write an image out
    Export(Export),
    /// List images
    Images,
    /// Show an image or container as JSON
    Inspect {
        /// Image or container
        name: String,
        /// Show the values of environment variables, which may be secrets
        #[arg(long)]
        show_env: bool,
    },
    /// Show how an image came about
    History {
        /// Image
        image: String,
    },
    /// Give an image another name
    Tag {
        /// Image
        image: String,
        /// The new name
        name: ImageRef,
    },
    /// Remove image names, and images with their last name
    Rmi {
        /// Images
        #[arg(required = true)]
        images: Vec<String>,
    },
}

/// Arguments of `import`.
#[derive(Debug, Args)]
pub struct Import {
    /// File, directory, or - for standard input
    pub source: PathBuf,
    /// Name for the image, instead of those in the archive
    #[arg(long)]
    pub name: Option<ImageRef>,
    /// Which image of a multi-platform index
    #[arg(long, value_name = "OS/ARCH", default_value_t = Platform::host())]
    pub platform: Platform,
    /// Refuse layers with more entries than this
    #[arg(long, value_name = "N", default_value_t = 4_000_000)]
    pub max_entries: u64,
    /// Refuse layers longer than this, bytes uncompressed
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 30)]
    pub max_bytes: u64,
}

/// Form of an export.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ExportFormat {
    /// As `docker save` writes it
    Docker,
    /// OCI layout directory
    Oci,
    /// OCI layout in a tar
    OciArchive,
    /// The root file system as one tar
    Tar,
    /// The root file system as a directory
    Dir,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
pub struct Export {
    /// Images
    #[arg(required = true)]
    pub images: Vec<String>,
    /// File or directory to write; - for standard output
    #[arg(short, long)]
    pub output: PathBuf,
    /// What to write
    #[arg(long, value_enum, default_value_t = ExportFormat::Docker)]
    pub format: ExportFormat,
    /// How layers of an OCI layout are compressed: none, gzip, zstd
    #[arg(long, default_value = "gzip")]
    pub compression: Compression,
}
