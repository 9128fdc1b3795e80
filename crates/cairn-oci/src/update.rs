//! Limits of a container that runs.

use cairn_runtime::{Limits, limit_groups};

use crate::container::{Container, Status};
use crate::document::{self, Resources};
use crate::error::{Error, Result};
use crate::{events, understand};

fn read(document: &[u8]) -> Result<Resources> {
    document::parse(document).map_err(|why| Error::Invalid(format!("resources: {why}")))
}

/// The limits that a document of resources has.
pub fn limits_of(document: &[u8]) -> Result<Limits> {
    understand::limits(&read(document)?)
}

/// Changes the limits of a container that has not ended, as a document of resources has them.
pub fn update(container: &Container, document: &[u8]) -> Result<()> {
    let resources = read(document)?;
    let limits = understand::limits(&resources)?;
    if container.status() == Status::Stopped {
        return Err(Error::Refused(format!(
            "container not running: {}",
            container.id()
        )));
    }
    let memory = &resources.memory;
    if let (Some(true), Some(limit @ 1..)) = (memory.check_before_update, memory.limit) {
        let used = events::figures(container).memory.usage.usage;
        if limit.unsigned_abs() < used {
            return Err(Error::Refused(format!(
                "memory.limit {limit} is below the {used} bytes that are used, and would end processes"
            )));
        }
    }
    Ok(limit_groups(container.group(), &limits)?)
}
