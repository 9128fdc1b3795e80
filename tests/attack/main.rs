//! Hostile archives, images and processes, made by the tests: what each tries, and that nothing of it reaches
//! the host.
//!
//! Everything that is mounted or run is so under each driver. `docs/security.md` states what is tested here.

#[path = "../../crates/cairn-cli/tests/common/mod.rs"]
#[macro_use]
mod common;

#[path = "../../crates/cairn-cli/tests/user/mod.rs"]
mod user;

mod archives;
mod calls;
mod documents;
mod identity;
mod keyrings;
mod limits;
mod links;
mod pages;
mod program;
mod races;
mod rootless;
mod statements;
mod streams;
mod surroundings;
mod ties;
mod users;

use common::{Cairn, Tar, docker_archive, shell_tree};
use serde_json::Value;

/// Every driver that root has here.
const DRIVERS: [&str; 3] = ["erofs", "overlay", "copy"];
/// The same, and the one that is used only where it is named: where contents are what matters.
const ALL_DRIVERS: [&str; 4] = ["packs", "erofs", "overlay", "copy"];

/// A repository that uses this driver.
pub fn under(driver: &'static str) -> Cairn {
    let mut cairn = Cairn::new();
    if driver == "packs" {
        cairn.ok(&["init", "--frames"]);
    }
    cairn.driver = Some(driver);
    cairn
}

/// A repository and the tar of a root file system with a shell.
pub struct Bench {
    /// The repository.
    pub cairn: Cairn,
    base: Vec<u8>,
}

impl Bench {
    /// Under this driver, with these programs beside the usual ones.
    pub fn new(driver: &'static str, programs: &[&str]) -> Self {
        let cairn = under(driver);
        let tree = cairn.path("tree");
        shell_tree(&tree);
        for program in programs {
            common::add_program(&tree, program);
        }
        std::fs::create_dir_all(tree.join("home")).unwrap();
        let base = common::tar_of(&tree);
        Self { cairn, base }
    }

    /// Imports the image `hostile`: the root file system, a layer over it, and a configuration.
    pub fn image(&self, layer: Tar, config: Value) {
        let archive = docker_archive("hostile", &[self.base.clone(), layer.done()], |document| {
            document["config"] = config;
        });
        let file = self.cairn.path("hostile.tar");
        std::fs::write(&file, archive).unwrap();
        self.cairn.ok(&["import", file.to_str().unwrap()]);
    }

    /// Imports the root file system alone.
    pub fn plain(&self) {
        self.image(
            Tar::new().file("made", b""),
            serde_json::json!({"Env": ["PATH=/bin"]}),
        );
    }

    /// What a script in a new container prints, trimmed.
    pub fn sh(&self, options: &[&str], script: &str) -> String {
        let run = [
            &["run", "--rm"],
            options,
            &["hostile", "/bin/sh", "-c", script],
        ]
        .concat();
        self.cairn.ok(&run).trim_end().to_owned()
    }
}

/// Does something under every driver, as root, with the host's ids and with others.
pub fn with_any_ids(programs: &[&str], act: impl Fn(&Bench)) {
    for run in [&[][..], &["--userns", "auto"]] {
        for driver in DRIVERS {
            let mut bench = Bench::new(driver, programs);
            bench.cairn.run = run;
            act(&bench);
        }
    }
}

/// Does something under every driver, as root.
pub fn under_every_driver(programs: &[&str], act: impl Fn(&Bench)) {
    for driver in DRIVERS {
        act(&Bench::new(driver, programs));
    }
}
