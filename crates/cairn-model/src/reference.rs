//! Image names, by the reference grammar that registries and Docker use.
//!
//! `[HOST[:PORT]/]PATH[:TAG]`. A name without a host belongs to `docker.io`, one without a namespace to
//! `library`, and the tag is `latest` where none is given: `py`, `library/py` and `docker.io/library/py:latest`
//! are one name. It is stored in the full form and shown in the short one.
//!
//! **Never a name:** what looks like a digest or an id (`sha256:…`, 12 to 64 hex digits). Otherwise an
//! archive could name its image as the id of another one.

use std::fmt;
use std::str::FromStr;

use crate::id::Digest;
use crate::name::NameError;

const DEFAULT_HOST: &str = "docker.io";
const OLD_DEFAULT_HOST: &str = "index.docker.io";
const DEFAULT_NAMESPACE: &str = "library/";
const DEFAULT_TAG: &str = "latest";
const PATH_LEN_MAX: usize = 255;
const HOST_LEN_MAX: usize = 255;
const TAG_LEN_MAX: usize = 128;
/// Hex digits of the short form of an id, which the tables show.
const SHORT_ID_LEN: usize = 12;

/// Name of an image with its tag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageRef {
    /// The full form, or, of a name stored by an earlier version that is none today, what was stored.
    full: String,
    /// Where the tag begins in `full`, after the colon.
    tag_at: usize,
}

/// What a person means by a text that is to name an existing image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// The image of this id: `sha256:…`, 64 hex digits, or `NAME@sha256:…`.
    Id(Digest),
    /// The image whose id starts with these hex digits: `sha256:3f9a…`, or 12 hex digits or more.
    Prefix(String),
    /// The image of this name; where the text is also the start of an id, that is in the second field.
    Name(ImageRef, Option<String>),
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// True where a name without tag could be taken for an id.
fn looks_like_id(path: &str) -> bool {
    path.len() >= SHORT_ID_LEN && path.len() <= 64 && is_hex(path)
}

/// Splits off the host, if the part before the first slash is one.
fn split_host(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => {
            (Some(host), path)
        }
        _ => (None, name),
    }
}

/// `label(.label)*[:port]`, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    let (name, port) = if host.starts_with('[') {
        match host.split_once(']') {
            Some((address, rest)) => {
                let inner = &address[1..];
                let address = inner.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
                if inner.is_empty() || !address {
                    return false;
                }
                ("", rest)
            }
            None => return false,
        }
    } else {
        let (name, port) = host.find(':').map_or((host, ""), |at| host.split_at(at));
        let label = |label: &str| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if !name.split('.').all(label) {
            return false;
        }
        (name, port)
    };
    let port_fits = |port: &str| {
        !port.is_empty() && port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit())
    };
    name.len() <= HOST_LEN_MAX && (port.is_empty() || port.strip_prefix(':').is_some_and(port_fits))
}

/// Runs of lower-case letters and digits, with one of `.`, `_`, `__` or dashes between them.
fn is_component(component: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    if !bytes.first().is_some_and(|b| word(*b)) || !bytes.last().is_some_and(|b| word(*b)) {
        return false;
    }
    bytes
        .split(|b| word(*b))
        .filter(|run| !run.is_empty())
        .all(|run| matches!(run, b"." | b"_" | b"__") || run.iter().all(|b| *b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= TAG_LEN_MAX
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

/// Takes a tag off, if there is one: the last colon is not one of a port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

impl ImageRef {
    fn new(name: &str, tag: &str) -> Self {
        Self {
            full: format!("{name}:{tag}"),
            tag_at: name.len() + 1,
        }
    }

    /// A name as a repository holds it. One that an earlier version took and that is none today is kept
    /// as it is, so that it can be shown, found and removed.
    pub fn stored(text: &str) -> Self {
        text.parse().unwrap_or_else(|_| Self {
            full: text.to_owned(),
            tag_at: text.rfind(':').map_or(text.len(), |at| at + 1),
        })
    }

    /// The full form, in which names are stored and compared: `docker.io/library/py:latest`.
    pub fn as_str(&self) -> &str {
        &self.full
    }

    /// The tag.
    pub fn tag(&self) -> &str {
        &self.full[self.tag_at..]
    }

    /// The full form without the tag.
    pub fn full_repository(&self) -> &str {
        self.full[..self.tag_at].trim_end_matches(':')
    }

    /// The short form without the tag, as Docker shows it: `py`, `example/app`, `host:5000/a/app`.
    pub fn repository(&self) -> &str {
        let full = self.full_repository();
        let Some(path) = full.strip_prefix("docker.io/") else {
            return full;
        };
        let short = path
            .strip_prefix(DEFAULT_NAMESPACE)
            .filter(|rest| !rest.contains('/'))
            .unwrap_or(path);
        // A namespace that looks like a host needs its own host in front of it.
        if split_host(short).0.is_some() {
            full
        } else {
            short
        }
    }
}

impl FromStr for ImageRef {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let fail = |why| Err(NameError::new("image name", text, why));
        if text.is_empty() {
            return fail("it is empty");
        }
        if text.contains('@') {
            return fail("it contains a digest; a name is NAME[:TAG]");
        }
        let (name, tag) = split_tag(text);
        let tag = tag.unwrap_or(DEFAULT_TAG);
        let (host, path) = split_host(name);
        if name == "sha256" || (host.is_none() && looks_like_id(path)) {
            return fail("it looks like an image id");
        }
        if host.is_some_and(|host| !is_host(host)) {
            return fail("the part before the first / is not a valid host name");
        }
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return fail("it must be in lower case");
        }
        if path.len() > PATH_LEN_MAX {
            return fail("it is longer than 255 characters");
        }
        if !path.split('/').all(is_component) {
            return fail(
                "the parts between slashes may contain lower-case letters and digits, separated by . _ __ or -",
            );
        }
        if !is_tag(tag) {
            return fail(
                "a tag may contain up to 128 letters, digits and . _ -, and must not start with . or -",
            );
        }
        let host = match host {
            None | Some(OLD_DEFAULT_HOST) => DEFAULT_HOST,
            Some(host) => host,
        };
        let namespace = if host == DEFAULT_HOST && !path.contains('/') {
            DEFAULT_NAMESPACE
        } else {
            ""
        };
        let bare = path.strip_prefix(DEFAULT_NAMESPACE).unwrap_or(path);
        if host == DEFAULT_HOST && (bare == "sha256" || looks_like_id(bare)) {
            return fail("it looks like an image id");
        }
        Ok(Self::new(&format!("{host}/{namespace}{path}"), tag))
    }
}

/// The short form: `py:latest`, `example/app:1`.
impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let repository = self.repository();
        match self.tag() {
            "" => f.write_str(repository),
            tag => write!(f, "{repository}:{tag}"),
        }
    }
}

impl FromStr for Reference {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let fail = |why| Err(NameError::new("image", text, why));
        if let Some((name, digest)) = text.split_once('@') {
            // The digest decides; the name must still be one.
            if !name.is_empty() {
                name.parse::<ImageRef>()?;
            }
            return match digest.parse() {
                Ok(id) => Ok(Self::Id(id)),
                Err(_) => fail("the @ must be followed by sha256: and 64 lower-case hex digits"),
            };
        }
        if let Ok(id) = text.parse().or_else(|_| format!("sha256:{text}").parse()) {
            return Ok(Self::Id(id));
        }
        if let Some(hex) = text.strip_prefix("sha256:") {
            if hex.len() >= Self::PREFIX_LEN_MIN && hex.len() < 64 && is_hex(hex) {
                return Ok(Self::Prefix(hex.to_owned()));
            }
            return fail("sha256: must be followed by 4 to 64 lower-case hex digits");
        }
        if looks_like_id(text) {
            return Ok(Self::Prefix(text.to_owned()));
        }
        let prefix = (text.len() >= Self::PREFIX_LEN_MIN && is_hex(text)).then(|| text.to_owned());
        Ok(Self::Name(text.parse()?, prefix))
    }
}

impl Reference {
    /// Fewest hex digits that are taken for the start of an id.
    pub const PREFIX_LEN_MIN: usize = 4;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(text: &str) -> Option<String> {
        text.parse::<ImageRef>().map(|r| r.full).ok()
    }

    fn short(text: &str) -> String {
        text.parse::<ImageRef>().unwrap().to_string()
    }

    #[test]
    fn names_are_completed_as_docker_does() {
        for (text, expected) in [
            ("py", "docker.io/library/py:latest"),
            ("py:1", "docker.io/library/py:1"),
            ("library/py", "docker.io/library/py:latest"),
            ("docker.io/py", "docker.io/library/py:latest"),
            ("index.docker.io/py", "docker.io/library/py:latest"),
            ("index.docker.io/a/py", "docker.io/a/py:latest"),
            ("docker.io/library/py:latest", "docker.io/library/py:latest"),
            ("example/py:1", "docker.io/example/py:1"),
            ("docker.io/example/py:1", "docker.io/example/py:1"),
            ("a/b/c", "docker.io/a/b/c:latest"),
            ("localhost/py", "localhost/py:latest"),
            ("localhost:5000/py:2", "localhost:5000/py:2"),
            ("host:5000/a/py", "host:5000/a/py:latest"),
            ("host.example/py", "host.example/py:latest"),
            ("[::1]:5000/py", "[::1]:5000/py:latest"),
            ("py:Some_Tag.1-x", "docker.io/library/py:Some_Tag.1-x"),
            ("a__b/c---d/e.f", "docker.io/a__b/c---d/e.f:latest"),
            ("host:5000/library/py", "host:5000/library/py:latest"),
            ("py:3f9a3f9a3f9a", "docker.io/library/py:3f9a3f9a3f9a"),
            ("abcdef", "docker.io/library/abcdef:latest"),
        ] {
            assert_eq!(full(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn the_short_form_leads_back_to_the_full_one() {
        for (text, expected) in [
            ("docker.io/library/py:1", "py:1"),
            ("docker.io/example/app:1", "example/app:1"),
            ("docker.io/library/a/b", "library/a/b:latest"),
            ("docker.io/localhost/a", "docker.io/localhost/a:latest"),
            ("docker.io/a.b/c", "docker.io/a.b/c:latest"),
            (
                "docker.io/library/localhost/a",
                "library/localhost/a:latest",
            ),
            ("ghcr.io/a/b:1", "ghcr.io/a/b:1"),
        ] {
            assert_eq!(short(text), expected);
            assert_eq!(full(expected), full(text));
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let id = "3f".repeat(32);
        for bad in [
            "",
            "a b",
            "x:",
            "/x",
            "a//b",
            "-x",
            "../x",
            "x:.y",
            "x:-y",
            "a:b:c",
            "Upper/x",
            "x/Upper",
            "UPPER",
            "a_",
            "_a",
            "a..b",
            "a.-b",
            "a___b",
            "app:1.0+b5",
            "x:ü",
            "é",
            "a/",
            "host:/x",
            "host:port/x",
            "-host.a/x",
            "[::1/x",
            "[]/x",
            "x@sha256:1",
            "sha256",
            "sha256:abc",
            "sha256:latest",
            "docker.io/sha256:1",
            "docker.io/library/sha256",
            "3f9a3f9a3f9a",
            "3f9a3f9a3f9a:1",
            "docker.io/3f9a3f9a3f9a",
            "library/3f9a3f9a3f9a:1",
            "a\nb",
            "a\0",
            &id,
            &format!("sha256:{id}"),
            &format!("x@sha256:{id}"),
            &format!("{id}:1"),
            &format!("docker.io/{id}"),
            &format!("docker.io/library/{id}:latest"),
            &"a".repeat(256),
            &format!("x:{}", "t".repeat(129)),
        ] {
            assert_eq!(full(bad), None, "{bad}");
        }
        assert!(full(&"z".repeat(255)).is_some());
        assert!(full(&format!("x:{}", "t".repeat(128))).is_some());
    }

    #[test]
    fn names_of_earlier_versions_are_kept_as_they_are() {
        for old in ["Upper/x:1", "a:b:c", "app:1+2", "sha256:ab"] {
            let name = ImageRef::stored(old);
            assert_eq!((name.as_str(), name.to_string()), (old, old.to_owned()));
        }
        assert_eq!(ImageRef::stored("py:1").as_str(), "docker.io/library/py:1");
    }

    #[test]
    fn ids_are_ids_and_never_names() {
        let id = Digest::from_bytes([0x3f; 32]);
        let read = |text: &str| text.parse::<Reference>();
        for text in [
            id.to_string(),
            id.hex(),
            format!("py@{id}"),
            format!("py:1@{id}"),
            format!("@{id}"),
        ] {
            assert_eq!(read(&text), Ok(Reference::Id(id)), "{text}");
        }
        for text in ["sha256:3f3f", "3f3f3f3f3f3f", "3f3f3f3f3f3f3f"] {
            let hex = text.trim_start_matches("sha256:");
            assert_eq!(read(text), Ok(Reference::Prefix(hex.into())), "{text}");
        }
        let cafe = Reference::Name("cafe".parse().unwrap(), Some("cafe".into()));
        assert_eq!(read("cafe"), Ok(cafe));
        assert!(matches!(read("cafe:latest"), Ok(Reference::Name(_, None))));
        assert!(matches!(read("caf"), Ok(Reference::Name(_, None))));
        for bad in [
            "sha256:",
            "sha256:3",
            "py@sha256:3f3f",
            "a b@sha256:00",
            "py@sha512:00",
            "Up",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
