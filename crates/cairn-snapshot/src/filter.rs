//! Filters of `walk`, as containerd writes them: `kind==active,labels."a"==b`.

use std::str::FromStr;

use crate::error::Error;
use crate::snapshot::Snapshot;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Present,
    Equal(String),
    Different(String),
}

/// Conditions that must all hold. Fields are `name`, `parent`, `kind` and `labels.NAME` (the name in
/// double quotes where it has a dot); operators `==`, `!=`, or none for "is there".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Vec<(String, Test)>);

impl Filter {
    /// True where the snapshot meets all conditions.
    pub fn accepts(&self, snapshot: &Snapshot) -> bool {
        self.0.iter().all(|(field, test)| {
            let value = match field.as_str() {
                "name" => Some(snapshot.key.as_str()),
                "parent" => snapshot.parent.as_ref().map(|p| p.as_str()),
                "kind" => Some(snapshot.kind.as_str()),
                label => snapshot
                    .labels
                    .get(&label["labels.".len()..])
                    .map(String::as_str),
            };
            match test {
                Test::Present => value.is_some_and(|v| !v.is_empty()),
                Test::Equal(wanted) => value.unwrap_or_default() == wanted,
                Test::Different(other) => value.unwrap_or_default() != other,
            }
        })
    }
}

/// Splits at commas outside of double quotes.
fn parts(text: &str) -> Vec<&str> {
    let mut quoted = false;
    text.split(|c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
    .collect()
}

impl FromStr for Filter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let condition = |part: &str| {
            let (field, test) = if let Some((field, value)) = part.split_once("!=") {
                (
                    field,
                    Test::Different(value.trim().trim_matches('"').to_owned()),
                )
            } else if let Some((field, value)) = part.split_once("==") {
                (
                    field,
                    Test::Equal(value.trim().trim_matches('"').to_owned()),
                )
            } else {
                (part, Test::Present)
            };
            let field = field.trim().replace('"', "");
            let known = matches!(field.as_str(), "name" | "parent" | "kind")
                || field.strip_prefix("labels.").is_some_and(|l| !l.is_empty());
            if known {
                Ok((field, test))
            } else {
                Err(Error::Invalid(format!(
                    "filter {part:?}: the field must be name, parent, kind or labels.NAME"
                )))
            }
        };
        Ok(Self(
            parts(text)
                .into_iter()
                .map(condition)
                .collect::<Result<_, _>>()?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_model::clock;

    use crate::snapshot::Kind;

    #[test]
    fn conditions_are_anded_and_quotes_respected() {
        let snapshot = Snapshot {
            key: "a".parse().unwrap(),
            kind: Kind::Active,
            parent: Some("p".parse().unwrap()),
            labels: [("x.y".to_owned(), "1,2".to_owned())].into(),
            created: clock::timestamp(),
            updated: clock::timestamp(),
            layer: None,
            head: None,
            usage: Default::default(),
        };
        let accepts = |text: &str| text.parse::<Filter>().unwrap().accepts(&snapshot);
        for yes in [
            "name==a",
            "kind==active,parent==p",
            "labels.\"x.y\"==\"1,2\"",
            "labels.\"x.y\"",
            "labels.z!=1",
            "parent",
        ] {
            assert!(accepts(yes), "{yes}");
        }
        for no in [
            "name==b",
            "kind==view",
            "kind==active,parent!=p",
            "labels.z",
            "labels.\"x.y\"!=\"1,2\"",
        ] {
            assert!(!accepts(no), "{no}");
        }
        assert!("size==1".parse::<Filter>().is_err());
        assert!("labels.".parse::<Filter>().is_err());
    }
}
