//! What kind of file a path names, by its name: content is not read for it.

use super::paths::base;

/// Endings of names, and the kind of file they mean.
const ENDINGS: &[(&str, &[&str])] = &[
    ("shared library", &["so"]),
    ("static library", &["a", "o", "lib", "rlib"]),
    ("Python", &["py", "pyi", "pyx", "pxd"]),
    ("Python bytecode", &["pyc", "pyo"]),
    (
        "JavaScript",
        &["js", "mjs", "cjs", "ts", "jsx", "tsx", "map", "wasm"],
    ),
    ("Java", &["jar", "class", "war", "jmod"]),
    ("Ruby, Perl or PHP", &["rb", "pl", "pm", "php", "gem"]),
    ("shell script", &["sh", "bash", "zsh", "fish"]),
    (
        "C, C++ or Rust source",
        &["c", "h", "cc", "cpp", "hpp", "hh", "rs", "s", "go"],
    ),
    (
        "archive",
        &[
            "tar", "gz", "xz", "bz2", "zst", "zip", "whl", "deb", "rpm", "apk", "tgz", "br",
        ],
    ),
    (
        "image or font",
        &[
            "png", "jpg", "jpeg", "gif", "svg", "ico", "webp", "ttf", "otf", "woff", "woff2", "bmp",
        ],
    ),
    (
        "audio or video",
        &["mp3", "mp4", "ogg", "wav", "webm", "avi", "flac"],
    ),
    (
        "document",
        &[
            "md", "rst", "txt", "html", "htm", "pdf", "css", "xml", "xsl", "info", "po",
        ],
    ),
    ("translation", &["mo", "qm", "gmo"]),
    (
        "configuration",
        &[
            "conf",
            "cfg",
            "ini",
            "toml",
            "yaml",
            "yml",
            "json",
            "properties",
            "service",
        ],
    ),
    ("certificate", &["pem", "crt", "cer", "key"]),
    (
        "data",
        &[
            "csv",
            "npy",
            "npz",
            "parquet",
            "h5",
            "pkl",
            "dat",
            "bin",
            "model",
            "onnx",
            "safetensors",
            "pt",
        ],
    ),
    ("database", &["db", "sqlite", "sqlite3", "mdb"]),
    ("log", &["log"]),
    (
        "package record",
        &[
            "list",
            "md5sums",
            "shlibs",
            "symbols",
            "triggers",
            "preinst",
            "postinst",
            "prerm",
            "postrm",
            "templates",
            "conffiles",
        ],
    ),
];

/// Directories that say what a file without an ending is.
const PLACES: &[(&str, &[u8])] = &[
    ("manual page", b"usr/share/man/"),
    ("document", b"usr/share/doc/"),
    ("time zone", b"usr/share/zoneinfo/"),
    ("translation", b"usr/share/locale/"),
    ("certificate", b"etc/ssl/"),
    ("configuration", b"etc/"),
    ("package record", b"var/lib/dpkg/"),
    ("package record", b"lib/apk/db/"),
];

/// The kind of a file with this path and these permission bits.
pub(super) fn class(path: &[u8], mode: u32) -> &'static str {
    let name = base(path);
    // libc.so.6 and libz.so.1.2.13
    if name.windows(4).any(|four| four == b".so.") {
        return "shared library";
    }
    if let Some((class, _)) = PLACES[..1]
        .iter()
        .find(|(_, place)| path.starts_with(place))
    {
        return class;
    }
    let ending = name
        .iter()
        .rposition(|byte| *byte == b'.')
        .filter(|at| *at > 0);
    let ending = ending.map(|at| name[at + 1..].to_ascii_lowercase());
    let known = |(_, endings): &&(&str, &[&str])| {
        let ending = ending.as_deref();
        ending.is_some_and(|ending| endings.iter().any(|known| known.as_bytes() == ending))
    };
    if let Some((class, _)) = ENDINGS.iter().find(known) {
        return class;
    }
    if let Some((class, _)) = PLACES.iter().find(|(_, place)| path.starts_with(place)) {
        return class;
    }
    match mode & 0o111 {
        0 => "other",
        _ => "program",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_files_are() {
        let of = |path: &str| class(path.as_bytes(), 0o644);
        assert_eq!(of("lib/x86_64-linux-gnu/libc.so.6"), "shared library");
        assert_eq!(
            of("usr/lib/python3/x.cpython-311-x86_64-linux-gnu.so"),
            "shared library"
        );
        assert_eq!(of("usr/share/man/man1/ls.1.gz"), "manual page");
        assert_eq!(of("app/main.PY"), "Python");
        assert_eq!(of("etc/passwd"), "configuration");
        assert_eq!(of("app/.py"), "other");
        assert_eq!(class(b"usr/bin/ls", 0o755), "program");
    }
}
