//! Snapshots by way of the command, with `--json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cairn_model::Driver;
use serde_json::Value;

use crate::{Answer, Labels, Record, Refusal, Snapshotter, run_script};

/// A repository in a directory of its own, and the program.
pub struct CommandLine {
    program: PathBuf,
    driver: Option<Driver>,
    directory: tempfile::TempDir,
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn record(value: &Value) -> Record {
    let labels = value["labels"].as_object().expect("labels");
    let labels: BTreeMap<_, _> = labels.iter().map(|(n, v)| (n.clone(), text(v))).collect();
    Record {
        name: text(&value["name"]),
        kind: text(&value["kind"]),
        parent: value["parent"].as_str().map(str::to_owned),
        labels,
        created: text(&value["created"]),
        updated: text(&value["updated"]),
    }
}

impl CommandLine {
    /// An empty repository for the program at this path.
    pub fn new(program: impl Into<PathBuf>, driver: Option<Driver>) -> Self {
        let new = Self {
            program: program.into(),
            driver,
            directory: tempfile::tempdir().expect("a directory"),
        };
        std::fs::create_dir(new.place()).expect("a place to mount at");
        // Reading does not create a repository.
        match driver {
            Some(Driver::Packs) => new.must(&["init", "--frames"]),
            _ => new.must(&["init"]),
        };
        new
    }

    fn place(&self) -> PathBuf {
        self.directory.path().join("mnt")
    }

    fn output(&self, args: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        command
            .arg("--root")
            .arg(self.directory.path().join("repository"))
            .env_remove("CAIRN_ROOT")
            .arg("--json")
            .args(self.driver.map(|driver| format!("--driver={driver}")))
            .args(args);
        command.output().expect("the program starts")
    }

    fn run(&self, args: &[&str]) -> Answer<String> {
        let output = self.output(args);
        let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            return Ok(words(&output.stdout));
        }
        Err(Refusal {
            class: None,
            words: words(&output.stderr),
        })
    }

    fn json(&self, args: &[&str]) -> Answer<Value> {
        let said = self.run(args)?;
        Ok(serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}")))
    }

    fn must(&self, args: &[&str]) {
        self.run(args)
            .unwrap_or_else(|e| panic!("{args:?}: {}", e.words));
    }

    /// A command with labels as options.
    fn with_labels(&self, args: &[&str], labels: Labels<'_>) -> Answer<()> {
        let options: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("--label={name}={value}"))
            .collect();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        self.run(&[args, &options].concat()).map(drop)
    }

    fn mounted(&self, name: &str, work: impl FnOnce(&Path)) {
        let place = self.place();
        let at = place.to_str().expect("UTF-8");
        self.must(&["mount", name, at]);
        work(&place);
        self.must(&["unmount", at]);
    }
}

impl Snapshotter for CommandLine {
    fn prepare(&self, key: &str, parent: Option<&str>, labels: Labels<'_>) -> Answer<()> {
        let args = [&["snapshot", "prepare", key], parent.as_slice()].concat();
        self.with_labels(&args, labels)
    }

    fn view(&self, key: &str, parent: Option<&str>) -> Answer<()> {
        let args = [&["snapshot", "view", key], parent.as_slice()].concat();
        self.run(&args).map(drop)
    }

    fn mounts(&self, key: &str) -> Answer<Option<PathBuf>> {
        let plan = self.json(&["snapshot", "mounts", key])?;
        Ok(plan["head"]["upper"].as_str().map(PathBuf::from))
    }

    fn commit(&self, name: &str, key: &str, labels: Labels<'_>) -> Answer<()> {
        self.with_labels(&["snapshot", "commit", name, key], labels)
    }

    fn remove(&self, key: &str) -> Answer<()> {
        self.run(&["snapshot", "rm", key]).map(drop)
    }

    fn stat(&self, key: &str) -> Answer<Record> {
        Ok(record(&self.json(&["snapshot", "stat", key])?))
    }

    fn label(&self, key: &str, labels: Labels<'_>) -> Answer<()> {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let args = [&["snapshot", "label", key][..], &labels].concat();
        self.run(&args).map(drop)
    }

    fn walk(&self, filters: &[&str]) -> Answer<Vec<Record>> {
        let list = self.json(&[&["snapshot", "ls"], filters].concat())?;
        let list = list.as_array().expect("a list");
        Ok(list.iter().map(record).collect())
    }

    fn usage(&self, key: &str) -> Answer<(u64, u64)> {
        let usage = self.json(&["snapshot", "usage", key])?;
        let number = |field: &str| usage[field].as_u64().expect("a number");
        Ok((number("bytes"), number("inodes")))
    }

    fn cleanup(&self) -> Answer<()> {
        self.run(&["gc"]).map(drop)
    }

    fn is_sound(&self) -> Option<bool> {
        let report = self.json(&["check"]).expect("a report");
        report["sound"].as_bool()
    }

    fn change(&self, key: &str, script: &str) {
        self.mounted(key, |place| run_script(place, script));
    }

    fn show(&self, name: &str, look: &mut dyn FnMut(&Path)) {
        self.mounted(name, look);
    }
}
