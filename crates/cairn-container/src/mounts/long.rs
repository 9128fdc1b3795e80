//! `--mount KEY=VALUE,…`: Docker's long form, a line of CSV.

use std::collections::BTreeMap;
use std::path::Path;

use cairn_runtime::{Mount, MountKind, Origin, Text};

use super::{PROPAGATION, Wanted, WantedVolume, absolute, short};
use crate::error::{Error, Result};
use crate::limits::bytes;

/// What the fields say, before it is known whether they go together.
#[derive(Debug, Default)]
struct Fields {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    flat: bool,
    no_copy: bool,
    labels: BTreeMap<String, String>,
    size: Option<u64>,
    mode: Option<u32>,
    /// Fields that only one type has: name of the field, and that type.
    special: Vec<(String, &'static str)>,
}

/// A mount in the long form.
pub fn mount(text: &str) -> Result<Wanted> {
    let refused = |why: String| Error::Usage(format!("--mount {text}: {why}"));
    let mut fields = Fields::default();
    for field in csv(text).map_err(refused)? {
        fields.set(&field).map_err(refused)?;
    }
    let kind = fields.kind.clone().unwrap_or_else(|| "volume".into());
    if !["bind", "tmpfs", "volume", "image"].contains(&&kind[..]) {
        return Err(refused(format!(
            "type {kind:?} is not known; valid types are bind, tmpfs, volume and image"
        )));
    }
    if let Some((name, of)) = fields.special.iter().find(|(_, of)| *of != kind) {
        return Err(refused(format!("{name} is for type={of}")));
    }
    let target = fields.target.take();
    let target = target.ok_or_else(|| refused("target= is missing".into()))?;
    let target = absolute(target.as_bytes())?;
    let source = fields.source.take().filter(|source| !source.is_empty());
    match (&kind[..], source) {
        ("bind", Some(source)) => bind(&source, target, &fields),
        ("image", Some(image)) => Ok(Wanted::Image { image, target }),
        ("tmpfs", None) => Ok(Wanted::Mount(tmpfs(target, &fields))),
        ("volume", source) => Ok(Wanted::Volume(WantedVolume {
            name: source.map(|s| short::name(s.as_bytes())).transpose()?,
            target,
            read_only: fields.read_only,
            copy: !fields.no_copy,
            labels: fields.labels,
        })),
        ("tmpfs", Some(_)) => Err(refused("type=tmpfs has no source".into())),
        (kind, _) => Err(refused(format!("type={kind} needs source="))),
    }
}

fn bind(source: &str, target: Text, fields: &Fields) -> Result<Wanted> {
    let mut wanted = short::bind(Path::new(source), target, fields.read_only)?;
    if fields.flat
        && let Wanted::Mount(Mount { what, .. }) = &mut wanted
        && let MountKind::Bind { source } = what.clone()
    {
        *what = MountKind::FlatBind { source };
    }
    Ok(wanted)
}

fn tmpfs(target: Text, fields: &Fields) -> Mount {
    let mut options = vec![format!("mode={:o}", fields.mode.unwrap_or(0o1777))];
    options.extend(fields.size.map(|size| format!("size={size}")));
    Mount {
        target,
        what: MountKind::Tmpfs {
            options: options.join(","),
            exec: false,
            suid: false,
            dev: false,
        },
        read_only: fields.read_only,
        origin: Origin::User,
    }
}

impl Fields {
    fn set(&mut self, field: &str) -> Result<(), String> {
        let (name, value) = match field.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (field, None),
        };
        let given = || value.ok_or(format!("{name} needs a value"));
        match name {
            "type" => self.kind = Some(given()?.to_owned()),
            "source" | "src" => self.source = Some(given()?.to_owned()),
            "target" | "dst" | "destination" => self.target = Some(given()?.to_owned()),
            "readonly" | "ro" => self.read_only = truth(name, value)?,
            "bind-propagation" => match given()? {
                "private" | "rprivate" => self.only(name, "bind"),
                _ => return Err(PROPAGATION.into()),
            },
            "bind-nonrecursive" => {
                self.flat = truth(name, value)?;
                self.only(name, "bind");
            }
            "bind-recursive" => {
                self.flat = match given()? {
                    "enabled" | "readonly" => false,
                    "disabled" => true,
                    other => {
                        return Err(format!(
                            "bind-recursive={other}: must be enabled, disabled or readonly"
                        ));
                    }
                };
                self.only(name, "bind");
            }
            "consistency" => self.only(name, "bind"),
            "volume-nocopy" => {
                self.no_copy = truth(name, value)?;
                self.only(name, "volume");
            }
            "volume-label" => {
                let (key, value) = given()?.split_once('=').unwrap_or((given()?, ""));
                if key.is_empty() {
                    return Err("volume-label needs a name".into());
                }
                self.labels.insert(key.to_owned(), value.to_owned());
                self.only(name, "volume");
            }
            "volume-driver" if value == Some("local") => self.only(name, "volume"),
            "tmpfs-size" => {
                let size = bytes("tmpfs-size", given()?).map_err(|e| e.to_string())?;
                self.size = Some(size).filter(|size| *size > 0);
                self.only(name, "tmpfs");
            }
            "tmpfs-mode" => {
                self.mode = Some(mode(given()?).ok_or("tmpfs-mode must be octal, such as 1777")?);
                self.only(name, "tmpfs");
            }
            "volume-driver" | "volume-opt" | "volume-subpath" | "image-subpath" => {
                return Err(format!("{name} is not supported"));
            }
            _ => {
                return Err(format!(
                    "unknown field {name:?}; valid fields are type, source, target, readonly, bind-propagation, bind-recursive, volume-nocopy, volume-label, tmpfs-size and tmpfs-mode"
                ));
            }
        }
        Ok(())
    }

    fn only(&mut self, name: &str, kind: &'static str) {
        self.special.push((name.to_owned(), kind));
    }
}

fn truth(name: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(true),
        Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(format!("{name}={other}: must be true or false")),
    }
}

/// Permissions in octal.
pub(crate) fn mode(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let mode = u32::from_str_radix(text, 8).ok()?;
    (digits && mode <= 0o7777).then_some(mode)
}

/// Fields of a line of CSV (RFC 4180): one that has a comma is written in quotes.
pub(crate) fn csv(line: &str) -> Result<Vec<String>, String> {
    if line.contains(['\n', '\r', '\0']) {
        return Err("must be one line".into());
    }
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        if field.is_empty() {
            return Err("has an empty field".into());
        }
        fields.push(field);
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None if after.is_empty() => return Ok(fields),
            None => return Err("a quote must end its field".into()),
        }
    }
}

/// A field behind its opening quote, and what follows the closing one. Two quotes stand for one.
fn unquoted(text: &str) -> Result<(String, &str), String> {
    let mut field = String::new();
    let mut rest = text;
    while let Some(end) = rest.find('"') {
        field.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(more) => rest = more,
            None => return Ok((field, rest)),
        }
        field.push('"');
    }
    Err("a quote is not closed".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Wanted, String> {
        mount(text).map_err(|e| e.to_string())
    }

    #[test]
    fn lines_of_csv_are_split_at_commas_outside_of_quotes() {
        let fields = |line| csv(line).map(|fields| fields.join("|"));
        assert_eq!(fields("a=b,c").as_deref(), Ok("a=b|c"));
        assert_eq!(fields("\"a=x,y\",b").as_deref(), Ok("a=x,y|b"));
        assert_eq!(fields("\"a=\"\"x\"\"\"").as_deref(), Ok("a=\"x\""));
        for bad in ["", "a,", ",a", "\"a", "\"a\"b", "a\nb"] {
            assert!(fields(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_type_is_understood() {
        let Ok(Wanted::Mount(bind)) = parsed("type=bind,src=/tmp,dst=/x,readonly") else {
            unreachable!("it is a mount")
        };
        assert!(bind.read_only && matches!(bind.what, MountKind::Bind { .. }));
        let Ok(Wanted::Mount(flat)) =
            parsed("type=bind,source=/tmp,target=/x,bind-recursive=disabled,ro=false")
        else {
            unreachable!("it is a mount")
        };
        assert!(!flat.read_only && matches!(flat.what, MountKind::FlatBind { .. }));
        let Ok(Wanted::Mount(tmpfs)) =
            parsed("type=tmpfs,destination=/x,tmpfs-size=64m,tmpfs-mode=700")
        else {
            unreachable!("it is a mount")
        };
        let MountKind::Tmpfs { options, .. } = tmpfs.what else {
            unreachable!("it is a tmpfs")
        };
        assert_eq!(options, "mode=700,size=67108864");
        let Ok(Wanted::Volume(named)) =
            parsed("source=data,target=/x,volume-nocopy,\"volume-label=a=b,c\"")
        else {
            unreachable!("it is a volume")
        };
        assert_eq!((named.name.as_deref(), named.copy), (Some("data"), false));
        assert_eq!(named.labels["a"], "b,c");
        assert!(matches!(parsed("target=/x"), Ok(Wanted::Volume(own)) if own.name.is_none()));
        assert!(matches!(
            parsed("type=image,source=a:1,target=/x"),
            Ok(Wanted::Image { image, .. }) if image == "a:1"
        ));
    }

    #[test]
    fn what_does_not_go_together_is_refused_with_a_reason() {
        for (text, words) in [
            ("type=bind,target=/x", "needs source="),
            ("type=image,target=/x", "needs source="),
            ("type=tmpfs,source=/a,target=/x", "no source"),
            ("type=bind,source=/tmp", "target= is missing"),
            ("type=bind,source=/tmp,target=x", "must start with /"),
            ("type=npipe,source=/tmp,target=/x", "valid types"),
            ("type=tmpfs,target=/x,volume-nocopy", "is for type=volume"),
            ("target=/x,tmpfs-size=1m", "is for type=tmpfs"),
            ("type=tmpfs,target=/x,tmpfs-mode=999", "octal"),
            ("type=tmpfs,target=/x,tmpfs-mode=77777", "octal"),
            ("type=tmpfs,target=/x,tmpfs-size=99999999999t", "too large"),
            (
                "type=bind,source=/tmp,target=/x,bind-propagation=shared",
                "host",
            ),
            ("target=/x,readonly=maybe", "true or false"),
            ("source=../x,target=/x", "not valid"),
            ("target=/x,volume-driver=nfs", "not supported"),
            ("target=/x,volume-subpath=a", "not supported"),
            ("target=/x,bogus=1", "unknown field"),
            ("type=bind,source=/tmp,target=/x,", "empty field"),
        ] {
            let e = parsed(text).unwrap_err();
            assert!(e.contains(words), "{text}: {e}");
        }
    }
}
