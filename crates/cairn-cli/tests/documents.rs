//! README.md, docs/ and the examples in help name only files, commands and options that exist.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Each document's path and text.
fn documents() -> Vec<(PathBuf, String)> {
    let mut paths = vec![top().join("README.md"), top().join("CONTRIBUTING.md")];
    for directory in ["docs", "docs/design"] {
        let entries = std::fs::read_dir(top().join(directory)).unwrap();
        let pages = entries.map(|entry| entry.unwrap().path());
        paths.extend(pages.filter(|path| path.extension().is_some_and(|e| e == "md")));
    }
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// What stands between backticks, and each line of a fenced block.
fn code(text: &str) -> Vec<String> {
    let (mut code, mut prose) = (Vec::new(), String::new());
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            code.push(line.split(" #").next().unwrap_or_default().to_owned());
        } else {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    let spans = prose.split('`').skip(1).step_by(2);
    code.extend(spans.map(|span| span.replace('\n', " ")));
    code
}

/// `a/{b,c}.rs` is `a/b.rs` and `a/c.rs`.
fn expand(path: &str) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else {
        return vec![path.to_owned()];
    };
    let Some((inner, after)) = rest.split_once('}') else {
        return vec![path.to_owned()];
    };
    inner
        .split(',')
        .flat_map(|part| expand(&format!("{before}{part}{after}")))
        .collect()
}

fn is_path(word: &str) -> bool {
    let roots = ["crates/", "docs/", "tests/", "tools/", "design/"];
    let crates = word.starts_with("cairn-") && word.contains('/');
    // `tests/fuzz/corpus/TARGET` is a pattern.
    let plain = !word.contains(|c: char| c.is_ascii_uppercase() || "<*…".contains(c));
    (roots.iter().any(|root| word.starts_with(root)) || crates) && plain
}

/// A path is given from the top, from `crates/` or, in a record, as one of `docs/design`, whose number is enough.
fn exists(path: &str) -> bool {
    let there = |base: PathBuf| {
        let path = base.join(path);
        let numbered = || {
            let stem = path.file_name().unwrap_or_default().to_string_lossy();
            let directory = path.parent().and_then(|p| std::fs::read_dir(p).ok());
            directory.is_some_and(|mut entries| {
                stem.len() == 4
                    && entries.any(|e| e.unwrap().file_name().to_string_lossy().starts_with(&*stem))
            })
        };
        path.exists() || numbered()
    };
    there(top()) || there(top().join("crates")) || there(top().join("docs"))
}

#[test]
fn every_path_that_a_document_names_exists() {
    let mut bad = Vec::new();
    let mut seen = 0;
    for (document, text) in documents() {
        for code in code(&text) {
            for word in code.split_whitespace() {
                let word = word.trim_end_matches([',', ';', '.', ')', '/']);
                let word = word.split("::").next().unwrap_or_default();
                if !is_path(word) {
                    continue;
                }
                seen += 1;
                for path in expand(word) {
                    if !exists(&path) {
                        bad.push(format!("{}: {path}", document.display()));
                    }
                }
            }
        }
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            seen += 1;
            if !document.parent().unwrap().join(target).exists() {
                bad.push(format!("{}: link to {target}", document.display()));
            }
        }
    }
    assert!(seen > 100, "{seen}");
    assert!(bad.is_empty(), "{bad:#?}");
}

/// Commands that have commands below them.
const GROUPS: [&str; 5] = ["snapshot", "config", "volume", "generate", "oci"];

/// Help of commands, asked for once each.
#[derive(Default)]
struct Help(HashMap<String, Option<String>>);

impl Help {
    /// None where there is no such command.
    fn of(&mut self, command: &str) -> Option<&str> {
        let ask = || {
            let mut asked = Command::new(env!("CARGO_BIN_EXE_cairn"));
            asked.arg("help").args(command.split_whitespace());
            let output = asked.output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            output.status.success().then_some(text)
        };
        let known = self.0.entry(command.to_owned()).or_insert_with(ask);
        known.as_deref()
    }

    fn knows(&mut self, command: &str, option: &str) -> bool {
        let word = |c: char| !(c.is_ascii_alphanumeric() || c == '-');
        let help = self.of(command).unwrap_or_default();
        help.split(word).any(|w| w == option)
    }

    /// What is wrong with `words`, which follow `cairn`.
    fn judge(&mut self, words: &[&str]) -> Vec<String> {
        let mut words = words.iter().copied().peekable();
        let mut global = Vec::new();
        while let Some(option) = words.next_if(|word| word.starts_with('-')) {
            global.push(option);
            if option == "--root" || option == "--driver" {
                words.next();
            }
        }
        let Some(name) = words.next() else {
            return self.judge_options("", &global);
        };
        // `cairn snapshot prepare|view|…`
        let below = match name {
            name if GROUPS.contains(&name) => words.next_if(|word| !word.starts_with('-')),
            _ => None,
        };
        let commands: Vec<String> = match below {
            Some(below) => below
                .split('|')
                .map(|below| format!("{name} {below}"))
                .collect(),
            None => name.split('|').map(ToOwned::to_owned).collect(),
        };
        let rest: Vec<&str> = if name == "run" {
            // What follows the image is the container's.
            words.take_while(|word| word.starts_with('-')).collect()
        } else {
            words.filter(|word| word.starts_with('-')).collect()
        };
        let options: Vec<&str> = global.into_iter().chain(rest).collect();
        commands
            .iter()
            .flat_map(|command| match self.of(command) {
                None => vec![format!("there is no command {command}")],
                Some(_) => self.judge_options(command, &options),
            })
            .collect()
    }

    fn judge_options(&mut self, command: &str, options: &[&str]) -> Vec<String> {
        let mut bad = Vec::new();
        for option in options {
            let option = option.split('=').next().unwrap_or_default();
            let option = option.trim_end_matches(['…', ',', ']', ';']);
            let each: Vec<String> = match option.strip_prefix("--") {
                Some(_) => vec![option.to_owned()],
                None => option.chars().skip(1).map(|c| format!("-{c}")).collect(),
            };
            for option in each {
                if !self.knows(command, &option) {
                    bad.push(format!("{command:?} has no option {option}"));
                }
            }
        }
        bad
    }
}

/// The words after each `cairn` of a line of shell. Contexts of hashes begin with `cairn 2026`, the file
/// `format` with `cairn repository`.
fn calls(line: &str) -> Vec<Vec<&str>> {
    let part = |part: &'_ str| part.trim_start().starts_with("cairn ");
    line.split("&&")
        .flat_map(|part| part.split(" | "))
        .filter(|p| part(p) && !p.contains("cairn 2026 ") && !p.contains("cairn repository "))
        .map(|part| part.split_whitespace().skip(1).collect())
        .collect()
}

#[test]
fn every_command_and_option_that_a_document_names_exists() {
    let mut help = Help::default();
    let mut bad = Vec::new();
    let mut seen = 0;
    for (document, text) in documents() {
        for code in code(&text) {
            let mut wrong = Vec::new();
            for call in calls(&code) {
                seen += 1;
                wrong.extend(help.judge(&call));
            }
            let words: Vec<&str> = code.split_whitespace().collect();
            // `import --read-all`: a command without the name of the program.
            if let [name, rest @ ..] = &words[..]
                && rest.iter().any(|word| word.starts_with("--"))
                && help.of(name).is_some()
            {
                seen += 1;
                wrong.extend(help.judge(&words));
            }
            bad.extend(
                wrong
                    .into_iter()
                    .map(|w| format!("{}: `{code}`: {w}", document.display())),
            );
        }
    }
    assert!(seen > 30, "{seen}");
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn the_examples_in_help_can_be_given() {
    let mut help = Help::default();
    let top = help.of("").unwrap().to_owned();
    let listed = |text: &str| -> Vec<String> {
        let line = |line: &str| {
            let name = line.strip_prefix("  ")?.split_whitespace().next()?;
            let plain = name.chars().all(|c| c.is_ascii_lowercase()) && name != "help";
            (plain && !line.starts_with("   ")).then(|| name.to_owned())
        };
        text.lines().filter_map(line).collect()
    };
    let mut commands = listed(&top);
    for group in GROUPS {
        let below = listed(help.of(group).unwrap());
        commands.extend(below.iter().map(|name| format!("{group} {name}")));
        commands.retain(|name| name != group);
    }
    assert!(commands.len() > 30, "{commands:?}");
    for command in commands {
        let text = help
            .of(&command)
            .unwrap_or_else(|| panic!("{command}"))
            .to_owned();
        let (_, examples) = text
            .rsplit_once("Example")
            .unwrap_or_else(|| panic!("{command}"));
        let given: Vec<_> = examples.lines().flat_map(calls).collect();
        assert!(!given.is_empty(), "{command}");
        let name = command.split(' ').next().unwrap_or_default();
        assert!(given.iter().all(|words| words.contains(&name)), "{command}");
        for words in given {
            assert_eq!(
                help.judge(&words),
                Vec::<String>::new(),
                "{command}: {words:?}"
            );
        }
    }
}
