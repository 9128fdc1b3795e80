//! A document as the OCI runtime specification has it, for runtimes that compile it themselves: its conditions on
//! the circumstances are decided, and gone.

use serde_json::{Map, Value, json};

use super::Circumstances;
use super::calls::Architecture;
use super::document::{Action, Comparison, Condition, Document};
use crate::error::{Error, Result};

fn action(action: Action, name: &str, errno: &str, into: &mut Map<String, Value>) {
    let (word, number) = match action {
        Action::KillProcess => ("SCMP_ACT_KILL_PROCESS", None),
        Action::KillThread => ("SCMP_ACT_KILL_THREAD", None),
        Action::Trap => ("SCMP_ACT_TRAP", None),
        Action::Errno(number) => ("SCMP_ACT_ERRNO", Some(number)),
        Action::Trace(number) => ("SCMP_ACT_TRACE", Some(number)),
        Action::Log => ("SCMP_ACT_LOG", None),
        Action::Allow => ("SCMP_ACT_ALLOW", None),
    };
    into.insert(name.into(), word.into());
    if let Some(number) = number {
        into.insert(errno.into(), number.into());
    }
}

fn condition(condition: &Condition) -> Value {
    let (op, value, second) = match condition.comparison {
        Comparison::Equal => ("SCMP_CMP_EQ", condition.value, 0),
        Comparison::NotEqual => ("SCMP_CMP_NE", condition.value, 0),
        Comparison::Less => ("SCMP_CMP_LT", condition.value, 0),
        Comparison::LessOrEqual => ("SCMP_CMP_LE", condition.value, 0),
        Comparison::Greater => ("SCMP_CMP_GT", condition.value, 0),
        Comparison::GreaterOrEqual => ("SCMP_CMP_GE", condition.value, 0),
        Comparison::Masked(mask) => ("SCMP_CMP_MASKED_EQ", mask, condition.value),
    };
    json!({"index": condition.index, "value": value, "valueTwo": second, "op": op})
}

impl Document {
    /// The rules that count under these circumstances.
    pub fn as_oci(&self, here: &Circumstances<'_>) -> Result<Value> {
        let native = Architecture::native()
            .ok_or_else(|| Error::Invalid("seccomp: this architecture is not supported".into()))?;
        let mut written = Map::new();
        action(
            self.default,
            "defaultAction",
            "defaultErrnoRet",
            &mut written,
        );
        let mut architectures = vec![native];
        for other in &self.architectures {
            if !architectures.contains(other) {
                architectures.push(*other);
            }
        }
        let names: Vec<&str> = architectures.iter().map(|a| a.name()).collect();
        written.insert("architectures".into(), json!(names));
        let counting = self.rules.iter().filter(|rule| rule.counts(native, here));
        let rules = counting.map(|rule| {
            let mut one = Map::new();
            one.insert("names".into(), json!(rule.names));
            action(rule.action, "action", "errnoRet", &mut one);
            if !rule.conditions.is_empty() {
                let all: Vec<Value> = rule.conditions.iter().map(condition).collect();
                one.insert("args".into(), json!(all));
            }
            Value::Object(one)
        });
        written.insert("syscalls".into(), rules.collect());
        Ok(Value::Object(written))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::Capabilities;

    /// Written and read again it is the same filter.
    #[test]
    fn the_default_profile_means_the_same_when_it_is_written() {
        let capabilities = Capabilities::usual(false, true);
        let here = Circumstances {
            capabilities: &capabilities,
            kernel: (6, 1),
        };
        let document = Document::default_profile().unwrap();
        let written = document.as_oci(&here).unwrap().to_string();
        let again = Document::parse("default", written.as_bytes()).unwrap();
        let program = |document: &Document| document.compile(&here).unwrap();
        assert_eq!(program(&again), program(&document));
    }
}
