//! `cairn update`

use anyhow::Result;
use cairn_container::LimitOptions;

use super::Env;
use super::stop::told;
use crate::args::Update;
use crate::output::Usage;

/// `cairn update`
pub fn update(env: &Env, args: Update) -> Result<u8> {
    let limits = args.limits;
    let given = [
        limits.memory.is_some(),
        limits.memory_swap.is_some(),
        limits.memory_reservation.is_some(),
        limits.cpus.is_some(),
        limits.cpu_shares.is_some(),
        limits.cpuset_cpus.is_some(),
        limits.pids_limit.is_some(),
        limits.blkio_weight.is_some(),
    ];
    if !given.contains(&true) {
        return Err(Usage("give at least one limit to change, such as --memory".into()).into());
    }
    let limits = LimitOptions {
        memory: limits.memory,
        memory_swap: limits.memory_swap,
        memory_reservation: limits.memory_reservation,
        cpus: limits.cpus,
        cpu_shares: limits.cpu_shares,
        cpuset: limits.cpuset_cpus,
        pids: limits.pids_limit,
        blkio_weight: limits.blkio_weight,
        devices: Vec::new(),
        device_rules: Vec::new(),
    };
    let repo = env.open()?;
    let outcomes = cairn_container::update(&repo, &args.containers, &limits);
    told(env, "updated", outcomes)
}
