//! From an image and what the user wants to a launch that is decided and written down.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cairn_image::ContainerConfig;
use cairn_model::MountPlan;
use cairn_repo::{Container, Image, Repo};
use cairn_runtime::{
    ContainerLock, DeviceNode, DeviceRule, IdClaim, LaunchSpec, Mount, SecretValue, Space, Text,
};

use crate::command::CommandLine;
use crate::environment::environment;
use crate::error::{Error, Result, Step};
use crate::options::RunOptions;
use crate::surroundings::Spaces;
use crate::{config, devices, generated, mounts, secrets, service, sysctl, ulimit, users};

/// A container that is ready to be started, locked by this process.
#[derive(Debug)]
#[must_use = "a container that is never started stays as it is"]
pub struct Prepared {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) warnings: Vec<String>,
    pub(crate) directory: PathBuf,
    pub(crate) spec: LaunchSpec,
    pub(crate) secrets: Vec<SecretValue>,
    pub(crate) lock: ContainerLock,
    pub(crate) claim: Option<IdClaim>,
}

/// A container that is being made.
pub(crate) struct Making<'a> {
    pub repo: &'a Repo,
    pub options: &'a RunOptions,
    pub config: &'a ContainerConfig,
    pub image: Option<&'a Image>,
    pub line: &'a CommandLine,
    pub container: &'a Container,
    pub directory: PathBuf,
}

impl Making<'_> {
    /// Decides everything and writes it down; the container's snapshot is mounted by `plan`.
    pub fn prepare(&self, lock: ContainerLock, plan: MountPlan) -> Result<Prepared> {
        let (options, around) = (self.options, &self.options.surroundings);
        let Spaces { ipc, uts, pid } = around.spaces(self.repo, &options.network)?;
        let id = self.container.id.hex();
        let (ids, claim) = users::ids(around.userns.as_deref(), &id, options.security.privileged)?;
        let kept = users::kept(around.userns.as_deref());
        let hostname = hostname(options, &uts, self.container)?;
        generated::check_hostname(&hostname)?;
        let cwd = working_directory(options.workdir.as_ref(), &self.config.working_dir)?;
        // Held until the spec says that they are used.
        let mounts::Settled { mut mounts, held } = self.mounts(&hostname)?;
        mounts.extend(service::socket(
            options.sdnotify.as_deref(),
            &self.directory,
        ));
        let plan = self.plan(plan, &mounts, &cwd)?;
        let mut env = environment(self.config, &options.env_files, &options.env)?;
        let user = options.user.clone();
        // Who keeps their ids is who runs in it.
        let user = user.or_else(|| kept.map(|kept| format!("{}:{}", kept.uid, kept.gid)));
        let user = user.unwrap_or_else(|| self.config.user.clone());
        let (devices, nodes) = self.devices()?;
        let settled = options
            .security
            .settle(&options.network, cairn_runtime::can_control_devices())?;
        cairn_runtime::make_room_for_groups();
        let (ulimits, warnings) = ulimit::ulimits(&around.ulimits)?;
        let changed = config::changed(self.image, options, self.line, &env, &cwd, &user);
        config::write(&self.directory, &changed)?;
        // Of this container, and not of an image that is made of it.
        let notify = service::notify(options.sdnotify.as_deref())?;
        env.extend(service::variable(notify));
        let spec = LaunchSpec {
            group: cairn_runtime::group_name(self.repo.root(), &id),
            plan,
            args: self.line.words(),
            env,
            cwd,
            user,
            hostname,
            read_only: options.read_only,
            mounts,
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
            devices,
            nodes,
            privileged: options.security.privileged,
            ulimits,
            sysctls: sysctl::sysctls(&around.sysctls, &options.network, ipc != Space::Host)?,
            shm_bytes: around.shm_bytes()?,
            ipc,
            uts,
            pid,
            ids,
            kept,
            notify,
            runtime: crate::runtime::program(options.runtime.as_deref())?,
            labels: labels(&options.labels)?,
            stop_timeout_secs: options.stop_timeout_secs,
            stop_signal: stop_signal(options, self.image)?,
            after: self.after()?,
        };
        crate::runtime::write_bundle(&spec, &self.directory)?;
        let secrets = secrets::values(&spec)?;
        spec.save(&self.directory)?;
        drop(held);
        Ok(Prepared {
            directory: self.directory.clone(),
            id,
            name: self.container.name.clone(),
            warnings,
            spec,
            secrets,
            lock,
            claim,
        })
    }

    /// What the user mounts, what the image declares where the user does not, and the generated files.
    fn mounts(&self, hostname: &str) -> Result<mounts::Settled> {
        let declared = self.config.volumes.keys();
        let mut all = mounts::settle(self.repo, self.container, self.options, declared)?;
        all.mounts.extend(generated::files(
            &self.directory,
            hostname,
            &self.options.network,
            &self.options.names,
        )?);
        Ok(all)
    }

    /// How to mount the root, with a mount point for all that needs one.
    fn plan(&self, plan: MountPlan, mounts: &[Mount], cwd: &Text) -> Result<MountPlan> {
        let (directories, files) = mounts::mount_points(mounts, cwd);
        let bytes = |texts: &[Text]| -> Vec<Vec<u8>> {
            texts.iter().map(|text| text.as_bytes().to_vec()).collect()
        };
        Ok(self.repo.containers().launch_plan(
            self.container,
            plan,
            &bytes(&directories),
            &bytes(&files),
        )?)
    }

    /// The devices that it may use, all where there is no list, and the nodes of those that are not usual.
    fn devices(&self) -> Result<(Option<Vec<DeviceRule>>, Vec<DeviceNode>)> {
        let privileged = self.options.security.privileged;
        let (rules, mut nodes) = self.options.limits.devices()?;
        if privileged {
            nodes.extend(devices::all_devices()?);
        }
        if !nodes.is_empty() && !cairn_runtime::rootless::has_all_ids() {
            return Err(Error::Refused(
                "--device is available to root only: others may not make device nodes".into(),
            ));
        }
        let controlled = cairn_runtime::can_control_devices();
        Ok(((controlled && !privileged).then_some(rules), nodes))
    }

    /// The command that removes the container when it has ended, if that is wanted.
    fn after(&self) -> Result<Vec<Text>> {
        match self.options.remove {
            true => removal(self.repo, self.container),
            false => Ok(Vec::new()),
        }
    }
}

/// The host name that the process sees.
fn hostname(options: &RunOptions, uts: &Space, container: &Container) -> Result<String> {
    match (&options.hostname, uts) {
        (Some(_), Space::Host | Space::Container { .. }) => Err(Error::Usage(
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
