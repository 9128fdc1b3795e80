//! The commands, each with its help and an example.

use std::path::PathBuf;

use cairn_model::ImageRef;
use clap::Subcommand;

use super::containers::{Attach, Commit, Cp, Events, Exec, Generate, Logs, Ps, Update};
use super::images::{
    Diff, Estimate, Export, Flatten, Have, Import, Login, Logout, Pull, Push, Rebase, Sign,
    VerifyImage, Which,
};
use super::listing::Listing;
use super::oci::Oci;
use super::repository::{AgeOrNever, Check, Config, GC_HELP, Gc, Optimize, Stats, age_or_never};
use super::run::Run;
use super::serve::Serve;
use super::snapshots::Snapshot;
use super::volumes::Volume;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Try the main workflow on two small images built from local programs
    #[command(after_help = "Example:\n  cairn quickstart --keep")]
    Quickstart {
        /// Keep the repository afterwards
        #[arg(long)]
        keep: bool,
    },
    /// Create an empty repository
    #[command(
        name = "init",
        after_help = "Examples:\n  cairn --root /srv/cairn init\n  cairn --root /srv/cairn init --frames"
    )]
    Create {
        /// Store content so that the driver packs can mount it in place; versions of Cairn before this option cannot use the repository
        #[arg(long)]
        frames: bool,
    },
    /// Import an image from an archive, OCI layout, tar file or directory
    #[command(
        after_help = "Examples:\n  cairn import image.tar\n  docker save example/app | cairn import -\n  cairn import rootfs/ --name example/base:1\n  cairn import app.cairn --verify-key minisign.pub"
    )]
    Import(Import),
    /// Show what an import or pull would add, and which files cause it
    #[command(
        after_help = "Examples:\n  cairn estimate image.tar\n  cairn estimate localhost:5000/example/app:2"
    )]
    Estimate(Estimate),
    /// Pull images from a registry
    #[command(
        after_help = "Examples:\n  cairn pull example/app:2 example/base:1\n  cairn pull example/app@sha256:71c0…\n  cairn pull --all-tags --jobs 8 --platform linux/arm64 localhost:5000/example/app"
    )]
    Pull(Pull),
    /// Push an image to a registry
    #[command(
        after_help = "Examples:\n  cairn push localhost:5000/example/app:2\n  cairn push example/app:2 localhost:5000/example/app:2 --compression zstd"
    )]
    Push(Push),
    /// Log in to a registry
    #[command(
        after_help = "Examples:\n  cairn login registry.example\n  cairn login -u me --password-stdin localhost:5000 < password"
    )]
    Login(Login),
    /// Remove the credentials for a registry
    #[command(after_help = "Examples:\n  cairn logout registry.example\n  cairn logout --all")]
    Logout(Logout),
    /// Sign an image in a registry
    #[command(
        after_help = "The signature has cosign's form, and \"cosign verify --key\" takes it.\n\nExample:\n  cairn sign localhost:5000/example/app:2 --key app.key"
    )]
    Sign(Sign),
    /// Verify the signature of an image in a registry
    #[command(after_help = "Example:\n  cairn verify localhost:5000/example/app:2 --key app.pub")]
    Verify(VerifyImage),
    /// Export images to an archive, OCI layout, tar file or directory
    #[command(
        after_help = "Examples:\n  cairn export example/app:2 -o app.tar\n  cairn export example/app:2 -o layout/ --format oci --compression zstd\n  cairn export example/app:2 -o - | docker load\n  cairn export example/app:2 --format cairn --since example/app:1 -o app.cairn"
    )]
    Export(Export),
    /// Write a list of what this repository has, for export --have elsewhere
    #[command(after_help = "Example:\n  cairn have > site-b.have")]
    Have(Have),
    /// List images
    #[command(
        after_help = "Examples:\n  cairn images --filter 'names=example/*'\n  cairn images --format '{{.id}} {{json .names}}'"
    )]
    Images(Listing),
    /// Display an image or container as JSON
    #[command(
        after_help = "Examples:\n  cairn inspect example/app:2\n  cairn inspect --format '{{.status}} {{json .launch.limits}}' web\n  cairn inspect example/app:2 --document sha256:7b3f…    # a document that \"referrers\" names"
    )]
    Inspect {
        /// Image or container
        name: String,
        /// Print a template such as "{{.id}}" instead, with the fields of the JSON
        #[arg(short, long, value_name = "TEMPLATE")]
        format: Option<String>,
        /// Show the values of environment variables, which may contain secrets
        #[arg(long)]
        show_env: bool,
        /// Print a document of what refers to the image (kept by "pull --referrers") as it is
        #[arg(long, value_name = "DIGEST", conflicts_with = "format")]
        document: Option<cairn_model::Digest>,
    },
    /// Show the history of an image
    #[command(after_help = "Example:\n  cairn history example/app:2")]
    History {
        /// Image
        image: String,
        #[command(flatten)]
        listing: Listing,
        /// Show the values of variables and build arguments, which may contain secrets
        #[arg(long)]
        show_env: bool,
    },
    /// Add a name to an image
    #[command(after_help = "Example:\n  cairn tag example/app:2 example/app:stable")]
    Tag {
        /// Image
        image: String,
        /// New name, as NAME or NAME:TAG
        name: ImageRef,
    },
    /// Remove image names, and images that have no name left
    #[command(after_help = "Example:\n  cairn rmi example/app:1")]
    Rmi {
        /// Images
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Put the layers of an image on another base, without a build
    #[command(
        after_help = "Example:\n  cairn rebase example/app:2 --old-base example/base:1 --new-base example/base:1.1"
    )]
    Rebase(Rebase),
    /// Merge the upper layers of an image into one
    #[command(
        after_help = "Examples:\n  cairn flatten example/app:2 --keep-base 1\n  cairn flatten example/app:2 --name example/app:2-flat"
    )]
    Flatten(Flatten),
    /// Show which layers, images, snapshots and containers still hold a file's content
    #[command(
        after_help = "Examples:\n  cairn which ./libold.so.3\n  cairn which --in example/app:1 /usr/lib/libold.so.3"
    )]
    Which(Which),
    /// Create and run a container from an image
    #[command(
        after_help = "Examples:\n  cairn run --rm -it example/app:1 sh\n  cairn run -d --name web -v /srv/www:/www:ro example/web:1\n  cairn run --rm -e DEBUG=1 -w /src example/app:1 make test"
    )]
    Run(Box<Run>),
    /// List containers
    #[command(
        after_help = "Examples:\n  cairn ps -a\n  cairn ps --filter label=app=web --format '{{.name}} {{.status}}'"
    )]
    Ps(Ps),
    /// Remove containers
    #[command(after_help = "Example:\n  cairn rm -f web")]
    Rm {
        /// Containers
        #[arg(required = true)]
        containers: Vec<String>,
        /// Kill running containers before removing them
        #[arg(short, long)]
        force: bool,
        /// Also remove the volumes that have no name and that no other container uses
        #[arg(short, long)]
        volumes: bool,
    },
    /// Stop running containers
    #[command(after_help = "Example:\n  cairn stop -t 30 web")]
    Stop {
        /// Containers
        #[arg(required = true)]
        containers: Vec<String>,
        /// Seconds between the stop signal and SIGKILL [default: 10]
        #[arg(short, long, value_name = "SECONDS")]
        time: Option<u64>,
    },
    /// Send a signal to running containers
    #[command(after_help = "Example:\n  cairn kill -s HUP web")]
    Kill {
        /// Containers
        #[arg(required = true)]
        containers: Vec<String>,
        /// Signal name or number
        #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
        signal: String,
    },
    /// Create a container without starting it
    #[command(
        name = "create",
        after_help = "Example:\n  cairn create --name web -v /srv/www:/www:ro example/web:1"
    )]
    CreateContainer(Box<Run>),
    /// Start stopped containers
    #[command(after_help = "Example:\n  cairn start web")]
    Start {
        /// Containers
        #[arg(required = true)]
        containers: Vec<String>,
        /// Stay in the foreground, connected to the container's output
        #[arg(short, long)]
        attach: bool,
        /// With -a, keep standard input open
        #[arg(short, long, requires = "attach")]
        interactive: bool,
        /// With -ai, keys that leave the container running: characters or ctrl-KEY, with commas
        #[arg(long, value_name = "KEYS", requires = "interactive")]
        detach_keys: Option<String>,
    },
    /// Connect to the standard streams of a running container
    #[command(after_help = "Example:\n  cairn attach --detach-keys ctrl-x shell")]
    Attach(Attach),
    /// Run a command in a running container
    #[command(
        after_help = "Examples:\n  cairn exec -it web sh\n  cairn exec -u www -e DEBUG=1 web id"
    )]
    Exec(Exec),
    /// Show the processes of a container
    #[command(after_help = "Example:\n  cairn top web")]
    Top {
        /// Container
        container: String,
    },
    /// Write files that other programs use to run containers
    #[command(subcommand)]
    Generate(Generate),
    /// Wait until containers exit, and print their exit codes
    #[command(after_help = "Example:\n  cairn wait web")]
    Wait {
        /// Containers
        #[arg(required = true)]
        containers: Vec<String>,
    },
    /// Pause all processes in containers
    #[command(after_help = "Example:\n  cairn pause web")]
    Pause {
        /// Containers
        #[arg(required = true)]
        containers: Vec<String>,
    },
    /// Resume paused containers
    #[command(after_help = "Example:\n  cairn unpause web")]
    Unpause {
        /// Containers
        #[arg(required = true)]
        containers: Vec<String>,
    },
    /// Change the limits of containers, running ones at once
    #[command(after_help = "Example:\n  cairn update --memory 1g --cpus 2 web")]
    Update(Update),
    /// Stop containers, and start them again
    #[command(after_help = "Example:\n  cairn restart -t 30 web")]
    Restart {
        /// Containers
        #[arg(required = true)]
        containers: Vec<String>,
        /// Seconds between the stop signal and SIGKILL [default: 10]
        #[arg(short, long, value_name = "SECONDS")]
        time: Option<u64>,
    },
    /// Rename a container
    #[command(after_help = "Example:\n  cairn rename web web-old")]
    Rename {
        /// Container
        container: String,
        /// New name
        name: String,
    },
    /// Show what a container changed in its image, or what differs between two images
    #[command(
        after_help = "Examples:\n  cairn diff web\n  cairn diff example/app:1 example/app:2 --sort stored"
    )]
    Diff(Diff),
    /// Manage volumes
    #[command(subcommand)]
    Volume(Volume),
    /// Show how a container's ports can be reached
    #[command(after_help = "Example:\n  cairn port web")]
    Port {
        /// Container
        container: String,
    },
    /// Copy files between a container and the host
    #[command(
        after_help = "Examples:\n  cairn cp web:/var/log/app.log .\n  cairn cp -a ./site/. web:/srv/www\n  cairn cp web:/etc - | tar -tf -"
    )]
    Cp(Cp),
    /// Print the output of a container
    #[command(
        after_help = "Examples:\n  cairn logs -f --tail 100 web\n  cairn logs --timestamps --since 10m web"
    )]
    Logs(Logs),
    /// Create an image from a container's changes
    #[command(
        after_help = "Example:\n  cairn commit -m \"add config\" -c 'CMD [\"app\", \"-v\"]' work example/app:2"
    )]
    Commit(Commit),
    /// Generate a shell completion script
    #[command(after_help = "Example:\n  cairn completions bash > /etc/bash_completion.d/cairn")]
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
    /// Generate man pages
    #[command(after_help = "Example:\n  cairn man /usr/local/share/man/man1")]
    Man {
        /// Directory to write them to
        directory: PathBuf,
    },
    #[command(name = "__stage", hide = true)]
    Stage { order: i32 },
    #[command(name = "__after", hide = true)]
    After { id: String },
    /// Write an OCI bundle of an image or container, for any runtime
    #[command(
        after_help = "Example:\n  cairn bundle example/app:2 /srv/app && runc run --bundle /srv/app app"
    )]
    Bundle {
        /// Image or container
        name: String,
        /// New or empty directory
        directory: PathBuf,
    },
    /// Run containers from OCI bundles, with runc's command line, for tools that drive a runtime
    #[command(subcommand)]
    Oci(Oci),
    /// Manage snapshots
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// Mount a snapshot, or an image read-only
    #[command(after_help = "Example:\n  cairn mount example/app:2 /mnt")]
    Mount {
        /// Snapshot or image
        name: String,
        /// Directory to mount it on
        target: PathBuf,
        /// Honor set-user-ID programs and file capabilities
        #[arg(long)]
        suid: bool,
        /// Allow device nodes to be opened
        #[arg(long)]
        dev: bool,
    },
    /// Unmount a snapshot or image
    #[command(alias = "umount", after_help = "Example:\n  cairn unmount /mnt")]
    Unmount {
        /// Directory it is mounted on
        target: PathBuf,
        /// Detach it even if it is in use
        #[arg(short, long)]
        lazy: bool,
    },
    /// Show what happens in the repository, as it happens
    #[command(
        after_help = "Examples:\n  cairn events --since 1h --filter type=container\n  cairn events --json --filter event=die"
    )]
    Events(Events),
    /// Delete what rules and limits say, and unreferenced data, and reclaim disk space
    #[command(after_help = GC_HELP)]
    Gc(Gc),
    /// Recompress stored data, and store similar files as differences from each other
    #[command(after_help = super::repository::OPTIMIZE_HELP)]
    Optimize(Optimize),
    /// Protect images from removal, by gc and by rmi
    #[command(after_help = "Example:\n  cairn pin example/base:1")]
    Pin {
        /// Images
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Take the protection of images away
    #[command(after_help = "Example:\n  cairn unpin example/base:1")]
    Unpin {
        /// Images
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Set or clear the time at which gc removes images
    #[command(
        after_help = "Examples:\n  cairn expire 7d example/ci:42\n  cairn expire never example/ci:42"
    )]
    Expire {
        /// Age from now on, for example 7d or 12h, or never
        #[arg(value_name = "AGE", value_parser = age_or_never)]
        after: AgeOrNever,
        /// Images
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Back up images and committed snapshots to another directory
    #[command(after_help = "Example:\n  cairn backup /backup/cairn")]
    Backup {
        /// Empty or new directory, or an earlier backup to update
        directory: PathBuf,
    },
    /// Serve snapshots to containerd
    #[command(
        after_help = "Examples:\n  cairn serve\n  cairn serve --address /run/cairn/serve.sock --idle-exit 60s --metrics /var/lib/node_exporter/cairn-serve.prom"
    )]
    Serve(Serve),
    /// Make a repository of a backup, and check it
    #[command(after_help = "Example:\n  cairn --root /var/lib/cairn restore /backup/cairn")]
    Restore {
        /// Backup
        directory: PathBuf,
    },
    /// Show and change the settings of the repository
    #[command(subcommand)]
    Config(Config),
    /// Show which driver mounts views, and why no better one does
    #[command(after_help = "Example:\n  cairn driver")]
    Driver,
    /// Check that this machine and the repository are in order, and say what to do about what is not
    #[command(after_help = "Example:\n  cairn doctor")]
    Doctor,
    /// Show how disk space is used, or with containers what they use now
    #[command(
        alias = "df",
        after_help = "Examples:\n  cairn stats --json\n  cairn stats --interactive\n  cairn stats --html report.html\n  cairn stats --by package --image example/app:1\n  cairn stats --by file --since 1d --top 20\n  cairn stats --what-if-removed example/app:1,example/app:2\n  cairn stats --no-stream web db"
    )]
    Stats(Stats),
    /// Show what keeps an image, snapshot, layer or blob from being deleted
    #[command(after_help = "Examples:\n  cairn why example/app:1\n  cairn why 3f2a9c41d7e0")]
    Why {
        /// Image, container or snapshot, or the first digits of a layer's or blob's id
        object: String,
    },
    /// List what takes space and has no name or user
    #[command(after_help = "Example:\n  cairn orphans")]
    Orphans(Listing),
    /// Verify the repository, and repair it on request
    #[command(
        after_help = "Examples:\n  cairn check --fast\n  cairn check --max-age 30d --rate 50M\n  cairn check --repair"
    )]
    Check(Check),
}

impl Command {
    /// True for the hidden stages of a launch, which become or start the process.
    pub fn is_step_of_launch(&self) -> bool {
        matches!(self, Self::Stage { .. })
    }

    /// True for commands that read, write or reach what may belong to the subordinate ids of an ordinary user.
    /// The others see files of the host as they are.
    pub fn takes_ids(&self) -> bool {
        matches!(
            self,
            Self::Run(_)
                | Self::CreateContainer(_)
                | Self::Start { .. }
                | Self::Restart { .. }
                | Self::Exec(_)
                | Self::Cp(_)
                | Self::Stop { .. }
                | Self::Kill { .. }
                | Self::Pause { .. }
                | Self::Unpause { .. }
                | Self::Rm { .. }
                | Self::Volume(_)
                | Self::Top { .. }
                | Self::Diff(_)
                | Self::Commit(_)
                | Self::Snapshot(_)
                | Self::Which(_)
                | Self::Gc { .. }
                | Self::Check(_)
                | Self::Stats(_)
                | Self::Driver
                | Self::Doctor
        )
    }

    /// True for commands whose work is cancelled by a signal. The others end by it at once, are done in a
    /// moment, or (run) have their own way with signals.
    pub fn takes_long(&self) -> bool {
        matches!(
            self,
            Self::Import(_)
                | Self::Estimate(_)
                | Self::Diff(_)
                | Self::Pull(_)
                | Self::Push(_)
                | Self::Export(_)
                | Self::Commit(_)
                | Self::Snapshot(_)
                | Self::Mount { .. }
                | Self::Stats(_)
                | Self::Gc(_)
                | Self::Optimize(_)
                | Self::Check(_)
                | Self::Backup { .. }
                | Self::Restore { .. }
        )
    }
}
