//! Lists: which of their lines are shown, and how.
//!
//! `--filter FIELD=PATTERN` and `--format` go by the fields of `--json`, so that a list has no words of its own for
//! either. Of a field that is a list any element will do; `labels.KEY=PATTERN` looks into an object.

use anyhow::Result;
use cairn_model::is_like;
use serde::Serialize;
use serde_json::Value;

use super::Env;
use super::template::Template;
use crate::args;
use crate::output::{self, Usage};

/// A line: what it is of, and its JSON.
pub type Line<T> = (T, Value);

/// How a list is shown.
pub struct Listing {
    filters: Vec<(Vec<String>, String)>,
    template: Option<Template>,
    quiet: bool,
}

impl Listing {
    /// Reads the options.
    pub fn parse(args: &args::Listing) -> Result<Self> {
        let filter = |text: &String| match text.split_once('=') {
            Some((field, pattern)) if !field.is_empty() => {
                let path = field.split('.').map(ToOwned::to_owned).collect();
                Ok((path, pattern.to_owned()))
            }
            _ => Err(Usage(format!("--filter {text}: must be FIELD=PATTERN"))),
        };
        let filters = args.filters.iter().map(filter);
        let template = args.format.as_deref().map(Template::parse);
        Ok(Self {
            filters: filters.collect::<Result<_, _>>()?,
            template: template.transpose().map_err(Usage)?,
            quiet: args.quiet,
        })
    }

    /// Those that match, each with its JSON.
    pub fn select<T, L: Serialize>(
        &self,
        all: Vec<T>,
        line: impl Fn(&T) -> L,
    ) -> Result<Vec<Line<T>>> {
        let mut out = Vec::new();
        for item in all {
            let value = serde_json::to_value(line(&item))?;
            if self.accepts(&value)? {
                out.push((item, value));
            }
        }
        Ok(out)
    }

    fn accepts(&self, value: &Value) -> Result<bool> {
        for (path, pattern) in &self.filters {
            if !matches(value, path, pattern)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Prints names, templates or JSON where one of these was asked for; false where a table is wanted.
    pub fn print<T>(
        &self,
        env: &Env,
        lines: &[Line<T>],
        name: impl Fn(&T) -> String,
    ) -> Result<bool> {
        if self.quiet {
            lines
                .iter()
                .for_each(|(item, _)| println!("{}", name(item)));
            return Ok(true);
        }
        if let Some(template) = &self.template {
            for (_, value) in lines {
                println!("{}", template.fill(value).map_err(Usage)?);
            }
            return Ok(true);
        }
        if env.json {
            let values = lines.iter().map(|(_, value)| value.clone()).collect();
            output::json(&Value::Array(values))?;
        }
        Ok(env.json)
    }
}

/// True where a field is as the pattern says. A field that no line of the list has is a mistake, and is told.
fn matches(value: &Value, path: &[String], pattern: &str) -> Result<bool> {
    let Some((first, below)) = path.split_first() else {
        return Ok(is(value, pattern));
    };
    let Value::Object(fields) = value else {
        return Ok(false);
    };
    match fields.get(first) {
        // Keys of labels may have dots.
        Some(Value::Object(labels)) if !below.is_empty() => {
            let label = labels.get(&below.join("."));
            Ok(label.is_some_and(|label| is(label, pattern)))
        }
        Some(field) => Ok(below.is_empty() && is(field, pattern)),
        None => {
            let known: Vec<&str> = fields.keys().map(String::as_str).collect();
            let words = format!(
                "--filter: there is no field {first:?}; known are {}",
                known.join(", ")
            );
            Err(Usage(words).into())
        }
    }
}

fn is(value: &Value, pattern: &str) -> bool {
    match value {
        Value::Null => pattern.is_empty(),
        Value::String(text) => is_like(pattern, text),
        Value::Array(all) => {
            all.iter().any(|value| is(value, pattern)) || (all.is_empty() && pattern.is_empty())
        }
        Value::Object(fields) => fields.keys().any(|key| is_like(pattern, key)),
        other => is_like(pattern, &other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_matched_by_patterns_and_unknown_ones_are_named() {
        let line = json!({"names": ["a:1", "b:2"], "pinned": true, "size": 5, "none": null, "labels": {"x.y": "z"}, "empty": []});
        let accepts = |filter: &str| {
            let args = args::Listing {
                filters: vec![filter.to_owned()],
                ..args::Listing::default()
            };
            Listing::parse(&args).and_then(|listing| listing.accepts(&line))
        };
        for (filter, expected) in [
            ("names=b:*", true),
            ("names=c", false),
            ("pinned=true", true),
            ("size=5", true),
            ("none=", true),
            ("none=x", false),
            ("empty=", true),
            ("labels.x.y=z", true),
            ("labels=x.*", true),
            ("labels.q=z", false),
        ] {
            assert_eq!(accepts(filter).unwrap(), expected, "{filter}");
        }
        assert!(
            accepts("nosuch=1")
                .unwrap_err()
                .to_string()
                .contains("known are names")
        );
        assert!(accepts("names").is_err());
    }
}
