//! One module a group of commands; each command is a function from arguments to an exit code.

mod attach;
mod backup;
mod bundle;
mod check;
mod commit;
mod config;
mod cp;
mod diff;
mod doctor;
mod documents;
mod driver;
mod estimate;
pub mod events;
mod exec;
mod gc;
mod generate;
mod have;
mod images;
mod init;
mod inspect;
mod keep;
mod listing;
mod login;
mod logs;
pub mod oci;
mod optimize;
mod pause;
mod port;
mod ps;
mod pull;
mod push;
mod quickstart;
mod rebase;
mod registry;
mod rename;
mod rootless;
mod run;
mod serve;
mod sign;
mod snapshots;
mod start;
mod stats;
mod stop;
mod suggest;
mod template;
mod top;
mod unsupported;
mod update;
mod usage;
mod views;
mod volume;
mod wait;
mod why;

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use cairn_model::{Driver, Watch};
use cairn_repo::{MountOptions, Options, Repo, Settings, SettingsFile, Verify};
use cairn_store::LockWatch;

use crate::args::{Cli, Command};
use crate::output;

pub use rootless::Caller;
pub use run::step;
pub use unsupported::explain;

/// Says for whom a command waits, and writes down how long where `CAIRN_LOCK_TRACE` names a file.
struct Waits {
    trace: Option<PathBuf>,
    quiet: bool,
}

impl LockWatch for Waits {
    fn waits_for(&self, holder: &str) {
        // In a script the words would end up among those of the program; of "run" they would be among those
        // of the container.
        if self.quiet || !std::io::stderr().is_terminal() {
            return;
        }
        eprintln!("cairn: waiting for the repository lock, held by {holder}");
    }

    fn says(&self, words: &str) {
        eprintln!("cairn: {words}");
    }

    fn holder(&self) -> String {
        command()
    }

    fn let_go(&self, waited: Duration, held: Duration) {
        let Some(path) = &self.trace else { return };
        let (waited, held) = (waited.as_micros(), held.as_micros());
        let line = format!("{waited} {held} {} {}\n", std::process::id(), command());
        // One write to a file that is appended to: lines of many processes stay whole.
        let file = File::options().append(true).create(true).open(path);
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        if let Err(e) = written {
            eprintln!("cairn: cannot write {}: {e}", path.display());
        }
    }
}

/// Name and verb of this process, for those who wait for it.
fn command() -> String {
    let mut args = std::env::args_os();
    let name = args.next().map(PathBuf::from).unwrap_or_default();
    let name = name.file_name().unwrap_or_default().to_string_lossy();
    let verb = args
        .map(|arg| arg.to_string_lossy().into_owned())
        .find(|arg| !arg.starts_with(['-', '/']));
    format!("{name} {}", verb.unwrap_or_default())
        .trim()
        .to_owned()
}

/// What every command gets.
pub struct Env {
    /// The repository's directory.
    pub root: PathBuf,
    /// The repository below it, where that is given for this command alone.
    pub base: Option<PathBuf>,
    /// True where JSON was asked for.
    pub json: bool,
    /// The driver that was named, for this command alone.
    pub driver: Option<Driver>,
    /// When to verify, as given for this command alone.
    pub verify: Option<Verify>,
    /// Progress of the command, and its end by a signal.
    pub watch: Watch,
    /// Whose command it is.
    pub caller: Caller,
    /// Nothing is said on standard error but what went wrong.
    quiet: bool,
}

impl Env {
    /// What the repository's file of settings says.
    pub fn settings(&self) -> Result<Settings> {
        Ok(SettingsFile::read(&self.root)?.settings()?)
    }

    /// Options for opening the repository: this command's, else the repository's, else the defaults.
    pub fn options(&self) -> Result<Options> {
        Ok(self.options_by(&self.settings()?))
    }

    /// The same where the settings are known.
    pub fn options_by(&self, settings: &Settings) -> Options {
        Options {
            limits: settings.limits(),
            base: self.base.as_ref().or(settings.base_root.as_ref()).cloned(),
            driver: self.driver.or(settings.driver),
            cache_bytes_max: settings.cache_bytes_max,
            gc: settings.gc(),
            retention: settings.retention.clone(),
            verify: self.verify.or(settings.verify).unwrap_or_default(),
            watch: self.watch.clone(),
            notice: Some(Arc::new(Waits {
                trace: std::env::var_os("CAIRN_LOCK_TRACE").map(PathBuf::from),
                quiet: self.quiet,
            })),
            ..Options::default()
        }
    }

    /// The repository, which has to be there.
    pub fn open(&self) -> Result<Repo> {
        Ok(Repo::open(&self.root, self.options()?)?)
    }

    /// The repository, made if it is not there yet: for commands that bring something.
    pub fn open_or_create(&self) -> Result<Repo> {
        self.open_with(self.options()?)
    }

    /// The same with other options.
    pub fn open_with(&self, options: Options) -> Result<Repo> {
        Ok(Repo::open_or_create(&self.root, options)?)
    }
}

/// Runs a command.
pub fn dispatch(cli: Cli, watch: Watch, caller: Caller) -> Result<u8> {
    let global = cli.global;
    let root = global.root.map_or_else(|| caller.default_root(), Ok)?;
    let root = std::path::absolute(&root).context("resolve the repository path")?;
    let place = root.clone();
    output::hint_by(move |error| suggest::hint(&place, error));
    let env = Env {
        root,
        base: global.base_root,
        json: global.json,
        watch,
        caller,
        driver: global.driver,
        quiet: matches!(
            cli.command,
            Command::Run(_) | Command::Exec(_) | Command::Attach(_) | Command::After { .. }
        ),
        verify: global.verify,
    };
    match cli.command {
        Command::Quickstart { keep } => quickstart::run(&env, keep),
        Command::Create { frames } => init::init(&env, frames),
        Command::Import(args) => images::import(&env, args),
        Command::Estimate(args) => estimate::estimate(&env, &args),
        Command::Pull(args) => return pull::pull(&env, &args),
        Command::Push(args) => push::push(&env, &args),
        Command::Login(args) => login::login(&env, &args),
        Command::Logout(args) => login::logout(&env, &args),
        Command::Sign(args) => sign::sign(&env, &args),
        Command::Verify(args) => sign::verify(&env, &args),
        Command::Export(args) => images::export(&env, args),
        Command::Have(args) => have::have(&env, &args),
        Command::Images(args) => images::list(&env, &args),
        Command::Inspect {
            name,
            format,
            show_env,
            document,
        } => match document {
            Some(document) => inspect::document(&env, &name, &document),
            None => inspect::inspect(&env, &name, format.as_deref(), show_env),
        },
        Command::History {
            image,
            listing,
            show_env,
        } => images::history(&env, &image, &listing, show_env),
        Command::Tag { image, name } => images::tag(&env, &image, &name),
        Command::Rmi { images } => return images::remove(&env, &images),
        Command::Rebase(args) => rebase::rebase(&env, &args),
        Command::Flatten(args) => rebase::flatten(&env, &args),
        Command::Which(args) => rebase::which(&env, &args),
        Command::Run(args) => return run::run(&env, *args),
        Command::Ps(args) => ps::list(&env, &args),
        Command::Rm {
            containers,
            force,
            volumes,
        } => return stop::remove(&env, &containers, force, volumes),
        Command::Stop { containers, time } => return stop::stop(&env, &containers, time),
        Command::Kill { containers, signal } => return stop::kill(&env, &containers, &signal),
        Command::CreateContainer(args) => run::create(&env, *args),
        Command::Start {
            containers,
            attach,
            interactive,
            detach_keys,
        } => {
            let attach = attach.then_some((interactive, detach_keys.as_deref()));
            return start::start(&env, &containers, attach);
        }
        Command::Restart { containers, time } => return start::restart(&env, &containers, time),
        Command::Attach(args) => return attach::attach(&env, &args),
        Command::Exec(args) => return exec::exec(&env, args),
        Command::Update(args) => return update::update(&env, args),
        Command::Top { container } => top::top(&env, &container),
        Command::Generate(command) => generate::run(&env, &command),
        Command::Wait { containers } => return wait::wait(&env, &containers),
        Command::Pause { containers } => return pause::pause(&env, &containers),
        Command::Unpause { containers } => return pause::unpause(&env, &containers),
        Command::Rename { container, name } => rename::rename(&env, &container, &name),
        Command::Diff(args) => diff::diff(&env, &args),
        Command::Volume(command) => return volume::run(&env, command),
        Command::Port { container } => port::port(&env, &container),
        Command::Cp(args) => cp::cp(&env, &args),
        Command::Logs(args) => logs::logs(&env, &args),
        Command::Commit(args) => commit::commit(&env, &args),
        Command::Completions { shell } => documents::completions(shell),
        Command::Man { directory } => documents::man(&directory),
        Command::Stage { order } => return run::step(order),
        Command::After { id } => stop::after(&env, &id),
        Command::Bundle { name, directory } => bundle::bundle(&env, &name, &directory),
        Command::Oci(_) => return oci::misplaced(),
        Command::Snapshot(command) => snapshots::run(&env, command),
        Command::Mount {
            name,
            target,
            suid,
            dev,
        } => snapshots::mount(&env, &name, &target, MountOptions { suid, dev }),
        Command::Unmount { target, lazy } => snapshots::unmount(&env, &target, lazy),
        Command::Events(args) => events::events(&env, &args),
        Command::Gc(args) => gc::gc(&env, args),
        Command::Optimize(args) => optimize::optimize(&env, &args),
        Command::Pin { images } => return keep::pin(&env, &images),
        Command::Unpin { images } => return keep::unpin(&env, &images),
        Command::Expire { after, images } => return keep::expire(&env, after, &images),
        Command::Backup { directory } => backup::backup(&env, &directory),
        Command::Serve(args) => serve::serve(&env, args),
        Command::Restore { directory } => backup::restore(&env, &directory),
        Command::Config(command) => config::run(&env, &command),
        Command::Why { object } => why::why(&env, &object),
        Command::Orphans(args) => why::orphans(&env, &args),
        Command::Driver => driver::show(&env),
        Command::Doctor => return doctor::doctor(&env),
        Command::Stats(args) => stats::stats(&env, &args),
        Command::Check(args) => return check::check(&env, &args),
    }?;
    Ok(0)
}
