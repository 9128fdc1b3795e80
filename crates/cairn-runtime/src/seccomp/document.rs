//! Reads a seccomp document: bounded, and every field that has a meaning is known or refused.

use serde::Deserialize;

use super::calls::Architecture;
use super::{Circumstances, Filter, program, rules};
use crate::error::{Error, Result};

/// Docker's default document has some 20 kB.
const BYTES_MAX: usize = 1 << 20;
const RULES_MAX: usize = 4096;
const WORDS_MAX: usize = 300;
const ARGUMENTS: u32 = 6;
const ERRNO_MAX: u32 = 4095;
const DATA_MAX: u32 = 0xffff;
const EPERM: u32 = 1;

/// What happens to a call, strictest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    KillProcess,
    KillThread,
    Trap,
    Errno(u32),
    Trace(u32),
    Log,
    Allow,
}

impl Action {
    /// True where the call is made.
    pub fn lets_through(self) -> bool {
        matches!(self, Self::Log | Self::Allow)
    }

    fn parse(name: &str, errno: Option<u32>) -> Result<Self, String> {
        let errno = errno.unwrap_or(EPERM);
        let bounded = |most: u32| {
            if errno <= most {
                Ok(errno)
            } else {
                Err(format!("errnoRet {errno} of {name} is over {most}"))
            }
        };
        Ok(match name {
            "SCMP_ACT_KILL_PROCESS" => Self::KillProcess,
            "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Self::KillThread,
            "SCMP_ACT_TRAP" => Self::Trap,
            "SCMP_ACT_ERRNO" => Self::Errno(bounded(ERRNO_MAX)?),
            "SCMP_ACT_TRACE" => Self::Trace(bounded(DATA_MAX)?),
            "SCMP_ACT_LOG" => Self::Log,
            "SCMP_ACT_ALLOW" => Self::Allow,
            "SCMP_ACT_NOTIFY" => {
                return Err("SCMP_ACT_NOTIFY needs a listener, which is not supported".into());
            }
            other => return Err(format!("unknown action {other:?}")),
        })
    }
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// What is left of the argument under this mask is equal.
    Masked(u64),
}

/// A condition on an argument of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub index: u32,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what.
    pub value: u64,
}

/// A rule for some calls.
#[derive(Debug, Clone)]
pub struct Rule {
    pub names: Vec<String>,
    pub action: Action,
    /// All of them have to hold.
    pub conditions: Vec<Condition>,
    includes: When,
    excludes: When,
}

impl Rule {
    /// True where the rule counts under these circumstances, by Docker's rules: everything that it includes
    /// holds, and nothing that it excludes.
    pub fn counts(&self, native: Architecture, here: &Circumstances<'_>) -> bool {
        let has = |name: &String| here.capabilities.has(name);
        let is_here = |arches: &Vec<String>| arches.iter().any(|a| a == native.in_conditions());
        let (yes, no) = (&self.includes, &self.excludes);
        yes.caps.iter().all(has)
            && (yes.arches.is_empty() || is_here(&yes.arches))
            && yes.kernel.is_none_or(|least| here.kernel >= least)
            && !no.caps.iter().any(has)
            && !is_here(&no.arches)
            && no.kernel.is_none_or(|least| here.kernel < least)
    }
}

#[derive(Debug, Clone, Default)]
struct When {
    caps: Vec<String>,
    arches: Vec<String>,
    kernel: Option<(u32, u32)>,
}

/// Major and minor number of a kernel's version.
pub fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// A seccomp document that was read and understood.
#[derive(Debug, Clone)]
pub struct Document {
    profile: String,
    pub(super) default: Action,
    /// Beside this machine's own.
    pub(super) architectures: Vec<Architecture>,
    flags: u32,
    pub(super) rules: Vec<Rule>,
}

impl Document {
    /// The profile that containers have unless told otherwise.
    pub fn default_profile() -> Result<Self> {
        Self::parse("default", include_bytes!("default.json"))
    }

    /// Reads a document; `profile` is its name for people.
    pub fn parse(profile: &str, bytes: &[u8]) -> Result<Self> {
        // What it repeats of the document may be long.
        let failed = |why: String| {
            let why: String = why.chars().take(WORDS_MAX).collect();
            Error::Invalid(format!("seccomp profile {profile}: {why}"))
        };
        if bytes.len() > BYTES_MAX {
            return Err(failed(format!(
                "it has more than {BYTES_MAX} bytes, which is the limit"
            )));
        }
        let read: Read = serde_json::from_slice(bytes).map_err(|e| failed(e.to_string()))?;
        read.understand(profile).map_err(failed)
    }

    /// The filter for a process under these circumstances.
    pub fn compile(&self, here: &Circumstances<'_>) -> Result<Filter> {
        let failed =
            |why: String| Error::Invalid(format!("seccomp profile {}: {why}", self.profile));
        let native = Architecture::native().ok_or_else(|| {
            failed(
                "this architecture is not supported; use --security-opt seccomp=unconfined".into(),
            )
        })?;
        let tables = rules::choose(self, native, here).map_err(failed)?;
        Filter::new(&self.profile, self.flags, &program::assemble(&tables))
    }
}

/// A document as it is written. `null` is the same as nothing.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Read {
    default_action: String,
    default_errno_ret: Option<u32>,
    default_errno: Option<String>,
    architectures: Option<Vec<String>>,
    arch_map: Option<Vec<ReadArchitecture>>,
    flags: Option<Vec<String>>,
    listener_path: Option<String>,
    listener_metadata: Option<String>,
    syscalls: Option<Vec<ReadRule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReadArchitecture {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReadRule {
    name: Option<String>,
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u32>,
    errno: Option<String>,
    args: Option<Vec<ReadCondition>>,
    #[serde(rename = "comment")]
    _comment: Option<String>,
    includes: Option<ReadWhen>,
    excludes: Option<ReadWhen>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReadCondition {
    index: u32,
    value: u64,
    value_two: Option<u64>,
    op: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReadWhen {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

impl ReadWhen {
    fn understand(self) -> Result<When, String> {
        let understand = |text: String| {
            version(&text).ok_or_else(|| format!("minKernel {text:?} is not a version"))
        };
        Ok(When {
            caps: self.caps.unwrap_or_default(),
            arches: self.arches.unwrap_or_default(),
            kernel: self.min_kernel.map(understand).transpose()?,
        })
    }
}

impl ReadCondition {
    fn understand(&self) -> Result<Condition, String> {
        if self.index >= ARGUMENTS {
            return Err(format!("there is no argument {}", self.index));
        }
        let (comparison, value) = match self.op.as_str() {
            "SCMP_CMP_EQ" => (Comparison::Equal, self.value),
            "SCMP_CMP_NE" => (Comparison::NotEqual, self.value),
            "SCMP_CMP_LT" => (Comparison::Less, self.value),
            "SCMP_CMP_LE" => (Comparison::LessOrEqual, self.value),
            "SCMP_CMP_GT" => (Comparison::Greater, self.value),
            "SCMP_CMP_GE" => (Comparison::GreaterOrEqual, self.value),
            "SCMP_CMP_MASKED_EQ" => (
                Comparison::Masked(self.value),
                self.value_two.unwrap_or_default(),
            ),
            other => return Err(format!("unknown comparison {other:?}")),
        };
        Ok(Condition {
            index: self.index,
            comparison,
            value,
        })
    }
}

impl ReadRule {
    /// The rule; several where an argument has more than one condition, for then any of them is enough (so
    /// runc and Docker understand it).
    fn understand(self, out: &mut Vec<Rule>) -> Result<(), String> {
        let names: Vec<String> = self
            .name
            .into_iter()
            .chain(self.names.unwrap_or_default())
            .collect();
        let first = names
            .first()
            .cloned()
            .ok_or("a rule names no system call")?;
        let of = |why: String| format!("rule for {first}: {why}");
        if self.errno.is_some() && self.errno_ret.is_none() {
            return Err(of("errno is not supported without errnoRet".into()));
        }
        let action = Action::parse(&self.action, self.errno_ret).map_err(of)?;
        let read: Vec<ReadCondition> = self.args.unwrap_or_default();
        let conditions: Vec<Condition> = read
            .iter()
            .map(|condition| condition.understand().map_err(of))
            .collect::<Result<_, _>>()?;
        let rule = Rule {
            names,
            action,
            conditions: Vec::new(),
            includes: self.includes.unwrap_or_default().understand().map_err(of)?,
            excludes: self.excludes.unwrap_or_default().understand().map_err(of)?,
        };
        let indexes: std::collections::BTreeSet<u32> = conditions.iter().map(|c| c.index).collect();
        let with = |conditions: Vec<Condition>| Rule {
            conditions,
            ..rule.clone()
        };
        if indexes.len() == conditions.len() {
            out.push(with(conditions));
        } else {
            out.extend(
                conditions
                    .into_iter()
                    .map(|condition| with(vec![condition])),
            );
        }
        Ok(())
    }
}

impl Read {
    fn understand(self, profile: &str) -> Result<Document, String> {
        if self.listener_path.is_some_and(|p| !p.is_empty())
            || self.listener_metadata.is_some_and(|m| !m.is_empty())
        {
            return Err("listenerPath and listenerMetadata are not supported".into());
        }
        if self.default_errno.is_some() && self.default_errno_ret.is_none() {
            return Err("defaultErrno is not supported without defaultErrnoRet".into());
        }
        let syscalls = self.syscalls.unwrap_or_default();
        if syscalls.len() > RULES_MAX {
            return Err(format!(
                "it has more than {RULES_MAX} rules, which is the limit"
            ));
        }
        let mut rules = Vec::new();
        for rule in syscalls {
            rule.understand(&mut rules)?;
        }
        Ok(Document {
            profile: profile.to_owned(),
            default: Action::parse(&self.default_action, self.default_errno_ret)?,
            architectures: architectures(self.architectures, self.arch_map)?,
            flags: flags(self.flags.unwrap_or_default())?,
            rules,
        })
    }
}

/// Those of the list, or those that the map has for this machine's own.
fn architectures(
    list: Option<Vec<String>>,
    map: Option<Vec<ReadArchitecture>>,
) -> Result<Vec<Architecture>, String> {
    let named = |name: &String| {
        Architecture::named(name).map_err(|()| format!("unknown architecture {name:?}"))
    };
    let list = list.unwrap_or_default();
    let map = map.unwrap_or_default();
    if !list.is_empty() && !map.is_empty() {
        return Err("it has both architectures and archMap".into());
    }
    let mut found = Vec::new();
    for name in &list {
        found.extend(named(name)?);
    }
    for entry in &map {
        let of = named(&entry.architecture)?;
        for name in entry.sub_architectures.iter().flatten() {
            let below = named(name)?;
            if of.is_some() && of == Architecture::native() {
                found.extend(below);
            }
        }
    }
    Ok(found)
}

fn flags(names: Vec<String>) -> Result<u32, String> {
    names.iter().try_fold(0, |flags, name| match name.as_str() {
        // There is one thread when the filter is installed.
        "SECCOMP_FILTER_FLAG_TSYNC" => Ok(flags),
        "SECCOMP_FILTER_FLAG_LOG" => Ok(flags | 2),
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => Ok(flags | 4),
        other => Err(format!("flag {other:?} is not supported")),
    })
}
