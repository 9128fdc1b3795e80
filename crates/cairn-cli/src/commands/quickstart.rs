//! `quickstart`: the main job from end to end, on two small images made of programs of this machine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Env;

const BASE: [&str; 6] = ["sh", "ls", "cat", "mkdir", "rm", "id"];
const MORE: [&str; 4] = ["tar", "gzip", "sed", "grep"];

/// `cairn quickstart`
pub fn run(env: &Env, keep: bool) -> Result<()> {
    let place = tempfile::Builder::new()
        .prefix("cairn-quickstart-")
        .tempdir()
        .context("create a working directory")?;
    let root = place.path().join("repository");
    let cairn = Cairn { root: &root, env };
    say("Build two root file systems from local programs; \"app\" is \"base\" plus a few more");
    let (base, app) = (place.path().join("base"), place.path().join("app"));
    root_file_system(&base, &BASE)?;
    root_file_system(&app, &[&BASE[..], &MORE[..]].concat())?;

    say("Import both: content is split into chunks; each is compressed and stored once");
    cairn.run(&["import", text(&base)?, "--name", "base"])?;
    cairn.run(&["import", text(&app)?, "--name", "app"])?;
    cairn.run(&["images"])?;

    say("Run a process in app: it writes to its own directory, never to the image");
    let script =
        "mkdir /srv; echo \"hello from $(id -u)\" > /srv/greeting; rm /etc/motd; cat /srv/greeting";
    if cairn.try_run(&["run", "--name", "first", "app", "sh", "-c", script])? {
        say("Show what it changed, and commit that as an image");
        cairn.run(&["snapshot", "diff", "container/first"])?;
        cairn.run(&["commit", "first", "app:changed"])?;
        cairn.run(&["run", "--rm", "app:changed", "cat", "/srv/greeting"])?;
        say("Remove the container");
        cairn.run(&["rm", "first"])?;
    } else {
        println!("User namespaces are not available to non-root users here, so nothing was run.");
        // What there is of the container is not needed for the rest.
        cairn.try_run(&["rm", "first"])?;
    }

    say("Export app as docker save would; imported layers come out byte for byte");
    cairn.run(&["export", "app", "-o", text(&place.path().join("app.tar"))?])?;

    say("Show where every byte is");
    cairn.run(&["stats"])?;

    say("Remove app and the image committed from it, and delete what base does not need");
    cairn.try_run(&["rmi", "app:changed"])?;
    cairn.run(&["rmi", "app"])?;
    cairn.run(&["gc", "--dry-run"])?;
    cairn.run(&["gc"])?;

    say("Verify everything that is left");
    cairn.run(&["check"])?;
    if keep {
        println!(
            "\nThe repository was kept: {}",
            place.keep().join("repository").display()
        );
    } else {
        println!("\nDone. Use --keep to keep the repository.");
    }
    Ok(())
}

fn say(words: &str) {
    println!("\n# {words}");
}

fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .context("the temporary directory's path is not UTF-8")
}

struct Cairn<'a> {
    root: &'a Path,
    env: &'a Env,
}

impl Cairn<'_> {
    fn try_run(&self, args: &[&str]) -> Result<bool> {
        let quoted: Vec<String> = args
            .iter()
            .map(|a| {
                if a.contains(' ') {
                    format!("'{a}'")
                } else {
                    (*a).to_owned()
                }
            })
            .collect();
        println!("$ cairn {}", quoted.join(" "));
        let mut command = Command::new(std::env::current_exe().context("find this program")?);
        command.arg("--root").arg(self.root).args(args);
        if let Some(driver) = self.env.driver {
            command.args(["--driver", &driver.to_string()]);
        }
        Ok(command.status().context("run this program")?.success())
    }

    fn run(&self, args: &[&str]) -> Result<()> {
        if self.try_run(args)? {
            Ok(())
        } else {
            bail!("\"cairn {}\" failed", args.join(" "))
        }
    }
}

/// A minimal root file system: programs, the libraries they need, and a few files of `/etc`.
fn root_file_system(root: &Path, programs: &[&str]) -> Result<()> {
    for directory in ["bin", "etc", "tmp", "proc", "sys", "dev"] {
        std::fs::create_dir_all(root.join(directory))
            .with_context(|| format!("create {}", root.display()))?;
    }
    std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n")?;
    std::fs::write(root.join("etc/group"), "root:x:0:\n")?;
    std::fs::write(root.join("etc/motd"), "made by cairn quickstart\n")?;
    let mut libraries = BTreeSet::new();
    for program in programs {
        let found = ["/bin", "/usr/bin"]
            .iter()
            .map(|d| Path::new(d).join(program))
            .find(|p| p.exists());
        let Some(found) = found else {
            bail!("program {program} was not found")
        };
        libraries.extend(needed(&found)?);
        copy(&found, &root.join("bin").join(program))?;
    }
    for library in libraries {
        let target = root.join(library.strip_prefix("/").unwrap_or(&library));
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        copy(&library, &target)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("copy {}", from.display()))
}

/// Shared libraries of a program, as ldd(1) names them; none for a static one.
fn needed(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd")
        .arg(program)
        .output()
        .context("run ldd, which comes with the C library")?;
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(words
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect())
}
