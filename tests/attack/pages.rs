//! Reports of images whose paths, histories and records of packages are markup, formulas or no text at all.

use super::{Tar, common};
use common::{Cairn, docker_archive, noise};
use serde_json::json;

const PATHS: [&[u8]; 8] = [
    b"</script><script>alert(1)</script>",
    b"</ScRiPt ><img src=x onerror=alert(1)>",
    b"<!--<script>",
    b"]]>&lt;script&gt;",
    "\u{2028}\u{2029}\u{feff}".as_bytes(),
    "\u{202e}gnp.sh\u{2066}".as_bytes(),
    b"\xff\xfe\xc0\x80",
    b"=HYPERLINK(\"x\")",
];

/// An image whose names of everything are hostile.
fn hostile() -> Cairn {
    let cairn = Cairn::new();
    let mut tar = Tar::new();
    let paths = PATHS.iter().map(|path| path.to_vec());
    let of_packages = PATHS.iter().flat_map(|name| {
        let info = [&b"a/"[..], name, b"-1.dist-info/RECORD"].concat();
        [info, [&b"node_modules/"[..], name, b"/x.js"].concat()]
    });
    for (n, path) in (0..).zip(paths.chain(of_packages)) {
        let content = noise(n, 300);
        let mut header = Tar::header("", tar::EntryType::Regular, content.len() as u64);
        header.as_old_mut().name[..path.len()].copy_from_slice(&path);
        header.set_cksum();
        tar.0.append(&header, &content[..]).unwrap();
    }
    let archive = docker_archive("hostile:1", &[tar.done()], |document| {
        document["history"] =
            json!([{ "created_by": "</script><script>alert(1)</script>\u{202e}" }]);
    });
    let file = cairn.path("hostile.tar");
    std::fs::write(&file, archive).unwrap();
    cairn.ok(&["import", file.to_str().unwrap()]);
    cairn
}

#[test]
fn what_images_are_called_ends_no_element_of_a_page() {
    let cairn = hostile();
    let page = cairn.path("page.html");
    cairn.ok(&["stats", "--html", page.to_str().unwrap()]);
    let text = std::fs::read_to_string(&page).unwrap();
    // Three scripts of its own: data, the page's and the charts'.
    assert_eq!(text.matches("</script>").count(), 3);
    assert_eq!(text.to_lowercase().matches("</script").count(), 3);
    let (_, data) = text.split_once("type=\"application/json\">").unwrap();
    let (data, _) = data.split_once("</script>").unwrap();
    assert!(!data.contains([
        '<', '>', '&', '\u{2028}', '\u{2029}', '\u{202e}', '\u{feff}', '\u{fffd}'
    ]));
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    let names = data["files"]["name"].as_array().unwrap();
    assert!(names.iter().any(|name| name == "\\xff\\xfe\\xc0\\x80"));
}

#[test]
fn views_of_hostile_images_are_lines_of_text() {
    let cairn = hostile();
    for by in ["path", "file", "package", "type"] {
        let text = cairn.ok(&["stats", "--by", by, "--top", "0"]);
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{by}");
        assert!(!text.contains(['\u{202e}', '\u{2028}', '\u{feff}']), "{by}");
        cairn.json(&["stats", "--by", by]);
    }
}
