//! Creation: from an image and what the user wants to a container whose launch is written down.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cairn_image::ContainerConfig;
use cairn_model::SnapshotKey;
use cairn_repo::{Container, Image, NewContainer, Repo};
use cairn_runtime::{
    ContainerLock, LaunchSpec, LogLimits, Mount, MountKind, Network, Origin, Space, Text,
};
use cairn_snapshot::Snapshotter;
use serde_json::{Value, json};

use crate::command::CommandLine;
use crate::environment::environment;
use crate::error::{Error, Result, Step};
use crate::generated::Names;
use crate::interrupt::Interrupts;
use crate::limits::LimitOptions;
use crate::security::Security;
use crate::surroundings::Surroundings;
use crate::{generated, limits, mounts, sysctl, ulimit};

/// File in a container's directory that holds its configuration: the image's, with what the user changed.
pub(crate) const CONFIG: &str = "config.json";

/// What the user wants.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Image or committed snapshot.
    pub image: String,
    /// Words after it.
    pub command: Vec<Text>,
    /// Name of the container.
    pub name: Option<String>,
    /// Connect standard input.
    pub interactive: bool,
    /// Give it a terminal.
    pub terminal: bool,
    /// Run in the background.
    pub detach: bool,
    /// Remove it when it has ended.
    pub remove: bool,
    /// `HOST:CONTAINER[:ro]`
    pub volumes: Vec<Text>,
    /// `CONTAINER[:OPTIONS]`
    pub tmpfs: Vec<String>,
    /// `NAME[=VALUE]`
    pub env: Vec<Text>,
    /// Files with such lines.
    pub env_files: Vec<PathBuf>,
    /// Working directory.
    pub workdir: Option<Text>,
    /// `USER[:GROUP]`
    pub user: Option<String>,
    /// Program instead of the image's entrypoint.
    pub entrypoint: Option<Text>,
    /// Host name.
    pub hostname: Option<String>,
    /// The root file system cannot be written.
    pub read_only: bool,
    /// Network.
    pub network: Network,
    /// A small init stays process 1.
    pub init: bool,
    /// What the process may do.
    pub security: Security,
    /// What it may use.
    pub limits: LimitOptions,
    /// Namespaces, kernel parameters and limits of the process.
    pub surroundings: Surroundings,
    /// What is added to its files of names.
    pub names: Names,
    /// `NAME[=VALUE]`
    pub labels: Vec<String>,
    /// Seconds between the stop signal and the end.
    pub stop_timeout_secs: Option<u64>,
    /// Signal that asks it to end, instead of the image's.
    pub stop_signal: Option<String>,
    /// How much of its output is kept.
    pub log: LogLimits,
}

/// A container that is ready to be started, locked by this process.
#[derive(Debug)]
#[must_use = "a container that is never started stays as it is"]
pub struct Prepared {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) warnings: Vec<String>,
    pub(crate) directory: PathBuf,
    pub(crate) spec: LaunchSpec,
    pub(crate) lock: ContainerLock,
}

/// Creates a container. Until [`Prepared`] is started, a signal that `interrupts` sees takes it back.
pub fn create(repo: &Repo, options: &RunOptions, interrupts: &Interrupts) -> Result<Prepared> {
    let _span = tracing::info_span!("create_container").entered();
    if options.interactive && options.terminal && !options.detach {
        // As Docker does: nobody could type, and the end of the input would never reach the process.
        let stdin = rustix::stdio::stdin();
        if !rustix::termios::isatty(stdin) {
            return Err(Error::Refused(
                "standard input is not a terminal; omit -t to use a pipe".into(),
            ));
        }
    }
    // Finding out what works here takes trial mounts at its first time: not while others wait.
    repo.views().driver()?;
    // One opening of the database for all that follows.
    let hold = repo.store().db().hold();
    let (parent, image) = find(repo, &options.image)?;
    let config = image
        .as_ref()
        .map(|image| image.config.container())
        .unwrap_or_default();
    let line = CommandLine::of(options.entrypoint.as_ref(), &options.command, &config);
    let words = line.words();
    if words.is_empty() {
        return Err(Error::Usage(format!(
            "image {} has no command; add one after the image name",
            options.image
        )));
    }
    let lock = std::cell::RefCell::new(None);
    let container = repo.containers().create(
        &NewContainer {
            name: options.name.as_deref(),
            parent: parent.as_ref(),
            image: image.as_ref().map(|i| i.row.id),
            image_name: &options.image,
            command: &words.iter().map(Text::lossy).collect::<Vec<_>>(),
        },
        // Before anybody sees it.
        &|directory| {
            let taken = ContainerLock::take(directory).map_err(std::io::Error::other)?;
            *lock.borrow_mut() = Some(taken);
            if let Some(id) = directory.file_name().and_then(|name| name.to_str()) {
                interrupts.created(id);
            }
            Ok(())
        },
    )?;
    let lock = lock.into_inner();
    let lock = lock.ok_or_else(|| Error::Refused("the container is not locked".into()));
    let mut warnings = Vec::new();
    let prepared = lock.and_then(|lock| {
        let image = image.as_ref();
        let prepared = prepare(
            repo,
            options,
            &config,
            image,
            &line,
            &container,
            &mut warnings,
        );
        prepared.map(|spec| (spec, lock))
    });
    drop(hold);
    match prepared {
        Ok((spec, lock)) => Ok(Prepared {
            directory: repo.containers().dir(&container.id),
            id: container.id.hex(),
            name: container.name,
            warnings,
            spec,
            lock,
        }),
        Err(e) => {
            // The container never ran; the first error is the one to tell.
            let _ = repo.containers().remove(&container);
            Err(e)
        }
    }
}

/// The snapshot to start from, and the image if it is one.
fn find(repo: &Repo, name: &str) -> Result<(Option<SnapshotKey>, Option<Image>)> {
    match repo.images().find(name) {
        Ok(image) => return Ok((image.row.top.clone(), Some(image))),
        Err(cairn_repo::Error::NoImage(_)) => {}
        Err(e) => return Err(e.into()),
    }
    if let Ok(key) = name.parse::<SnapshotKey>()
        && repo.snapshots().stat(&key).is_ok()
    {
        return Ok((Some(key), None));
    }
    Err(Error::Refused(format!(
        "no image or snapshot named {name}; see \"cairn images\" and \"cairn snapshot ls\""
    )))
}

fn prepare(
    repo: &Repo,
    options: &RunOptions,
    config: &ContainerConfig,
    image: Option<&Image>,
    line: &CommandLine,
    container: &Container,
    warnings: &mut Vec<String>,
) -> Result<LaunchSpec> {
    let directory = repo.containers().dir(&container.id);
    let (ipc, uts) = options.surroundings.spaces(repo)?;
    let hostname = hostname(options, &uts, container)?;
    generated::check_hostname(&hostname)?;
    let mut all = Vec::new();
    for text in &options.tmpfs {
        all.push(mounts::tmpfs(text)?);
    }
    for text in &options.volumes {
        all.push(mounts::volume(text)?);
    }
    let declared: Vec<&String> = config
        .volumes
        .keys()
        .filter(|target| {
            let names = mounts::normal(target.as_bytes());
            !names.is_empty()
                && all
                    .iter()
                    .all(|mount| mounts::normal(mount.target.as_bytes()) != names)
        })
        .collect();
    let sources = repo.containers().seed_volumes(container, &declared)?;
    for (target, source) in declared.into_iter().zip(sources) {
        all.push(Mount {
            target: format!("/{target}").into(),
            what: MountKind::Bind { source },
            read_only: false,
            origin: Origin::Image,
        });
    }
    all.extend(generated::files(
        &directory,
        &hostname,
        &options.network,
        &options.names,
    )?);
    let cwd = working_directory(options.workdir.as_ref(), &config.working_dir)?;
    let (directories, files) = mounts::mount_points(&all, &cwd);
    let bytes = |texts: &[Text]| -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    };
    let plan = repo
        .containers()
        .launch_plan(container, &bytes(&directories), &bytes(&files))?;
    let env = environment(config, &options.env_files, &options.env)?;
    let user = options.user.clone().unwrap_or_else(|| config.user.clone());
    let stop_signal = stop_signal(options, image)?;
    let controlled = cairn_runtime::can_control_devices();
    let settled = options.security.settle(&options.network, controlled)?;
    let privileged = options.security.privileged;
    let (rules, mut nodes) = options.limits.devices()?;
    if privileged {
        nodes.extend(limits::all_devices()?);
    }
    let (ulimits, warned) = ulimit::ulimits(&options.surroundings.ulimits)?;
    *warnings = warned;
    if !nodes.is_empty() && !rustix::process::geteuid().is_root() {
        return Err(Error::Refused(
            "--device is available to root only: others may not make device nodes".into(),
        ));
    }
    let changed = changed(image, options, line, &env, &cwd, &user);
    write_config(&directory, &changed)?;
    let spec = LaunchSpec {
        group: cairn_runtime::group_name(repo.root(), &container.id.hex()),
        plan,
        args: line.words(),
        env,
        cwd,
        user,
        hostname,
        read_only: options.read_only,
        mounts: all,
        network: options.network.clone(),
        terminal: options.terminal,
        interactive: options.interactive,
        detach: options.detach,
        // Nobody could read it later.
        log: (options.detach || !options.remove).then_some(options.log),
        init: options.init,
        no_new_privileges: settled.no_new_privileges,
        capabilities: settled.capabilities,
        ambient: settled.ambient,
        seccomp: settled.seccomp,
        limits: options.limits.limits()?,
        devices: (controlled && !privileged).then_some(rules),
        nodes,
        privileged,
        ulimits,
        sysctls: sysctl::sysctls(
            &options.surroundings.sysctls,
            &options.network,
            ipc != Space::Host,
        )?,
        shm_bytes: options.surroundings.shm_bytes()?,
        ipc,
        uts,
        labels: labels(&options.labels)?,
        stop_timeout_secs: options.stop_timeout_secs,
        stop_signal,
        after: if options.remove {
            removal(repo, container)?
        } else {
            Vec::new()
        },
    };
    spec.save(&directory)?;
    Ok(spec)
}

/// The host name that the process sees.
fn hostname(options: &RunOptions, uts: &Space, container: &Container) -> Result<String> {
    match (&options.hostname, uts) {
        (Some(_), Space::Host | Space::Container(..)) => Err(Error::Usage(
            "--hostname needs a host name of the container's own; omit --uts".into(),
        )),
        (Some(name), Space::Private) => Ok(name.clone()),
        (None, Space::Private) => Ok(container.id.short()),
        (None, _) => std::fs::read_to_string("/proc/sys/kernel/hostname")
            .map(|name| name.trim().to_owned())
            .step("read the host name"),
    }
}

/// `NAME[=VALUE]`, by name.
fn labels(texts: &[String]) -> Result<BTreeMap<String, String>> {
    let split = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        if name.trim().is_empty() {
            return Err(Error::Usage(format!(
                "--label {text:?}: must be NAME[=VALUE]"
            )));
        }
        Ok((name.to_owned(), value.to_owned()))
    };
    texts.iter().map(split).collect()
}

/// The command that removes the container when it has ended.
fn removal(repo: &Repo, container: &Container) -> Result<Vec<Text>> {
    let exe = std::fs::read_link("/proc/self/exe").step("find this program")?;
    Ok(vec![
        exe.into_os_string().into(),
        "--root".into(),
        repo.root().as_os_str().to_owned().into(),
        "__after".into(),
        container.id.hex().into(),
    ])
}

fn stop_signal(options: &RunOptions, image: Option<&Image>) -> Result<i32> {
    let number = |text: &str, whose: &str| {
        cairn_runtime::signal_named(text)
            .ok_or_else(|| Error::Usage(format!("unknown signal {text:?} ({whose})")))
    };
    if let Some(text) = &options.stop_signal {
        return number(text, "--stop-signal");
    }
    let of_image = image.and_then(|i| i.config.value()["config"]["StopSignal"].as_str());
    match of_image.filter(|text| !text.is_empty()) {
        Some(text) => number(
            text,
            "StopSignal of the image; use --stop-signal to override it",
        ),
        None => number("TERM", "the default"),
    }
}

/// The image's configuration with what the user changed, for a commit (`docker commit` keeps it, too).
fn changed(
    image: Option<&Image>,
    options: &RunOptions,
    line: &CommandLine,
    env: &[Text],
    cwd: &Text,
    user: &str,
) -> Value {
    let of_image = image.and_then(|image| image.config.value().get("config"));
    let mut config = of_image
        .filter(|c| c.is_object())
        .cloned()
        .unwrap_or(json!({}));
    let words = |words: &[Text]| json!(words.iter().map(Text::lossy).collect::<Vec<_>>());
    if options.entrypoint.is_some() {
        config["Entrypoint"] = words(&line.entrypoint);
    }
    if options.entrypoint.is_some() || !options.command.is_empty() {
        config["Cmd"] = words(&line.command);
    }
    if !options.env.is_empty() || !options.env_files.is_empty() {
        config["Env"] = words(&last_of_each(env));
    }
    if options.workdir.is_some() {
        config["WorkingDir"] = json!(cwd.lossy());
    }
    if options.user.is_some() {
        config["User"] = json!(user);
    }
    for label in &options.labels {
        let (name, value) = label.split_once('=').unwrap_or((label, ""));
        if !config["Labels"].is_object() {
            config["Labels"] = json!({});
        }
        config["Labels"][name] = json!(value);
    }
    if let Some(signal) = &options.stop_signal {
        config["StopSignal"] = json!(signal);
    }
    config
}

/// The image's, which may be relative to the root, or the one that was asked for; a clean path either way.
fn working_directory(asked: Option<&Text>, image: &str) -> Result<Text> {
    let directory = match asked.map(Text::as_bytes) {
        Some(asked) if !asked.is_empty() && !asked.starts_with(b"/") => {
            return Err(Error::Usage(format!(
                "working directory {:?}: give an absolute path of the container",
                String::from_utf8_lossy(asked)
            )));
        }
        Some(asked) => asked,
        None => image.as_bytes(),
    };
    Ok(Text::from(
        [b"/", &mounts::normal(directory).join(&b'/')[..]].concat(),
    ))
}

/// Each variable once, with the value that counts, in the order in which they came first.
fn last_of_each(env: &[Text]) -> Vec<Text> {
    let name = |v: &Text| {
        v.as_bytes()
            .split(|b| *b == b'=')
            .next()
            .map(<[u8]>::to_vec)
    };
    let mut places = std::collections::HashMap::new();
    let mut all: Vec<Text> = Vec::new();
    for variable in env {
        match places.get(&name(variable)) {
            Some(place) => {
                let place: &usize = place;
                all[*place] = variable.clone();
            }
            None => {
                places.insert(name(variable), all.len());
                all.push(variable.clone());
            }
        }
    }
    all
}

fn write_config(directory: &std::path::Path, config: &Value) -> Result<()> {
    use std::io::Write;
    let path = directory.join(CONFIG);
    let mut options = std::fs::File::options();
    // It has environment values.
    std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), 0o600);
    let bytes = serde_json::to_vec(config)
        .map_err(std::io::Error::other)
        .step("encode the container's configuration")?;
    options
        .open(&path)
        .and_then(|mut file| file.write_all(&bytes))
        .step(format!("write {}", path.display()))
}
