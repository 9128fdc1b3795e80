//! Rules of retention: which image names they are about, and what makes one stay.
//!
//! ```text
//! rules = rule { ";" rule }
//! rule  = term { "," term }
//! term  = "match=" PATTERN | "label=" KEY ["=" VALUE] | "unnamed" | "snapshots"   (which ones; all of them must fit)
//!       | "keep-last=" N | "keep-within=" AGE | "unused-for=" AGE | "keep" | "remove"   (what happens)
//! ```

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use cairn_model::{is_like, units};

/// Rules that one file or command may have.
const RULES_MAX: usize = 100;
/// Names for which "keep-last" may count.
const KEEP_LAST_MAX: u32 = 1_000_000;

/// One rule. The first that fits an image name decides over it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// The name, in its short form, has to be like this: `*` is any text, `?` any character.
    pub pattern: Option<String>,
    /// The image has to have these labels.
    pub labels: Vec<(String, Option<String>)>,
    /// Images without a name, and no others.
    pub unnamed: bool,
    /// Snapshots, and no images; [`Rule::pattern`] is about their names.
    pub snapshots: bool,
    /// The newest of each repository name stay, this many.
    pub keep_last: Option<u32>,
    /// What came within this time stays.
    pub keep_within: Option<Duration>,
    /// What was used within this time stays.
    pub unused_for: Option<Duration>,
    /// Everything that fits stays.
    pub keep: bool,
    /// As the user wrote it.
    text: String,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_set(name: &str, value: &str) -> Result<(), String> {
    match value {
        "" => Ok(()),
        _ => Err(format!("{name} takes no value")),
    }
}

impl Rule {
    fn term(&mut self, term: &str) -> Result<bool, String> {
        let (name, value) = term.split_once('=').unwrap_or((term, ""));
        let age = || match value {
            "" => Err(format!("{name} needs an age, for example {name}=30d")),
            value => units::duration(value),
        };
        match name {
            "match" if !value.is_empty() => self.pattern = Some(value.to_owned()),
            "label" if !value.is_empty() => {
                let (key, value) = match value.split_once('=') {
                    Some((key, value)) => (key, Some(value.to_owned())),
                    None => (value, None),
                };
                self.labels.push((key.to_owned(), value));
            }
            "unnamed" => {
                is_set(name, value)?;
                self.unnamed = true;
            }
            "snapshots" => {
                is_set(name, value)?;
                self.snapshots = true;
            }
            "keep-last" => {
                let number = value
                    .parse()
                    .ok()
                    .filter(|n| (1..=KEEP_LAST_MAX).contains(n));
                let words = format!("keep-last needs a number from 1 to {KEEP_LAST_MAX}");
                self.keep_last = Some(number.ok_or(words)?);
                return Ok(true);
            }
            "keep-within" => {
                self.keep_within = Some(age()?);
                return Ok(true);
            }
            "unused-for" => {
                self.unused_for = Some(age()?);
                return Ok(true);
            }
            "keep" | "remove" => {
                is_set(name, value)?;
                self.keep = name == "keep";
                return Ok(true);
            }
            _ => {
                return Err(format!(
                    "{term:?} is not a term of a rule; use match=PATTERN, label=KEY=VALUE, unnamed, keep-last=N, keep-within=AGE, unused-for=AGE, keep or remove"
                ));
            }
        }
        Ok(false)
    }

    /// True where a name, or an image without one, is one of those that the rule is about.
    pub(super) fn fits(&self, name: Option<&str>, label: &dyn Fn(&str) -> Option<String>) -> bool {
        let of_name = match (name, &self.pattern) {
            _ if self.snapshots => false,
            (None, _) => self.unnamed,
            (Some(_), _) if self.unnamed => false,
            (Some(name), Some(pattern)) => is_like(pattern, name),
            (Some(_), None) => true,
        };
        of_name && self.has_labels(label)
    }

    /// True where a snapshot is one of those that the rule is about.
    pub(super) fn fits_snapshot(&self, name: &str, label: &dyn Fn(&str) -> Option<String>) -> bool {
        let is_like = |pattern: &String| is_like(pattern, name);
        self.snapshots && self.pattern.as_ref().is_none_or(is_like) && self.has_labels(label)
    }

    fn has_labels(&self, label: &dyn Fn(&str) -> Option<String>) -> bool {
        self.labels.iter().all(|(key, wanted)| {
            let value = label(key);
            value.is_some_and(|value| wanted.as_ref().is_none_or(|wanted| *wanted == value))
        })
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut rule = Self {
            text: text.trim().to_owned(),
            ..Self::default()
        };
        let mut says_what = false;
        let terms: Vec<String> = rule
            .text
            .split(',')
            .map(|term| term.trim().to_owned())
            .collect();
        for term in &terms {
            says_what |= rule.term(term)?;
        }
        let has = |word: &str| terms.iter().any(|term| term == word);
        let patterns = terms
            .iter()
            .filter(|term| term.starts_with("match="))
            .count();
        if (has("keep") && has("remove")) || patterns > 1 {
            return Err(format!("the rule {text:?} contradicts itself"));
        }
        if !says_what {
            return Err(format!(
                "the rule {text:?} says which images, but not what to do; add keep-last=N, keep-within=AGE, unused-for=AGE, keep or remove"
            ));
        }
        if rule.unnamed && (rule.pattern.is_some() || rule.keep_last.is_some()) {
            return Err("unnamed images have no name for match= and keep-last=".to_owned());
        }
        if rule.snapshots && (rule.unnamed || rule.keep_last.is_some() || rule.unused_for.is_some())
        {
            return Err(
                "rules about snapshots have no unnamed, keep-last= and unused-for=".to_owned(),
            );
        }
        Ok(rule)
    }
}

/// Rules in their order, as a setting has them: separated by `;`.
pub fn parse_rules(text: &str) -> Result<Vec<Rule>, String> {
    let texts = text
        .split(';')
        .map(str::trim)
        .filter(|text| !text.is_empty());
    let rules: Vec<Rule> = texts.map(str::parse).collect::<Result<_, _>>()?;
    match rules.len() {
        0..=RULES_MAX => Ok(rules),
        _ => Err(format!("there are more than {RULES_MAX} rules")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_says_which_and_what() {
        let rule: Rule = "match=ci/*, label=stage=test, keep-last=3, unused-for=14d"
            .parse()
            .unwrap();
        assert_eq!(rule.pattern.as_deref(), Some("ci/*"));
        assert_eq!(rule.labels, [("stage".to_owned(), Some("test".to_owned()))]);
        assert_eq!(rule.keep_last, Some(3));
        assert_eq!(rule.unused_for, Some(Duration::from_secs(14 * 86_400)));
        let none = |_: &str| None;
        let test = |key: &str| (key == "stage").then(|| "test".to_owned());
        assert!(rule.fits(Some("ci/app:1"), &test) && !rule.fits(Some("ci/app:1"), &none));
        assert!(!rule.fits(None, &test) && !rule.fits(Some("app:1"), &test));
        for bad in [
            "",
            "match=x",
            "unnamed",
            "keep-last=0",
            "keep-last=x",
            "keep-within",
            "keep-within=x",
            "keep=yes",
            "match=,keep",
            "kep",
            "unnamed,match=x,remove",
            "unnamed,keep-last=1",
            "keep,remove",
            "match=a,match=b,keep",
        ] {
            assert!(bad.parse::<Rule>().is_err(), "{bad}");
        }
        assert_eq!(parse_rules("").unwrap(), []);
        assert_eq!(parse_rules("match=a,keep; remove;").unwrap().len(), 2);
        assert!(parse_rules(&"keep;".repeat(101)).is_err());
    }
}
