//! Which package a file of an image belongs to, by the records that package managers keep in the image.
//!
//! Read are those of dpkg, rpm, apk and Python; a Node package is named by where it is. A database of rpm that is not
//! read is told. Records are hostile: what does not fit their form is passed over, and they own nothing but names in a
//! report.

use std::collections::{BTreeMap, HashMap};

use cairn_layer::{clean, read_content};
use cairn_model::{Content, Entry, Kind};
use cairn_store::Store;

use super::form::Form;
use super::{apk, dpkg, node, python, rpm};
use crate::error::Result;

/// A record with more bytes is not read.
const RECORD_BYTES_MAX: u64 = 64 << 20;

const RPM_NOTE: &str = "an rpm database was found that is not read, or not all of it: only the SQLite form is, without \
    a write-ahead log; files of its packages are among those of no package";

/// What of a layer says whose its files are.
#[derive(Default)]
pub(crate) struct Records {
    files: Vec<(Vec<u8>, Content)>,
    /// Symbolic links at the top, such as `bin`, with their targets.
    links: Vec<(Vec<u8>, Vec<u8>)>,
    /// There is a database of rpm that is not read, or not all of it.
    unread_rpm: bool,
}

const FORMS: [Form; 4] = [dpkg::FORM, rpm::FORM, apk::FORM, python::FORM];

impl Records {
    /// Takes an entry of the layer if it is a record.
    pub fn see(&mut self, entry: &Entry) {
        if let Kind::File(content) = &entry.kind {
            self.unread_rpm |= rpm::is_unread(&entry.path, content.size);
        }
        match &entry.kind {
            Kind::File(content) if FORMS.iter().any(|form| (form.is_record)(&entry.path)) => {
                self.files.push((entry.path.clone(), content.clone()));
            }
            Kind::Symlink(target) if !entry.path.contains(&b'/') => {
                self.links.push((entry.path.clone(), target.clone()));
            }
            _ => {}
        }
    }
}

/// Whose the files of an image are.
#[derive(Default)]
pub(crate) struct Owners {
    files: HashMap<Vec<u8>, usize>,
    names: Vec<String>,
    /// There is a database of rpm that is not read, or not all of it.
    unread_rpm: bool,
}

impl Owners {
    /// Reads the records of the layers of an image, lowest first.
    pub fn read<'a>(store: &Store, layers: impl Iterator<Item = &'a Records>) -> Result<Self> {
        let (mut files, mut links) = (BTreeMap::new(), HashMap::new());
        let mut owners = Self::default();
        for layer in layers {
            files.extend(layer.files.iter().map(|(path, content)| (path, content)));
            links.extend(
                layer
                    .links
                    .iter()
                    .map(|(name, target)| (&name[..], &target[..])),
            );
            owners.unread_rpm |= layer.unread_rpm;
        }
        for form in FORMS {
            for (path, content) in files.iter().filter(|(path, _)| (form.is_record)(path)) {
                if content.size > RECORD_BYTES_MAX {
                    owners.unread_rpm |= rpm::is_database(path);
                    continue;
                }
                let mut text = Vec::new();
                read_content(store, content, &mut text)?;
                owners.unread_rpm |= rpm::is_database(path) && !rpm::is_sound(&text);
                owners.take(&form, path, &text, &links);
            }
        }
        Ok(owners)
    }

    fn take(&mut self, form: &Form, path: &[u8], text: &[u8], links: &HashMap<&[u8], &[u8]>) {
        let mut numbers: HashMap<String, usize> = HashMap::new();
        (form.read)(path, text, &mut |package, file| {
            let names = &mut self.names;
            let number = *numbers.entry(package).or_insert_with_key(|package| {
                names.push(package.clone());
                names.len() - 1
            });
            if let Ok(file) = clean(file) {
                // The first record that names a file has it: a system's package before a language's.
                self.files.entry(resolved(&file, links)).or_insert(number);
            }
        });
    }

    /// What is not as complete as it could be, in words.
    pub fn note(&self) -> Option<String> {
        self.unread_rpm.then(|| RPM_NOTE.to_owned())
    }

    /// The package of a file; none where no record names it.
    pub fn of(&self, path: &[u8]) -> Option<String> {
        let number = self.files.get(path);
        let recorded = number.map(|number| self.names[*number].clone());
        recorded.or_else(|| node::package(path))
    }
}

/// A path as it is where `bin` and others are links into `usr`.
fn resolved(path: &[u8], links: &HashMap<&[u8], &[u8]>) -> Vec<u8> {
    let slash = path.iter().position(|byte| *byte == b'/');
    let (top, rest) = path.split_at(slash.unwrap_or(path.len()));
    match links.get(top) {
        Some(target) if !rest.is_empty() => {
            let target = target.strip_prefix(b"/").unwrap_or(target);
            [target, rest].concat()
        }
        _ => path.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners(records: &[(&str, &[u8])], links: &[(&[u8], &[u8])]) -> Owners {
        let mut owners = Owners::default();
        for form in FORMS {
            for (path, text) in records {
                if (form.is_record)(path.as_bytes()) {
                    let links = links.iter().copied().collect();
                    owners.take(&form, path.as_bytes(), text, &links);
                }
            }
        }
        owners
    }

    #[test]
    fn records_say_whose_files_are() {
        let owners = owners(
            &[
                ("var/lib/dpkg/info/coreutils.list", b"/.\n/bin\n/bin/ls\n"),
                ("var/lib/dpkg/info/libc6:amd64.list", b"/lib/libc.so.6\n"),
                ("var/lib/dpkg/status.d/base.md5sums", b"d41d8  etc/base\n"),
                (
                    "lib/apk/db/installed",
                    b"P:musl\nV:1\nF:lib\nR:ld.so\n\nP:zlib\nF:usr/lib\nR:libz.so\n",
                ),
                (
                    "usr/lib/python3/site-packages/six-1.16.0.dist-info/RECORD",
                    b"six.py,sha256=x,1\n\"odd,name.py\",,\n../../../bin/six,,\n",
                ),
            ],
            &[(b"bin", b"usr/bin")],
        );
        let of = |path: &str| owners.of(path.as_bytes());
        assert_eq!(of("usr/bin/ls").as_deref(), Some("deb coreutils"));
        assert_eq!(of("lib/libc.so.6").as_deref(), Some("deb libc6"));
        assert_eq!(of("etc/base").as_deref(), Some("deb base"));
        assert_eq!(of("lib/ld.so").as_deref(), Some("apk musl"));
        assert_eq!(of("usr/lib/libz.so").as_deref(), Some("apk zlib"));
        assert_eq!(
            of("usr/lib/python3/site-packages/six.py").as_deref(),
            Some("python six")
        );
        assert_eq!(
            of("usr/lib/python3/site-packages/odd,name.py").as_deref(),
            Some("python six")
        );
        assert_eq!(of("usr/bin/six").as_deref(), Some("python six"));
        assert_eq!(
            of("app/node_modules/@a/b/x.js").as_deref(),
            Some("node @a/b")
        );
        assert_eq!(of("app/main"), None);
    }

    #[test]
    fn records_that_make_no_sense_own_nothing() {
        let owners = owners(
            &[
                (
                    "lib/apk/db/installed",
                    b"R:nowhere\nF\nP\n\xff\nP:\xff\nF:../..\nR:x\n",
                ),
                (
                    "x/a.dist-info/RECORD",
                    b"../../../../../../etc/passwd,,\n\"never closed",
                ),
                ("a.dist-info/RECORD", b",\n"),
                ("var/lib/dpkg/info/.list", b"\0\n/../x\n"),
            ],
            &[],
        );
        assert_eq!(owners.of(b"etc/passwd"), None);
        assert_eq!(owners.of(b"x"), None);
    }
}
