//! Chooses from a document what counts for a process, and looks up numbers: from names and conditions to what
//! happens to each number on each architecture.

use std::collections::BTreeMap;

use super::Circumstances;
use super::calls::{Architecture, is_known};
use super::document::{Action, Condition, Document};

const ENOSYS: u32 = 38;

/// What happens to one call: the first of the cases whose conditions hold, else `otherwise`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub cases: Vec<(Vec<Condition>, Action)>,
    pub otherwise: Action,
}

impl Verdict {
    /// The same for all arguments.
    pub fn plain(otherwise: Action) -> Self {
        Self {
            cases: Vec::new(),
            otherwise,
        }
    }
}

/// What happens to the calls of an architecture.
#[derive(Debug, Clone)]
pub struct Table {
    pub architecture: Architecture,
    /// Those that rules name.
    pub calls: BTreeMap<u32, Verdict>,
    /// Those that no rule names.
    pub default: Action,
    /// Those with a higher number than any that rules name.
    pub newer: Action,
}

/// The tables of all architectures that the document names and this machine runs, its own first.
pub fn choose(
    document: &Document,
    native: Architecture,
    here: &Circumstances<'_>,
) -> Result<Vec<Table>, String> {
    let mut architectures = vec![native];
    for other in &document.architectures {
        if other.runs_on(native) && !architectures.contains(other) {
            architectures.push(*other);
        }
    }
    for rule in &document.rules {
        // Nothing is lost where a call that is unknown would have been allowed.
        let laxer = document.default.lets_through() && !rule.action.lets_through();
        if let Some(name) = rule.names.iter().find(|name| laxer && !is_known(name)) {
            return Err(format!(
                "unknown system call {name:?}, which it denies; remove or correct the name"
            ));
        }
    }
    let table = |architecture| table(document, architecture, native, here);
    Ok(architectures.into_iter().map(table).collect())
}

fn table(
    document: &Document,
    architecture: Architecture,
    native: Architecture,
    here: &Circumstances<'_>,
) -> Table {
    struct Known {
        cases: Vec<(Vec<Condition>, Action)>,
        plain: Option<Action>,
    }
    let mut known: BTreeMap<u32, Known> = BTreeMap::new();
    let mut newest = 0;
    for rule in &document.rules {
        let counts = rule.counts(native, here);
        for number in rule
            .names
            .iter()
            .filter_map(|name| architecture.number(name))
        {
            // What the document knows of is not newer than it, whether or not the rule counts here. Calls
            // that only Arm has are far above all others.
            if number < 0xf_0000 {
                newest = newest.max(number);
            }
            if !counts {
                continue;
            }
            let call = known.entry(number).or_insert(Known {
                cases: Vec::new(),
                plain: None,
            });
            if rule.conditions.is_empty() {
                let strictest = call
                    .plain
                    .map_or(rule.action, |other| other.min(rule.action));
                call.plain = Some(strictest);
            } else {
                call.cases.push((rule.conditions.clone(), rule.action));
            }
        }
    }
    let verdict = |known: Known| Verdict {
        cases: known.cases,
        otherwise: known.plain.unwrap_or(document.default),
    };
    Table {
        architecture,
        calls: known.into_iter().map(|(n, k)| (n, verdict(k))).collect(),
        default: document.default,
        newer: match document.default {
            Action::Errno(_) if newest > 0 => Action::Errno(ENOSYS),
            other => other,
        },
    }
    .with_newest(newest)
}

impl Table {
    /// Marks where what is newer begins.
    fn with_newest(mut self, newest: u32) -> Self {
        if self.newer != self.default {
            self.calls
                .entry(newest)
                .or_insert(Verdict::plain(self.default));
        }
        self
    }

    /// The highest number below those that only Arm has.
    pub fn newest(&self) -> Option<u32> {
        self.calls.range(..0xf_0000).next_back().map(|(n, _)| *n)
    }
}
