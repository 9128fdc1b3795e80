//! `run`, `ps`, `rm`, `stop`, `logs`, `commit`, and the hidden steps of a launch.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cairn_image::ContainerConfig;
use cairn_model::{ImageRef, SnapshotKey, path_display};
use cairn_repo::{CommitOptions, Container, Image, Repo, time};
use cairn_runtime::{Bind, Frozen, LaunchSpec, Network, State, Status, Tmpfs};
use cairn_snapshot::Snapshotter;
use serde_json::{Value, json};

use super::Env;
use crate::args::{Commit, NetworkName, Run};
use crate::output::{self, Table, Usage, ago};

const STOP_SECONDS: u64 = 10;
/// What a process has to find to be mounted on, beside what the user asks for.
const DIRECTORIES: [&str; 3] = ["proc", "sys", "dev"];
const FILES: [&str; 3] = ["etc/hosts", "etc/hostname", "etc/resolv.conf"];

/// What `run` exits with when it fails itself, as Docker does: 0–124 are the process's.
const RUN_FAILED: u8 = 125;

/// `cairn run`
pub fn run(env: &Env, args: Run) -> Result<u8> {
    launch(env, args).map_err(|e| match output::exit_code(&e) {
        1 => e.context(output::Exit(RUN_FAILED, String::new())),
        _ => e,
    })
}

fn launch(env: &Env, args: Run) -> Result<u8> {
    let repo = env.open()?;
    let [name, command @ ..] = &args.image_and_command[..] else {
        bail!(Usage("no image was given".into()))
    };
    if name.starts_with('-') {
        bail!(Usage(format!(
            "there is no option {name}; \"cairn run --help\" lists them"
        )));
    }
    // Finding out what works here takes trial mounts at its first time: not while others wait.
    repo.driver()?;
    // One opening of the database for all that follows.
    let hold = repo.store().db().hold();
    let (parent, image) = find(&repo, name)?;
    let config = image
        .as_ref()
        .map(|image| image.config.container())
        .unwrap_or_default();
    let words = command_line(&args, command, &config);
    if words.is_empty() {
        bail!(Usage(format!("{name} names no command; give one after it")));
    }
    let container = repo.create_container(
        args.name.as_deref(),
        parent.as_ref(),
        image.as_ref().map(|i| i.row.id),
        name,
        &words,
    )?;
    let directory = repo.container_dir(&container.id);
    let prepared = prepare(&repo, &args, &config, words, &container, &directory)
        .and_then(|spec| Ok(spec.save(&directory)?));
    if let Err(e) = prepared {
        // The container never ran; the first error is the one to tell.
        let _ = repo.remove_container(&container);
        return Err(e);
    }
    // From here on nothing holds the database: the monitor is a fresh program image.
    drop(hold);
    drop(repo);
    if !args.detach {
        let e = Command::new("/proc/self/exe")
            .arg("__monitor")
            .arg(&directory)
            .exec();
        return Err(e).context("start the monitor");
    }
    start_detached(&directory)?;
    println!("{}", container.name);
    Ok(0)
}

/// Starts the monitor in the background and waits until the process has begun.
fn start_detached(directory: &Path) -> Result<()> {
    let (mut reader, writer) = std::io::pipe().context("make a pipe")?;
    rustix::io::fcntl_setfd(&writer, rustix::io::FdFlags::empty()).context("pass on the pipe")?;
    let log = std::fs::File::create(directory.join("log")).context("create the container's log")?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg("__monitor")
        .arg(directory)
        .arg(writer.as_raw_fd().to_string());
    command
        .stdin(Stdio::null())
        .stderr(log.try_clone()?)
        .stdout(log);
    command.spawn().context("start the monitor")?;
    drop(writer);
    let mut answer = vec![0; 1];
    match reader.read(&mut answer)? {
        1 if answer[0] == 0 => Ok(()),
        1 => {
            let mut words = String::new();
            reader.read_to_string(&mut words)?;
            bail!(output::Exit(answer[0], words))
        }
        _ => bail!("the monitor ended before the process began"),
    }
}

/// The snapshot to start from, and the image if it is one.
fn find(repo: &Repo, name: &str) -> Result<(Option<SnapshotKey>, Option<Image>)> {
    match repo.image(name) {
        Ok(image) => return Ok((image.row.top.clone(), Some(image))),
        Err(cairn_repo::Error::NoImage(_)) => {}
        Err(e) => return Err(e.into()),
    }
    if let Ok(key) = name.parse::<SnapshotKey>()
        && repo.stat(&key).is_ok()
    {
        return Ok((Some(key), None));
    }
    bail!(
        "there is no image or snapshot {name}; \"cairn images\" and \"cairn snapshot ls\" list those that exist"
    )
}

/// Entrypoint and command as Docker joins them: a given entrypoint also drops the image's command.
fn command_line(args: &Run, command: &[String], config: &ContainerConfig) -> Vec<String> {
    let mut words = match &args.entrypoint {
        Some(entrypoint) if entrypoint.is_empty() => Vec::new(),
        Some(entrypoint) => vec![entrypoint.clone()],
        None => config.entrypoint.clone(),
    };
    match (command, &args.entrypoint) {
        ([], None) => words.extend(config.cmd.iter().cloned()),
        (command, _) => words.extend(command.iter().cloned()),
    }
    words
}

fn environment(args: &Run, config: &ContainerConfig) -> Result<Vec<String>> {
    let mut env = config.env.clone();
    for file in &args.env_file {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        env.extend(
            text.lines()
                .map(str::trim)
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
                .map(str::to_owned),
        );
    }
    env.extend(args.env.iter().cloned());
    // A name without a value passes on ours, if there is one.
    let full = |variable: String| {
        if variable.contains('=') {
            Some(variable)
        } else {
            std::env::var(&variable)
                .ok()
                .map(|value| format!("{variable}={value}"))
        }
    };
    Ok(env.into_iter().filter_map(full).collect())
}

fn prepare(
    repo: &Repo,
    args: &Run,
    config: &ContainerConfig,
    words: Vec<String>,
    container: &Container,
    directory: &Path,
) -> Result<LaunchSpec> {
    let hostname = args
        .hostname
        .clone()
        .unwrap_or_else(|| container.id.short());
    let mut binds = vec![];
    let mut directories: Vec<String> = DIRECTORIES.map(str::to_owned).into();
    let mut files: Vec<String> = FILES.map(str::to_owned).into();
    for (name, text) in generated(&hostname, args.network) {
        let source = directory.join(name);
        std::fs::write(&source, text).with_context(|| format!("write {}", source.display()))?;
        binds.push(Bind {
            source,
            target: format!("/etc/{name}"),
            read_only: false,
        });
    }
    let mut tmpfs = Vec::new();
    for text in &args.tmpfs {
        let (target, options) = text.split_once(':').unwrap_or((text, "mode=1777"));
        directories.push(absolute(target)?);
        tmpfs.push(Tmpfs {
            target: target.to_owned(),
            options: options.to_owned(),
        });
    }
    for volume in &args.volume {
        let bind = parse_volume(volume)?;
        if bind.source.is_dir() {
            &mut directories
        } else {
            &mut files
        }
        .push(absolute(&bind.target)?);
        binds.push(bind);
    }
    for target in config.volumes.keys() {
        let covered = binds
            .iter()
            .any(|bind| bind.target.trim_end_matches('/') == target.trim_end_matches('/'));
        if !covered
            && !args
                .tmpfs
                .iter()
                .any(|t| t.split(':').next() == Some(target))
        {
            directories.push(absolute(target)?);
            let source = repo.seed_volume(container, target)?;
            binds.push(Bind {
                source,
                target: target.clone(),
                read_only: false,
            });
        }
    }
    let cwd = match (&args.workdir, config.working_dir.as_str()) {
        (Some(dir), _) => dir.clone(),
        (None, "") => "/".to_owned(),
        (None, dir) => dir.to_owned(),
    };
    let cwd = if cwd.starts_with('/') {
        cwd
    } else {
        format!("/{cwd}")
    };
    directories.push(cwd.clone());
    // A mount below another comes after it.
    binds.sort_by_key(|bind| {
        bind.target
            .split('/')
            .filter(|part| !part.is_empty())
            .count()
    });
    let plan = repo.launch_plan(container, &directories, &files)?;
    let exe = std::fs::read_link("/proc/self/exe").context("find this program")?;
    let after = |exe: &Path| {
        let root = repo.root().to_string_lossy().into_owned();
        vec![
            exe.to_string_lossy().into_owned(),
            "--root".into(),
            root,
            "__after".into(),
            container.id.hex(),
        ]
    };
    Ok(LaunchSpec {
        id: container.id.hex(),
        plan,
        args: words,
        env: environment(args, config)?,
        cwd,
        user: args.user.clone().unwrap_or_else(|| config.user.clone()),
        hostname,
        read_only: args.read_only,
        binds,
        tmpfs,
        network: match args.network {
            NetworkName::Host => Network::Host,
            NetworkName::None => Network::None,
        },
        terminal: args.tty,
        interactive: args.interactive,
        detach: args.detach,
        init: args.init,
        after: if args.rm { after(&exe) } else { Vec::new() },
    })
}

fn absolute(target: &str) -> Result<String> {
    if target.starts_with('/') && target.len() > 1 {
        return Ok(target.to_owned());
    }
    bail!(Usage(format!(
        "{target:?} is no place in the container: it must start with / and not be / itself"
    )))
}

/// `HOST:CONTAINER[:ro|rw]`
fn parse_volume(text: &str) -> Result<Bind> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, read_only) = match parts[..] {
        [source, target] | [source, target, "rw"] => (source, target, false),
        [source, target, "ro"] => (source, target, true),
        _ => bail!(Usage(format!(
            "volume {text:?}: write HOST:CONTAINER or HOST:CONTAINER:ro"
        ))),
    };
    let source = PathBuf::from(source)
        .canonicalize()
        .with_context(|| format!("volume {source}"))?;
    Ok(Bind {
        source,
        target: absolute(target)?,
        read_only,
    })
}

/// The files that the network decides, not the image.
fn generated(hostname: &str, network: NetworkName) -> [(&'static str, String); 3] {
    let local = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";
    let resolv = match network {
        NetworkName::Host => std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
        NetworkName::None => String::new(),
    };
    [
        ("hosts", format!("{local}127.0.1.1\t{hostname}\n")),
        ("hostname", format!("{hostname}\n")),
        ("resolv.conf", resolv),
    ]
}

fn status_text(state: &State) -> String {
    match state.status {
        Status::Created => "created".into(),
        Status::Running => format!(
            "running for {}",
            ago(state.started as i64).trim_end_matches(" ago")
        ),
        Status::Exited(code) => format!("exited ({code}) {}", ago(state.finished as i64)),
        Status::Lost => "lost (its monitor was killed)".into(),
    }
}

fn container_json(repo: &Repo, container: &Container) -> Value {
    let state = State::load(&repo.container_dir(&container.id));
    let (status, code) = match state.status {
        Status::Created => ("created", None),
        Status::Running => ("running", None),
        Status::Exited(code) => ("exited", Some(code)),
        Status::Lost => ("lost", None),
    };
    json!({
        "id": container.id.hex(),
        "name": container.name,
        "image": container.image_name,
        "image_id": container.image.map(|id| id.to_string()),
        "snapshot": container.snapshot.to_string(),
        "command": container.command,
        "created": time::rfc3339(container.created),
        "status": status,
        "exit_code": code,
        "pid": state.is_running().then_some(state.pid),
    })
}

/// `cairn ps`
pub fn list(env: &Env, all: bool) -> Result<()> {
    let repo = env.open()?;
    let mut containers = repo.containers()?;
    containers.retain(|c| all || State::load(&repo.container_dir(&c.id)).is_running());
    if env.json {
        return Ok(output::json(
            &containers
                .iter()
                .map(|c| container_json(&repo, c))
                .collect(),
        )?);
    }
    let mut table = Table::new(&["NAME", "ID", "IMAGE", "COMMAND", "STATUS"]);
    for c in &containers {
        let status = status_text(&State::load(&repo.container_dir(&c.id)));
        table.row(vec![
            c.name.clone(),
            c.id.short(),
            c.image_name.clone(),
            c.command.join(" "),
            status,
        ]);
    }
    Ok(table.print()?)
}

/// What `cairn inspect` shows of a container.
pub fn inspect(repo: &Repo, name: &str, show_env: bool) -> Result<Value> {
    let container = repo.container(name)?;
    let mut value = container_json(repo, &container);
    if let Ok(spec) = LaunchSpec::load(&repo.container_dir(&container.id)) {
        let mut spec = serde_json::to_value(spec)?;
        if !show_env {
            let mut config = json!({"config": {"Env": spec["env"]}});
            super::images::redact(&mut config);
            spec["env"] = config["config"]["Env"].take();
        }
        value["launch"] = spec;
    }
    Ok(value)
}

fn kill(state: &State, signal: rustix::process::Signal) {
    // It may have ended just now, which is what was wanted.
    if let Some(pid) = rustix::process::Pid::from_raw(state.pid) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

fn wait_for_end(directory: &Path, patience: Duration) -> bool {
    let start = Instant::now();
    while State::load(directory).is_running() {
        if start.elapsed() > patience {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// `cairn stop`
pub fn stop(env: &Env, names: &[String], seconds: Option<u64>) -> Result<()> {
    let repo = env.open()?;
    for name in names {
        let directory = repo.container_dir(&repo.container(name)?.id);
        let state = State::load(&directory);
        if !state.is_running() {
            continue;
        }
        kill(&state, rustix::process::Signal::TERM);
        if !wait_for_end(
            &directory,
            Duration::from_secs(seconds.unwrap_or(STOP_SECONDS)),
        ) {
            kill(&state, rustix::process::Signal::KILL);
            if !wait_for_end(&directory, Duration::from_secs(STOP_SECONDS)) {
                bail!("container {name} did not end even when killed");
            }
        }
    }
    Ok(())
}

/// `cairn rm`
pub fn remove(env: &Env, names: &[String], force: bool) -> Result<()> {
    let repo = env.open()?;
    for name in names {
        let container = repo.container(name)?;
        let directory = repo.container_dir(&container.id);
        let state = State::load(&directory);
        if state.is_running() {
            if !force {
                bail!("container {name} runs; stop it first with \"cairn stop {name}\", or use -f");
            }
            kill(&state, rustix::process::Signal::KILL);
            if !wait_for_end(&directory, Duration::from_secs(STOP_SECONDS)) {
                bail!("container {name} did not end even when killed");
            }
        }
        repo.remove_container(&container)?;
    }
    Ok(())
}

/// Waits until the monitor that holds the other end of standard input is done, then removes the
/// container.
pub fn after(env: &Env, id: &str) -> Result<()> {
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    remove(env, &[id.to_owned()], false)
}

/// `cairn logs`
pub fn logs(env: &Env, name: &str, follow: bool) -> Result<()> {
    let repo = env.open()?;
    let directory = repo.container_dir(&repo.container(name)?.id);
    drop(repo);
    let path = directory.join("log");
    let mut log = std::fs::File::open(&path)
        .with_context(|| format!("container {name} has no log: only one started with -d has"))?;
    let mut out = std::io::stdout();
    loop {
        let running = State::load(&directory).is_running();
        std::io::copy(&mut log, &mut out)?;
        out.flush()?;
        if !follow || !running {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// `cairn commit`
pub fn commit(env: &Env, args: &Commit) -> Result<()> {
    let repo = env.open()?;
    let container = repo.container(&args.container)?;
    let name: Option<ImageRef> = args.name.clone();
    let state = State::load(&repo.container_dir(&container.id));
    // A database that is being written is copied whole or not at all.
    let frozen = state
        .is_running()
        .then(|| Frozen::freeze(&container.id.hex(), state.pid))
        .transpose()?;
    let base = container
        .image
        .map(|id| repo.image(&id.to_string()))
        .transpose()?
        .map(|image| image.config);
    let mut options = CommitOptions {
        name,
        author: args.author.clone().unwrap_or_default(),
        message: args.message.clone().unwrap_or_default(),
        created_by: container.command.join(" "),
        config: None,
    };
    if !args.change.is_empty() {
        let current = base
            .as_ref()
            .and_then(|config| config.value().get("config"))
            .filter(|c| c.is_object());
        options.config = Some(changed(
            current.cloned().unwrap_or_else(|| json!({})),
            &args.change,
        )?);
    }
    let done = repo.commit_image(&container.snapshot, base.as_ref(), &options)?;
    drop(frozen);
    for path in &done.left_out {
        eprintln!(
            "cairn: left out {}: layers hold no sockets, and commits no device nodes",
            path_display(path)
        );
    }
    if env.json {
        return Ok(output::json(
            &json!({"id": done.id.to_string(), "bytes_new": done.stats.bytes_new, "bytes_stored": done.stats.bytes_stored}),
        )?);
    }
    println!("{}", done.id);
    Ok(())
}

/// Applies `NAME VALUE` instructions, as `docker commit --change` has them.
fn changed(mut config: Value, changes: &[String]) -> Result<Value> {
    for change in changes {
        let (instruction, rest) = change.split_once([' ', '=']).unwrap_or((change, ""));
        let rest = rest.trim();
        let words = || match serde_json::from_str::<Vec<String>>(rest) {
            Ok(words) => json!(words),
            Err(_) => json!(["/bin/sh", "-c", rest]),
        };
        match instruction.to_ascii_uppercase().as_str() {
            "CMD" => config["Cmd"] = words(),
            "ENTRYPOINT" => config["Entrypoint"] = words(),
            "USER" => config["User"] = json!(rest),
            "WORKDIR" => config["WorkingDir"] = json!(rest),
            "ENV" => {
                let (name, value) = rest.split_once(['=', ' ']).unwrap_or((rest, ""));
                let mut env: Vec<String> =
                    serde_json::from_value(config["Env"].clone()).unwrap_or_default();
                env.retain(|variable| !variable.starts_with(&format!("{name}=")));
                env.push(format!("{name}={}", value.trim_matches('"')));
                config["Env"] = json!(env);
            }
            "LABEL" => {
                let (name, value) = rest.split_once(['=', ' ']).unwrap_or((rest, ""));
                if !config["Labels"].is_object() {
                    config["Labels"] = json!({});
                }
                config["Labels"][name] = json!(value.trim_matches('"'));
            }
            _ => bail!(Usage(format!(
                "change {change:?}: known are CMD, ENTRYPOINT, ENV, LABEL, USER and WORKDIR"
            ))),
        }
    }
    Ok(config)
}
