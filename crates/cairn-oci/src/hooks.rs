//! Hooks whose failure comes too late to matter.

use cairn_runtime::bundle::{Hook, HookState};

/// Runs hooks whose failure stops nothing any more.
pub(crate) fn run_all(hooks: &[Hook], told: &HookState) {
    for hook in hooks {
        if let Err(e) = hook.run(told) {
            tracing::warn!(error = cairn_model::one_line(&e), "a hook failed");
        }
    }
}
