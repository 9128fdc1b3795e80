//! How the program is linked: at a fixed address, where it is static.
//!
//! A static program that may be anywhere relocates itself before it does anything: every page with an address in it is
//! written to, some two hundred page faults at each execution, and a container takes four. See docs/design/0030.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let has = |name: &str, word: &str| {
        let value = std::env::var(name).unwrap_or_default();
        value.split(',').any(|part| part == word)
    };
    if has("CARGO_CFG_TARGET_ENV", "gnu") && has("CARGO_CFG_TARGET_FEATURE", "crt-static") {
        for argument in ["-no-pie", "-static"] {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
}
