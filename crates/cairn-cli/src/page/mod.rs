//! The page that `cairn stats --html` writes: one file that needs nothing else.
//!
//! **Invariant:** what comes from images is data. It stands in one script element that no browser executes, as JSON
//! in which no `<` is; the page makes text of it, never markup. The policy at its head lets nothing run but the two
//! scripts whose hashes it names, and nothing be fetched.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use cairn_repo::{Details, GrowthRow};
use serde::Serialize;

mod policy;

const FRAME: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = concat!(
    include_str!("js/data.js"),
    include_str!("js/format.js"),
    include_str!("js/table.js"),
    include_str!("js/chart.js"),
    include_str!("js/waterfall.js"),
    include_str!("js/removal.js"),
    include_str!("js/files.js"),
    include_str!("js/layers.js"),
    include_str!("js/views.js"),
    include_str!("js/main.js"),
);
/// Built by `tools/charts/build`.
const CHARTS: &str = include_str!("charts.js");

/// All that the page shows.
#[derive(Serialize)]
struct Data<'a> {
    version: &'static str,
    #[serde(flatten)]
    details: &'a Details,
    growth: &'a [GrowthRow],
}

/// Writes the page to a file, which is replaced at once.
pub fn write(details: &Details, growth: &[GrowthRow], file: &Path) -> Result<()> {
    let data = Data {
        version: env!("CARGO_PKG_VERSION"),
        details,
        growth,
    };
    let page = page(&serde_json::to_string(&data)?);
    let directory = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let writing = || -> std::io::Result<()> {
        let mut new = tempfile::NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
        new.write_all(page.as_bytes())?;
        new.persist(file)?;
        Ok(())
    };
    writing().with_context(|| format!("write {}", file.display()))
}

/// The page around this JSON.
fn page(json: &str) -> String {
    let mut rest = FRAME;
    let mut out = String::with_capacity(json.len() + CHARTS.len() + SCRIPT.len() + FRAME.len());
    // The text of each part is put in as it is, and not looked at again.
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        out.push_str(before);
        match name {
            "policy" => out.push_str(&policy::policy(&[CHARTS, SCRIPT], STYLE)),
            "style" => out.push_str(STYLE),
            "charts" => out.push_str(CHARTS),
            "script" => out.push_str(SCRIPT),
            "data" => out.push_str(&inert(json)),
            _ => {}
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// JSON that no parser of HTML finds anything in.
fn inert(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            // Shown as it is shown everywhere: what steers the writing direction would hide what a text says.
            c if cairn_model::is_hidden(c) => {
                out.push('\\');
                out.extend(c.escape_unicode());
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_images_ends_no_element() {
        let json = serde_json::to_string("</script><!--<script>\u{2028}&lt;]]>").unwrap();
        let page = page(&json);
        assert_eq!(
            page.matches("</script>").count(),
            FRAME.matches("</script>").count()
        );
        assert!(!inert(&json).contains(['<', '>', '&', '\u{2028}']));
        let back: String = serde_json::from_str(&inert(&json)).unwrap();
        assert_eq!(back, "</script><!--<script>\u{2028}&lt;]]>");
    }

    #[test]
    fn the_parts_of_the_page_stand_in_it_as_they_are() {
        for part in [CHARTS, SCRIPT] {
            assert!(!part.contains("</script") && !part.contains("<!--"));
        }
        assert!(!STYLE.contains("</style"));
        let page = page("{}");
        assert!(page.contains(SCRIPT) && page.contains(CHARTS) && page.contains(STYLE));
        let names = ["policy", "style", "charts", "script", "data"];
        assert!(
            names
                .iter()
                .all(|name| !page.contains(&format!("{{{{{name}}}}}")))
        );
    }
}
