//! Arguments of commands that bring images in and out.

use std::path::PathBuf;

use cairn_image::{Compression, Platform};
use cairn_model::{ImageRef, units};
use cairn_repo::Packing;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};

/// Arguments of `import`.
#[derive(Debug, Args)]
pub struct Import {
    /// File or directory to import, or - for standard input
    pub source: PathBuf,
    /// Name of the image, instead of the names in the archive
    #[arg(long)]
    pub name: Option<ImageRef>,
    /// Platform to choose from a multi-platform image [default: the host's]
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<Platform>,
    /// Read and verify everything again, including layers that are already present and directories
    /// that have not changed
    #[arg(long)]
    pub read_all: bool,
    /// Largest number of entries allowed in a layer [default: 4000000]
    #[arg(long, value_name = "N")]
    pub max_entries: Option<u64>,
    /// Largest uncompressed size allowed for a layer, and for a compressed or piped archive [default: 64 GiB]
    #[arg(long, value_name = "BYTES", value_parser = units::bytes)]
    pub max_bytes: Option<u64>,
    /// Show what would be new and which files cause it, without storing anything
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Take only a file of "cairn export --format cairn" with a signature, in SOURCE.minisig, of this public key of
    /// minisign
    #[arg(long, value_name = "FILE")]
    pub verify_key: Option<PathBuf>,
}

/// Arguments of `estimate`.
#[derive(Debug, Args)]
pub struct Estimate {
    /// File or directory, - for standard input, or an image of a registry
    #[arg(value_name = "SOURCE|REF")]
    pub source: String,
    /// Platform to choose from a multi-platform image [default: the host's]
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<Platform>,
    /// Show this many of the files that cause most
    #[arg(long, value_name = "N", default_value_t = FILES_SHOWN)]
    pub files: usize,
}

/// Files that an estimate shows.
pub const FILES_SHOWN: usize = 20;

/// Arguments of `diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// Container, or the older of two images
    #[arg(value_name = "CONTAINER|IMAGE")]
    pub name: String,
    /// Newer image
    #[arg(value_name = "IMAGE")]
    pub other: Option<String>,
    /// Order of the paths of two images
    #[arg(long, value_enum, value_name = "ORDER")]
    pub sort: Option<DiffOrder>,
    /// Show only packages
    #[arg(long)]
    pub packages: bool,
    /// Also show paths of which only the time differs
    #[arg(short, long)]
    pub all: bool,
}

/// Order of what differs between two images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DiffOrder {
    /// By path
    Path,
    /// The largest files first
    Size,
    /// Files that add most to what is stored first
    Stored,
}

/// Arguments of `pull`.
#[derive(Debug, Args)]
pub struct Pull {
    /// Images, as NAME, NAME:TAG or NAME@DIGEST
    #[arg(required = true, value_name = "REF")]
    pub references: Vec<String>,
    /// Platform to choose from a multi-platform image [default: the host's]
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<Platform>,
    /// Pull all tags of each repository
    #[arg(short, long)]
    pub all_tags: bool,
    /// Keep what refers to the image, too: signatures, SBOMs, attestations
    #[arg(long)]
    pub referrers: bool,
    #[command(flatten)]
    pub wire: Wire,
}

/// How a registry is dealt with.
#[derive(Debug, Clone, Default, Args)]
pub struct Wire {
    /// Number of connections for layers at once [default: 4]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub jobs: Option<u32>,
    /// File with the credentials, instead of those of docker and podman
    #[arg(long, value_name = "FILE", env = "REGISTRY_AUTH_FILE")]
    pub authfile: Option<PathBuf>,
    /// How to show progress on standard error
    #[arg(long, value_enum, value_name = "FORM", default_value_t = Progress::Auto)]
    pub progress: Progress,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Progress {
    /// Bars on a terminal, else nothing
    #[default]
    Auto,
    /// One JSON object per line
    Json,
    /// Nothing
    None,
}

/// Arguments of `login`.
#[derive(Debug, Args)]
pub struct Login {
    /// Registry, as HOST, HOST:PORT or HOST/NAMESPACE
    #[arg(default_value = "docker.io", hide_default_value = false)]
    pub registry: String,
    /// User [default: ask]
    #[arg(short, long, value_name = "NAME")]
    pub username: Option<String>,
    /// Read the password from standard input instead of asking for it
    #[arg(long, requires = "username")]
    pub password_stdin: bool,
    /// File to keep the credentials in [default: the one of podman or docker that exists]
    #[arg(long, value_name = "FILE", env = "REGISTRY_AUTH_FILE")]
    pub authfile: Option<PathBuf>,
}

/// Arguments of `logout`.
#[derive(Debug, Args)]
pub struct Logout {
    /// Registry, as HOST, HOST:PORT or HOST/NAMESPACE
    #[arg(default_value = "docker.io", conflicts_with = "all")]
    pub registry: String,
    /// Remove the credentials for all registries from the files; those that helpers keep stay
    #[arg(short, long)]
    pub all: bool,
    /// File to remove the credentials from [default: those of podman and docker]
    #[arg(long, value_name = "FILE", env = "REGISTRY_AUTH_FILE")]
    pub authfile: Option<PathBuf>,
}

/// Arguments of `push`.
#[derive(Debug, Args)]
pub struct Push {
    /// Image to push
    pub image: String,
    /// Where to push it, as NAME or NAME:TAG [default: IMAGE, if it is a name]
    #[arg(value_name = "REF")]
    pub destination: Option<ImageRef>,
    /// Compression of layers: gzip, zstd or none, with a level as in zstd:19 [default: any form that the registry
    /// has, else gzip]
    #[arg(long, value_name = "NAME[:LEVEL]")]
    pub compression: Option<Packing>,
    #[command(flatten)]
    pub wire: Wire,
    /// Attach chunks, so that Cairn elsewhere pulls only what it lacks [default: the setting push.chunks]
    #[arg(long, overrides_with = "no_chunks")]
    pub chunks: bool,
    /// Attach no chunks
    #[arg(long)]
    pub no_chunks: bool,
    /// Sign the image with this private key: PEM, ECDSA over P-256, not encrypted
    #[arg(long, value_name = "KEY")]
    pub sign_by: Option<PathBuf>,
}

/// Arguments of `sign`.
#[derive(Debug, Args)]
pub struct Sign {
    /// Image in a registry, as NAME, NAME:TAG or NAME@DIGEST
    #[arg(value_name = "REF")]
    pub reference: String,
    /// Private key: PEM, ECDSA over P-256, not encrypted
    #[arg(long, value_name = "KEY")]
    pub key: PathBuf,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyImage {
    /// Image in a registry, as NAME, NAME:TAG or NAME@DIGEST
    #[arg(value_name = "REF")]
    pub reference: String,
    /// Public key in PEM; with several, one of them has to have signed
    #[arg(long, value_name = "KEY", required = true)]
    pub key: Vec<PathBuf>,
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// When it is not present
    Missing,
    /// Every time, so that a tag that has moved is followed
    Always,
    /// Never; the network is not used
    Never,
}

/// Form of an export.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ExportFormat {
    /// Archive as written by docker save
    Docker,
    /// OCI layout, as a directory
    Oci,
    /// OCI layout, as a tar file
    OciArchive,
    /// Root file system, as a tar file
    Tar,
    /// Root file system, as a directory
    Dir,
    /// File for another Cairn, without what it has
    Cairn,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
pub struct Export {
    /// Images
    #[arg(required = true)]
    pub images: Vec<String>,
    /// File or directory to write, or - for standard output
    #[arg(short, long)]
    pub output: PathBuf,
    /// Output format
    #[arg(long, value_enum, default_value_t = ExportFormat::Docker)]
    pub format: ExportFormat,
    /// Create device nodes, which --format dir leaves out by default
    #[arg(long)]
    pub devices: bool,
    /// When to pull the images from their registries
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = When::Never)]
    pub pull: When,
    /// Platform that the images are to be for, also when they are pulled [default: any; the host's when pulled]
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<Platform>,
    /// Compression of layers in an OCI layout
    #[arg(long, default_value = "gzip", value_name = "NAME", value_parser = compressions())]
    pub compression: Compression,
    /// Leave out what this image has, which the other side has; can be given several times (--format cairn)
    #[arg(long, value_name = "IMAGE")]
    pub since: Vec<String>,
    /// Leave out what is in this list, which "cairn have" wrote on the other side (--format cairn)
    #[arg(long, value_name = "FILE")]
    pub have: Option<PathBuf>,
    /// Sign the file with this secret key of minisign, as OUTPUT.minisig (--format cairn)
    #[arg(long, value_name = "FILE")]
    pub sign_key: Option<PathBuf>,
}

/// Arguments of `have`.
#[derive(Debug, Args)]
pub struct Have {
    /// File to write, or - for standard output
    #[arg(short, long, default_value = "-")]
    pub output: PathBuf,
}

/// Arguments of `rebase`.
#[derive(Debug, Args)]
pub struct Rebase {
    /// Image whose own layers are kept
    pub image: String,
    /// Image it was built from
    #[arg(long, value_name = "IMAGE")]
    pub old_base: String,
    /// Image to put its layers on
    #[arg(long, value_name = "IMAGE")]
    pub new_base: String,
    /// Name of the result [default: IMAGE, if it is a name, which then moves to the result]
    #[arg(long)]
    pub name: Option<ImageRef>,
}

/// Arguments of `flatten`.
#[derive(Debug, Args)]
pub struct Flatten {
    /// Image whose layers are merged
    pub image: String,
    /// Keep this many of the lowest layers, which other images may share
    #[arg(long, value_name = "LAYERS", default_value_t = 0)]
    pub keep_base: usize,
    /// Name of the result [default: IMAGE, if it is a name, which then moves to the result]
    #[arg(long)]
    pub name: Option<ImageRef>,
}

/// Arguments of `which`.
#[derive(Debug, Args)]
pub struct Which {
    /// File with the content to look for, or the first digits of a blob's id
    #[arg(value_name = "FILE|BLOB")]
    pub what: PathBuf,
    /// Take the file from this image
    #[arg(long = "in", value_name = "IMAGE")]
    pub image: Option<String>,
}

fn compressions() -> impl TypedValueParser<Value = Compression> {
    PossibleValuesParser::new(["none", "gzip", "zstd"]).try_map(|name| name.parse::<Compression>())
}
