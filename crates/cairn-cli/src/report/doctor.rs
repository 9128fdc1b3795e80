//! What `doctor` tells.

use serde::Serialize;

/// How things are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As they should be.
    Ok,
    /// Something works less well than it could, or will not work for long.
    Warning,
    /// Something does not work, or is damaged.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// `system`, `users`, `disk` or `repository`.
    pub area: &'static str,
    /// Which thing.
    pub name: &'static str,
    /// How it is.
    pub state: Health,
    /// What was found.
    pub says: String,
    /// What to do about it.
    pub advice: Option<String>,
}

impl Finding {
    /// Something that is as it should be.
    pub fn ok(area: &'static str, name: &'static str, says: impl Into<String>) -> Self {
        Self {
            area,
            name,
            state: Health::Ok,
            says: says.into(),
            advice: None,
        }
    }

    /// The same as a warning, with what to do.
    pub fn warn(self, advice: impl Into<String>) -> Self {
        Self {
            state: Health::Warning,
            advice: Some(advice.into()),
            ..self
        }
    }

    /// The same as a problem, with what to do.
    pub fn problem(self, advice: impl Into<String>) -> Self {
        Self {
            state: Health::Problem,
            advice: Some(advice.into()),
            ..self
        }
    }
}

/// All that was looked at.
#[derive(Debug, Serialize)]
pub struct Diagnosis {
    /// True where there is no problem; there may be warnings.
    pub healthy: bool,
    /// In the order of areas.
    pub findings: Vec<Finding>,
}

impl From<Vec<Finding>> for Diagnosis {
    fn from(findings: Vec<Finding>) -> Self {
        let healthy = findings.iter().all(|f| f.state != Health::Problem);
        Self { healthy, findings }
    }
}
