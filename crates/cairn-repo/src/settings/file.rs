//! The file `cairn.toml`: read whole, judged line by line, replaced at once.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use cairn_store::{Disk, Layout};
use toml_edit::{Document, DocumentMut, InlineTable, Item, Table, TableLike};

use super::keys::{Setting, Settings};
use crate::error::{At, Error, Result};

const BYTES_MAX: u64 = 1 << 20;
const HEAD: &str = "\
# Settings of this Cairn repository. \"cairn config list\" shows all of them with their defaults.
# Options and environment variables of a command win over this file.

";

/// A repository's file of settings, as it was read.
#[derive(Debug, Clone)]
pub struct SettingsFile {
    path: PathBuf,
    text: String,
}

/// A value in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Name of the setting, known or not.
    pub name: String,
    /// As the file has it, without quotes.
    pub text: String,
    /// Which line, counted from 1.
    pub line: usize,
}

impl SettingsFile {
    /// Where the file of the repository in `root` is, or would be.
    pub fn path(root: &Path) -> PathBuf {
        Layout::of(root).settings()
    }

    /// Reads the file; one that is not there is empty.
    pub fn read(root: &Path) -> Result<Self> {
        let path = Self::path(root);
        let mut text = String::new();
        match File::open(&path) {
            Ok(file) => {
                let read = file.take(BYTES_MAX + 1).read_to_string(&mut text);
                read.at("read", &path)?;
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e).at("open", &path),
        }
        if text.len() as u64 > BYTES_MAX {
            let path = path.display();
            return Err(Error::Invalid(format!(
                "{path} is larger than {BYTES_MAX} bytes"
            )));
        }
        Ok(Self { path, text })
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it says, where all of it is known and in bounds.
    pub fn settings(&self) -> Result<Settings> {
        let mut settings = Settings::default();
        for value in self.values()? {
            let judged = Setting::find(&value.name)
                .and_then(|setting| setting.take(&mut settings, &value.text));
            judged.map_err(|why| self.bad(value.line, why))?;
        }
        Ok(settings)
    }

    /// Every value in it.
    pub fn values(&self) -> Result<Vec<Value>> {
        let mut values = Vec::new();
        self.gather(self.parse()?.as_table(), "", &mut values)?;
        Ok(values)
    }

    fn gather(&self, table: &dyn TableLike, above: &str, values: &mut Vec<Value>) -> Result<()> {
        for (name, item) in table.iter() {
            let full = format!("{above}{name}");
            if let Some(below) = item.as_table_like() {
                self.gather(below, &format!("{full}."), values)?;
                continue;
            }
            let span = table.key(name).and_then(toml_edit::Key::span);
            let line = self.line(span.map_or(0, |span| span.start));
            let text = match item.as_value() {
                Some(toml_edit::Value::String(text)) => text.value().clone(),
                Some(toml_edit::Value::Integer(number)) => number.value().to_string(),
                _ => return Err(self.bad(line, format!("{full}: must be a text or a number"))),
            };
            values.push(Value {
                name: full,
                text,
                line,
            });
        }
        Ok(())
    }

    fn parse(&self) -> Result<Document<&str>> {
        Document::parse(self.text.as_str()).map_err(|e| {
            let line = self.line(e.span().map_or(0, |span| span.start));
            self.bad(line, e.message().lines().collect::<Vec<_>>().join(", "))
        })
    }

    fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().iter().take(offset);
        before.filter(|byte| **byte == b'\n').count() + 1
    }

    fn bad(&self, line: usize, why: String) -> Error {
        Error::BadSettings {
            file: self.path.clone(),
            line,
            why,
        }
    }

    /// Sets a value, durably. Everything else in the file stays as it is.
    pub fn set(root: &Path, disk: &Disk, name: &str, value: &str) -> Result<()> {
        let setting = Setting::named(name)?;
        let judged = setting.take(&mut Settings::default(), value);
        judged.map_err(Error::Setting)?;
        let _alone = alone(root)?;
        let file = Self::read(root)?;
        file.parse()?;
        let new = with(&file, setting, value)?;
        Ok(disk.replace(&file.path, new.as_bytes())?)
    }

    /// Takes a value out of the file, durably; false where it was not there. Names that are unknown are
    /// taken out too: the file may come from a newer version.
    pub fn unset(root: &Path, disk: &Disk, name: &str) -> Result<bool> {
        let _alone = alone(root)?;
        let file = Self::read(root)?;
        let Some(value) = file.values()?.into_iter().find(|value| value.name == name) else {
            Setting::named(name)?;
            return Ok(false);
        };
        disk.replace(&file.path, without(&file, &value)?.as_bytes())?;
        Ok(true)
    }
}

/// One change at a time; it ends with the value. The directory is locked, so that there is no file more.
fn alone(root: &Path) -> Result<File> {
    let directory = File::open(root).at("open", root)?;
    directory.lock().at("lock", root)?;
    Ok(directory)
}

/// The words at the top of a file, which belong to it as a whole and not to the setting below them.
fn head(text: &str) -> &str {
    let comments = text
        .split_inclusive('\n')
        .take_while(|l| l.starts_with('#'));
    let end = comments.map(str::len).sum();
    match text[end..].strip_prefix('\n') {
        Some(_) => &text[..=end],
        None if end == text.len() => text,
        None => "",
    }
}

/// The file's text with a value set.
fn with(file: &SettingsFile, setting: &Setting, value: &str) -> Result<String> {
    let text = if file.text.is_empty() {
        HEAD
    } else {
        &file.text
    };
    let head = head(text);
    let mut document: DocumentMut = text[head.len()..]
        .parse()
        .map_err(|e: toml_edit::TomlError| file.bad(1, e.message().to_owned()))?;
    let mut names: Vec<&str> = setting.name.split('.').collect();
    let last = names.pop().unwrap_or_default();
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for name in names {
        let below = table.entry(name).or_insert(Item::Table(Table::new()));
        let no_table = || file.bad(1, format!("{name}: must be a table"));
        table = below.as_table_like_mut().ok_or_else(no_table)?;
    }
    let mut new = match value.parse::<i64>() {
        Ok(number) => toml_edit::Value::from(number),
        Err(_) => toml_edit::Value::from(value),
    };
    if let Some(old) = table.get_mut(last).and_then(Item::as_value_mut) {
        // What stands around the value is a comment on the same line.
        *new.decor_mut() = old.decor().clone();
        *old = new;
        return Ok(format!("{head}{document}"));
    }
    table.insert(last, Item::Value(new));
    if let Some(mut key) = table.key_mut(last) {
        let comment = format!("# {}\n", setting.about);
        key.leaf_decor_mut().set_prefix(comment);
    }
    Ok(format!("{head}{document}"))
}

/// The file's text without a value, and without the comment that [`with`] gave it.
fn without(file: &SettingsFile, value: &Value) -> Result<String> {
    let last = value.name.rsplit('.').next().unwrap_or_default();
    let lines: Vec<&str> = file.text.split_inclusive('\n').collect();
    let at = value.line - 1;
    let own_line = lines[at]
        .trim_start()
        .strip_prefix(last)
        .is_some_and(|rest| rest.trim_start().starts_with('='));
    if own_line && !lines[at].contains("\"\"\"") {
        let about = Setting::find(&value.name).map(|setting| format!("# {}", setting.about));
        let is_ours = |line: &&str| about.as_ref().is_ok_and(|about| line.trim_end() == *about);
        let from = match at.checked_sub(1) {
            Some(above) if is_ours(&lines[above]) => above,
            _ => at,
        };
        return Ok([&lines[..from], &lines[at + 1..]].concat().concat());
    }
    // Of a table within a line, or a name with dots.
    let mut document = file.parse()?.into_mut();
    let mut table: &mut dyn TableLike = document.as_table_mut();
    let names: Vec<&str> = value.name.split('.').collect();
    for name in &names[..names.len() - 1] {
        let none = InlineTable::new();
        let below = table.entry(name).or_insert(Item::Value(none.into()));
        let no_table = || file.bad(value.line, format!("{name}: must be a table"));
        table = below.as_table_like_mut().ok_or_else(no_table)?;
    }
    table.remove(last);
    Ok(document.to_string())
}
