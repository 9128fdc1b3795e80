//! One file of `registries.conf` as it is written.

use std::path::Path;

use toml_edit::{DocumentMut, Item, TableLike};

use super::Mode;
use super::rule::{Mirror, Rule};

/// Most tables, mirrors, aliases and search registries taken of one file.
const ITEMS_MAX: usize = 100_000;

/// What one file says; `None` where it says nothing.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub rules: Vec<Rule>,
    pub search: Option<Vec<String>>,
    pub mode: Option<Mode>,
    pub aliases: Vec<(String, String)>,
}

/// Reads the text of a file; words about what is wrong with it.
pub(super) fn parse(text: &str, file: &Path) -> Result<Document, String> {
    let document: DocumentMut = text
        .parse()
        .map_err(|e: toml_edit::TomlError| e.to_string().replace('\n', " "))?;
    if document.contains_key("registries") {
        return Err("it is of version 1; write [[registry]] tables instead".to_owned());
    }
    let root = document.as_table();
    Ok(Document {
        rules: rules(root, file)?,
        search: search(root)?,
        mode: mode(root)?,
        aliases: aliases(root)?,
    })
}

fn rules(root: &dyn TableLike, file: &Path) -> Result<Vec<Rule>, String> {
    let tables = tables(root, "registry")?;
    tables.into_iter().map(|table| rule(table, file)).collect()
}

fn rule(table: &dyn TableLike, file: &Path) -> Result<Rule, String> {
    let location = place(table, "location")?;
    let prefix = place(table, "prefix")?
        .or_else(|| location.clone())
        .ok_or("a [[registry]] has neither prefix nor location")?;
    let any = prefix.starts_with("*.");
    if prefix.contains('*') && (!any || prefix[1..].contains(['*', '/', ':'])) {
        return Err(format!(
            "{prefix}: * may only stand for the first parts of a host, as in *.example.com"
        ));
    }
    if location.is_none() && !any {
        return Err(format!("the [[registry]] {prefix} has no location"));
    }
    let digest_only = flag(table, "mirror-by-digest-only")?;
    let mirrors = tables(table, "mirror")?.into_iter();
    Ok(Rule {
        location: location.filter(|to| *to != prefix).unwrap_or_default(),
        prefix,
        insecure: flag(table, "insecure")?,
        blocked: flag(table, "blocked")?,
        mirrors: mirrors
            .map(|table| mirror(table, digest_only))
            .collect::<Result<_, _>>()?,
        file: file.to_owned(),
    })
}

fn mirror(table: &dyn TableLike, digest_only: bool) -> Result<Mirror, String> {
    let location = place(table, "location")?.ok_or("a mirror has no location")?;
    let (by_digest, by_tag) = match text(table, "pull-from-mirror")?.as_deref() {
        None | Some("" | "all") => (true, !digest_only),
        Some("digest-only") => (true, false),
        Some("tag-only") if !digest_only => (false, true),
        Some(other) => {
            return Err(format!(
                "pull-from-mirror of {location} cannot be {other:?}"
            ));
        }
    };
    Ok(Mirror {
        location,
        insecure: flag(table, "insecure")?,
        by_digest,
        by_tag,
    })
}

fn search(root: &dyn TableLike) -> Result<Option<Vec<String>>, String> {
    let name = "unqualified-search-registries";
    let Some(item) = root.get(name) else {
        return Ok(None);
    };
    let wrong = || format!("{name} must be a list of registries");
    let list = item.as_array().ok_or_else(wrong)?;
    let text = |value: &toml_edit::Value| value.as_str().map(str::to_owned).ok_or_else(wrong);
    list.iter()
        .take(ITEMS_MAX)
        .map(text)
        .collect::<Result<_, _>>()
        .map(Some)
}

fn mode(root: &dyn TableLike) -> Result<Option<Mode>, String> {
    match text(root, "short-name-mode")?.as_deref() {
        None | Some("") => Ok(None),
        Some("enforcing") => Ok(Some(Mode::Enforcing)),
        Some("permissive" | "disabled") => Ok(Some(Mode::Any)),
        Some(other) => Err(format!("short-name-mode cannot be {other:?}")),
    }
}

fn aliases(root: &dyn TableLike) -> Result<Vec<(String, String)>, String> {
    let Some(item) = root.get("aliases") else {
        return Ok(Vec::new());
    };
    let table = item.as_table_like().ok_or("aliases must be a table")?;
    let alias = |(name, item): (&str, &Item)| {
        let target = item.as_str();
        let target = target.ok_or_else(|| format!("the alias {name} must be a text"))?;
        Ok((name.to_owned(), target.to_owned()))
    };
    table.iter().take(ITEMS_MAX).map(alias).collect()
}

/// The tables of a list of tables, however it is written.
fn tables<'a>(table: &'a dyn TableLike, name: &str) -> Result<Vec<&'a dyn TableLike>, String> {
    let wrong = || format!("{name} must be written [[{name}]]");
    match table.get(name) {
        None => Ok(Vec::new()),
        Some(Item::ArrayOfTables(list)) => Ok(list
            .iter()
            .take(ITEMS_MAX)
            .map(|t| t as &dyn TableLike)
            .collect()),
        Some(item) => {
            let list = item.as_array().ok_or_else(wrong)?;
            let table = |value: &'a toml_edit::Value| {
                let table = value.as_inline_table().ok_or_else(wrong)?;
                Ok(table as &dyn TableLike)
            };
            list.iter().take(ITEMS_MAX).map(table).collect()
        }
    }
}

fn text(table: &dyn TableLike, name: &str) -> Result<Option<String>, String> {
    match table.get(name) {
        None => Ok(None),
        Some(item) => match item.as_str() {
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(format!("{name} must be a text")),
        },
    }
}

/// A registry, or more of a reference; none where it is empty.
fn place(table: &dyn TableLike, name: &str) -> Result<Option<String>, String> {
    let found = text(table, name)?.map(|text| text.trim_end_matches('/').to_owned());
    match found {
        Some(text) if text.contains("://") => {
            Err(format!("{name} {text:?} must be without a scheme"))
        }
        Some(text) if text.chars().any(|c| c.is_whitespace() || c.is_control()) => {
            Err(format!("{name} {text:?} is no part of a reference"))
        }
        found => Ok(found.filter(|text| !text.is_empty())),
    }
}

fn flag(table: &dyn TableLike, name: &str) -> Result<bool, String> {
    match table.get(name) {
        None => Ok(false),
        Some(item) => item
            .as_bool()
            .ok_or_else(|| format!("{name} must be true or false")),
    }
}
