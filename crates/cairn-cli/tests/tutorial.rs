//! The commands of `docs/tutorial.md` work, and print what it says. `CAIRN_RENEW=1` writes down what they print.

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{has, is_root};

const MARK: &str = "----- end of a command -----";

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/tutorial.md")
}

/// Lines of the page; those of commands are numbered.
enum Part {
    Text(String),
    Command(String),
}

/// What is printed is left out: it is made again.
fn parse(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut console = false;
    for line in text.lines() {
        if line.starts_with("```") {
            console = line == "```console";
            parts.push(Part::Text(line.to_owned()));
        } else if let (true, Some(command)) = (console, line.strip_prefix("$ ")) {
            parts.push(Part::Command(command.to_owned()));
        } else if !console {
            parts.push(Part::Text(line.to_owned()));
        }
    }
    parts
}

/// Runs all commands in one shell; what each printed.
fn run(commands: &[&str], place: &Path) -> Vec<String> {
    let program = Path::new(env!("CARGO_BIN_EXE_cairn")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash")
        .current_dir(place)
        .env("PATH", path)
        .env("CAIRN_PULL", "never")
        .env("COLUMNS", "80")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut script = "exec 2>&1\n".to_owned();
    for command in commands {
        script.push_str(&format!("{command}\necho '{MARK}'\n"));
    }
    shell
        .stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    let output = shell.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut printed: Vec<String> = text
        .split(&format!("{MARK}\n"))
        .map(ToOwned::to_owned)
        .collect();
    printed.pop();
    printed
}

/// A word that is another one on each machine and day, as what it is.
fn plain(word: &str) -> &str {
    let hex = |text: &str| text.len() >= 12 && text.bytes().all(|b| b.is_ascii_hexdigit());
    match word {
        _ if hex(word.trim_start_matches("sha256:")) => "ID",
        "B" | "kB" | "MB" | "GB" | "s" | "min" => "UNIT",
        _ if word
            .trim_matches(|c: char| "(,;:)".contains(c))
            .parse::<f64>()
            .is_ok() =>
        {
            "NUMBER"
        }
        _ => word,
    }
}

/// Without what differs between machines: ids, sizes, times, the width of columns; sorted, since images of one second
/// are listed in the order of their ids.
fn plain_lines(text: &str) -> Vec<String> {
    let line = |line: &str| {
        line.split_whitespace()
            .map(plain)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let mut lines: Vec<String> = text.lines().map(line).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn the_commands_of_the_tutorial_print_what_it_says() {
    if !is_root() || !has("bash") || !has("ldd") {
        skip!("the tutorial is written for root, with bash and ldd");
    }
    let text = std::fs::read_to_string(page()).unwrap();
    let parts = parse(&text);
    let commands = parts.iter().filter_map(|part| match part {
        Part::Command(command) => Some(command.as_str()),
        Part::Text(_) => None,
    });
    let commands: Vec<&str> = commands.collect();
    assert!(commands.len() > 20);
    let place = tempfile::tempdir().unwrap();
    let printed = run(&commands, place.path());
    assert_eq!(printed.len(), commands.len(), "{printed:?}");
    let mut printed = printed.into_iter();
    let mut renewed = String::new();
    for part in &parts {
        match part {
            Part::Text(line) => renewed.push_str(&format!("{line}\n")),
            Part::Command(command) => {
                renewed.push_str(&format!("$ {command}\n"));
                let here = place.path().to_str().unwrap();
                renewed.push_str(&printed.next().unwrap().replace(here, "."));
            }
        }
    }
    if std::env::var_os("CAIRN_RENEW").is_some() {
        std::fs::write(page(), renewed).unwrap();
        return;
    }
    assert_eq!(
        plain_lines(&renewed),
        plain_lines(&text),
        "renew it with CAIRN_RENEW=1"
    );
}
