//! The content policy of the page.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A policy under which only these scripts and this style are used, and nothing is fetched.
pub fn policy(scripts: &[&str], style: &str) -> String {
    let hashes: Vec<String> = scripts.iter().map(|script| source(script)).collect();
    format!(
        "default-src 'none'; script-src {}; style-src {}; base-uri 'none'; form-action 'none'",
        hashes.join(" "),
        source(style)
    )
}

/// How a policy names a text.
fn source(text: &str) -> String {
    let hash = cairn_image::sha256(text.as_bytes());
    format!("'sha256-{}'", STANDARD.encode(hash.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_named_by_its_hash() {
        let empty = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='";
        assert_eq!(source(""), empty);
    }
}
