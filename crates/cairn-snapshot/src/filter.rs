//! Filters of `walk`, as containerd writes them: `kind==active,labels."a"==b`.

mod words;

use std::str::FromStr;

use crate::error::Error;
use crate::snapshot::Snapshot;
use words::Words;

/// Largest program that a pattern is compiled to, bytes; and longest pattern.
const PATTERN_BYTES_MAX: usize = 256 << 10;

/// A regular expression, equal to another of the same text.
#[derive(Debug, Clone)]
struct Pattern(regex_lite::Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Present,
    Equal(String),
    Different(String),
    Matches(Pattern),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Name,
    Parent,
    Kind,
    Label(String),
}

/// Conditions that must all hold. Fields are `name`, `parent`, `kind` and `labels.NAME` (the name in
/// double quotes where it has other than letters, digits and `_`); operators `==`, `!=`, `~=` (a regular
/// expression, between `/` or `|` where it has a comma), or none for "is there". The empty filter accepts all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Vec<(Field, Test)>);

impl Field {
    fn of<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a str> {
        match self {
            Self::Name => Some(snapshot.key.as_str()),
            Self::Parent => snapshot.parent.as_ref().map(|p| p.as_str()),
            Self::Kind => Some(snapshot.kind.as_str()),
            Self::Label(name) => snapshot.labels.get(name).map(String::as_str),
        }
    }

    fn named(path: &[String]) -> Option<Self> {
        match path {
            [name] if name == "name" => Some(Self::Name),
            [name] if name == "parent" => Some(Self::Parent),
            [name] if name == "kind" => Some(Self::Kind),
            [labels, name @ ..] if labels == "labels" => {
                let name = name.join(".");
                (!name.is_empty()).then_some(Self::Label(name))
            }
            _ => None,
        }
    }
}

impl Test {
    fn accepts(&self, value: Option<&str>) -> bool {
        match self {
            Self::Present => value.is_some_and(|v| !v.is_empty()),
            Self::Equal(wanted) => value.unwrap_or_default() == wanted,
            Self::Different(other) => value.unwrap_or_default() != other,
            Self::Matches(pattern) => value.is_some_and(|v| pattern.0.is_match(v)),
        }
    }
}

impl Filter {
    /// True where the snapshot meets all conditions.
    pub fn accepts(&self, snapshot: &Snapshot) -> bool {
        let holds = |(field, test): &(Field, Test)| test.accepts(field.of(snapshot));
        self.0.iter().all(holds)
    }
}

fn pattern(text: &str) -> Result<Test, Error> {
    let compiled = regex_lite::RegexBuilder::new(text)
        .size_limit(PATTERN_BYTES_MAX)
        .build();
    let pattern = compiled
        .map_err(|e| Error::Invalid(format!("{text:.100?} is not a regular expression: {e}")))?;
    Ok(Test::Matches(Pattern(pattern)))
}

fn condition(words: &mut Words<'_>) -> Result<(Field, Test), Error> {
    let before = words.rest();
    let path = words.path()?;
    let field = Field::named(&path).ok_or_else(|| {
        let part = before.split(',').next().unwrap_or_default();
        Error::Invalid(format!(
            "filter {part:.100?}: the field must be name, parent, kind or labels.NAME"
        ))
    })?;
    let test = match words.operator()? {
        None => Test::Present,
        Some("==") => Test::Equal(words.value(false)?),
        Some("!=") => Test::Different(words.value(false)?),
        Some(_) => pattern(&words.value(true)?)?,
    };
    Ok((field, test))
}

impl FromStr for Filter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut words = Words::of(text)?;
        let mut conditions = Vec::new();
        if words.is_at_end() {
            return Ok(Self(conditions));
        }
        loop {
            conditions.push(condition(&mut words)?);
            if !words.comma()? {
                return Ok(Self(conditions));
            }
        }
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
            "",
            " name == a , kind==active",
            "name~=^a$",
            "name~=/^(a|b),?$/",
            "kind~=|^act|",
            "labels.\"x.y\"~=\"^1,[0-9]\"",
            "labels.x.y==\"1\\u002c2\"",
            "labels.\"x.y\"==\"\\x31,2\"",
            "name!=\"\"",
        ] {
            assert!(accepts(yes), "{yes}");
        }
        for no in [
            "name==b",
            "kind==view",
            "kind==active,parent!=p",
            "labels.z",
            "labels.\"x.y\"!=\"1,2\"",
            "name~=^b",
            "labels.z~=.*",
        ] {
            assert!(!accepts(no), "{no}");
        }
        for wrong in [
            "size==1",
            "labels.",
            "labels",
            "kind=",
            "kind=active",
            "name==a,",
            ",name==a",
            "name==\"a",
            "name==\"a\"b",
            "name==\"\\q\"",
            "name~=/a",
            "name~=(",
            "name.x==a",
            "name==",
            "==a",
        ] {
            assert!(wrong.parse::<Filter>().is_err(), "{wrong}");
        }
        let huge = format!("name~=/{}/", "(a{1000}){1000}");
        assert!(huge.parse::<Filter>().is_err());
    }
}
