//! `--format`: a small part of Go's templates over the JSON of a report.
//!
//! `{{.a.b}}` is a field, `{{json .a}}` its JSON, `{{index .a "key"}}` or `{{index .a 0}}` one of its elements,
//! and that is all: no pipes, conditions or loops. A field that is not there is an error, since a template that
//! silently prints nothing misleads.

use serde_json::Value;

/// A template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// A value, and whether its JSON is wanted.
    Value(Vec<Step>, bool),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Field(String),
    Element(usize),
}

const HELP: &str = "known are {{.field.field}}, {{json .field}} and {{index .field \"key\"}}";

impl Template {
    /// Reads a template; `\\n` and `\\t` in its text are a line end and a tab.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (inner, after) = after
                .split_once("}}")
                .ok_or_else(|| format!("a {{{{ is not closed; {HELP}"))?;
            parts.push(Part::Text(unescaped(before)));
            parts.push(expression(inner.trim())?);
            rest = after;
        }
        parts.push(Part::Text(unescaped(rest)));
        Ok(Self(parts))
    }

    /// Fills it with the fields of a value.
    pub fn fill(&self, value: &Value) -> Result<String, String> {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Value(steps, json) => {
                    let found = find(value, steps)?;
                    match found {
                        _ if *json => out.push_str(&found.to_string()),
                        Value::String(text) => out.push_str(text),
                        Value::Null => {}
                        other => out.push_str(&other.to_string()),
                    }
                }
            }
        }
        Ok(out)
    }
}

fn unescaped(text: &str) -> String {
    text.replace("\\n", "\n").replace("\\t", "\t")
}

fn expression(text: &str) -> Result<Part, String> {
    let refused = || format!("{{{{{text}}}}} is not understood; {HELP}");
    let words = words(text).ok_or_else(refused)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [field] => Ok(Part::Value(path(field).ok_or_else(refused)?, false)),
        ["json", field] => Ok(Part::Value(path(field).ok_or_else(refused)?, true)),
        ["index", field, ref keys @ ..] if !keys.is_empty() => {
            let mut steps = path(field).ok_or_else(refused)?;
            for key in keys {
                let step = match key.strip_prefix('"') {
                    Some(key) => Step::Field(key.to_owned()),
                    None => Step::Element(key.parse().map_err(|_| refused())?),
                };
                steps.push(step);
            }
            Ok(Part::Value(steps, false))
        }
        _ => Err(refused()),
    }
}

/// Words, of which quoted ones keep the opening quote.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (word, after) = quoted.split_once('"')?;
                (format!("\"{word}"), after)
            }
            None => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        words.push(word);
        rest = after.trim_start();
    }
    Some(words)
}

fn path(text: &str) -> Option<Vec<Step>> {
    let names = text.strip_prefix('.')?;
    if names.is_empty() {
        return Some(Vec::new());
    }
    let field = |name: &str| (!name.is_empty()).then(|| Step::Field(name.to_owned()));
    names.split('.').map(field).collect()
}

fn find<'a>(mut value: &'a Value, steps: &[Step]) -> Result<&'a Value, String> {
    for step in steps {
        let (next, name) = match step {
            Step::Field(name) => (value.get(name), name.clone()),
            Step::Element(number) => (value.get(number), number.to_string()),
        };
        value = next.ok_or_else(|| {
            let known = match value {
                Value::Object(fields) => {
                    let names: Vec<&str> = fields.keys().map(String::as_str).collect();
                    format!("; there are {}", names.join(", "))
                }
                _ => String::new(),
            };
            format!("there is no field {name}{known}")
        })?;
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filled(template: &str) -> Result<String, String> {
        let value = json!({
            "id": "abc", "pid": 7, "none": null, "labels": {"a.b": "c"}, "list": ["x", {"y": true}]
        });
        Template::parse(template)?.fill(&value)
    }

    #[test]
    fn fields_json_and_elements() {
        for (template, expected) in [
            ("{{.id}}", "abc"),
            ("a {{ .pid }}\\tb\\n", "a 7\tb\n"),
            ("{{json .id}} {{json .list}}", "\"abc\" [\"x\",{\"y\":true}]"),
            ("{{index .labels \"a.b\"}}", "c"),
            ("{{index .list 1 \"y\"}}", "true"),
            ("{{.none}}|{{json .none}}", "|null"),
            ("{{json .}}", &json!({"id": "abc", "pid": 7, "none": null, "labels": {"a.b": "c"}, "list": ["x", {"y": true}]}).to_string()),
            ("no fields", "no fields"),
        ] {
            assert_eq!(filled(template).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn what_is_not_there_or_not_understood_is_an_error() {
        for (template, words) in [
            ("{{.nosuch}}", "there is no field nosuch; there are id"),
            ("{{.id.x}}", "no field x"),
            ("{{index .list 9}}", "no field 9"),
            ("{{.id", "not closed"),
            ("{{id}}", "not understood"),
            ("{{range .list}}", "not understood"),
            ("{{if .id}}x{{end}}", "not understood"),
            ("{{.id | upper}}", "not understood"),
            ("{{index .list}}", "not understood"),
            ("{{index .labels \"a}}", "not understood"),
            ("{{..}}", "not understood"),
            ("{{}}", "not understood"),
        ] {
            let e = filled(template).unwrap_err();
            assert!(e.contains(words), "{template}: {e}");
        }
    }
}
