//! `cairn doctor`: what of this machine and this repository works, what does not, and what to do about it.
//!
//! It changes nothing, holds no lock for longer than any command does, and goes on after whatever it cannot find out.

mod disk;
mod repository;
mod system;
mod users;

use anyhow::Result;

use super::Env;
use crate::output::{self, Paint, paint};
use crate::report::doctor::{Diagnosis, Finding, Health};

/// `cairn doctor`
pub fn doctor(env: &Env) -> Result<u8> {
    let mut findings = system::look();
    findings.extend(users::look(env));
    findings.extend(disk::look(&env.root));
    findings.extend(repository::look(env));
    let diagnosis = Diagnosis::from(findings);
    match env.json {
        true => output::report(&diagnosis)?,
        false => print(&diagnosis),
    }
    Ok(u8::from(!diagnosis.healthy))
}

fn mark(state: Health) -> String {
    match state {
        Health::Ok => paint(Paint::Green, "ok     "),
        Health::Warning => paint(Paint::Yellow, "warning"),
        Health::Problem => paint(Paint::Red, "problem"),
    }
}

fn print(diagnosis: &Diagnosis) {
    let mut area = "";
    for finding in &diagnosis.findings {
        if finding.area != area {
            area = finding.area;
            output::painted(&paint(Paint::Bold, area));
        }
        print_one(finding);
    }
    let count = |state| {
        let all = diagnosis.findings.iter();
        all.filter(|finding| finding.state == state).count()
    };
    println!(
        "{} problems, {} warnings",
        count(Health::Problem),
        count(Health::Warning)
    );
}

fn print_one(finding: &Finding) {
    let says = cairn_model::printable(&finding.says);
    output::painted(&format!(
        "  {} {:<18} {says}",
        mark(finding.state),
        finding.name
    ));
    if let Some(advice) = &finding.advice {
        println!("          {:<18} → {advice}", "");
    }
}
