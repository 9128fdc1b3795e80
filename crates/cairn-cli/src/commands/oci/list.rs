//! `cairn oci list`

use anyhow::Result;
use cairn_oci::Root;

use crate::output::{self, Table};

/// Lists containers.
pub fn list(root: &Root, json: bool, quiet: bool) -> Result<()> {
    let states: Vec<_> = root.list()?.iter().map(|c| c.state()).collect();
    if quiet {
        states.iter().for_each(|state| println!("{}", state.id));
        return Ok(());
    }
    if json {
        return Ok(output::report(&states)?);
    }
    let mut table = Table::new(&["ID", ">PID", "STATUS", "BUNDLE", "CREATED"]);
    for state in states {
        let bundle = state.bundle.display().to_string();
        table.row(vec![
            state.id,
            state.pid.to_string(),
            state.status.to_owned(),
            bundle,
            state.created,
        ]);
    }
    Ok(table.print()?)
}
