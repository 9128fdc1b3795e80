//! What ordinary users can do here: namespaces, subordinate ids, networks.

use cairn_runtime::NetworkHelper;
use cairn_runtime::rootless::Rootless;

use super::system::read;
use crate::commands::{Caller, Env};
use crate::report::doctor::Finding;

const AREA: &str = "users";
/// Settings of the kernel that switch user namespaces off, the value that does, and who has them.
const SWITCHES: [(&str, &str); 3] = [
    ("user/max_user_namespaces", "0"),
    ("kernel/unprivileged_userns_clone", "0"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1"),
];

pub(super) fn look(env: &Env) -> Vec<Finding> {
    vec![namespaces(), ids(&env.caller), id_helpers(), network()]
}

fn namespaces() -> Finding {
    let off = SWITCHES
        .into_iter()
        .find(|(name, off)| read(&format!("/proc/sys/{name}")) == *off);
    match off {
        None => Finding::ok(AREA, "user namespaces", "are on"),
        Some((name, value)) => {
            let other = if value == "0" {
                if name.contains("max") { "15000" } else { "1" }
            } else {
                "0"
            };
            let name = name.replace('/', ".");
            Finding::ok(AREA, "user namespaces", format!("{name} is {value}")).warn(format!(
                "switch them on with \"sysctl -w {name}={other}\"; without them ordinary users cannot run containers"
            ))
        }
    }
}

/// Users that have subordinate ids.
fn users_with_ids() -> usize {
    let text = read("/etc/subuid");
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    lines.filter(|line| line.contains(':')).count()
}

fn ids(caller: &Caller) -> Finding {
    let name = "subordinate ids";
    match caller {
        Caller::Plain => {
            let says = format!(
                "root needs none; /etc/subuid has {} ranges",
                users_with_ids()
            );
            Finding::ok(AREA, name, says)
        }
        Caller::Rootless(Rootless {
            ids,
            why_single: None,
        }) => Finding::ok(
            AREA,
            name,
            format!("{ids} ids, your own and your subordinate ones"),
        ),
        Caller::Rootless(Rootless {
            why_single: Some(why),
            ..
        }) => Finding::ok(AREA, name, "one id, your own").warn(why.clone()),
        Caller::Shut(e) => Finding::ok(AREA, name, "no user namespace can be made")
            .problem(cairn_model::one_line(e)),
    }
}

fn search(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&path).map(|place| place.join(program));
    places.find(|path| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok())
}

fn id_helpers() -> Finding {
    let missing: Vec<&str> = ["newuidmap", "newgidmap"]
        .into_iter()
        .filter(|program| search(program).is_none())
        .collect();
    let name = "id helpers";
    match missing.is_empty() {
        true => Finding::ok(AREA, name, "newuidmap and newgidmap are installed"),
        false => Finding::ok(AREA, name, format!("{} is not installed", missing.join(" and "))).warn(
            "install uidmap (shadow-utils); ordinary users have one id in their containers without it",
        ),
    }
}

fn network() -> Finding {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let name = "network helper";
    match NetworkHelper::find(&path) {
        Some((_, program)) => Finding::ok(AREA, name, program.display().to_string()),
        None => Finding::ok(AREA, name, "neither pasta nor slirp4netns is installed")
            .warn("install passt or slirp4netns for --network user and -p"),
    }
}
