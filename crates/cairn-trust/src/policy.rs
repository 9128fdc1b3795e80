//! `policy.json` of the containers world, as far as Cairn can follow it: `insecureAcceptAnything`, `reject`, and
//! `sigstoreSigned` with keys. The scopes are those of containers-policy.json(5) for the transport `docker`.
//!
//! A requirement that is not understood is an error for the images in its scope, and only for those: what a machine
//! asks of other registries does not matter here.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::identity::Identity;

/// Longest policy.
const BYTES_MAX: usize = 1 << 20;
const TRANSPORT: &str = "docker";

type Requirements = Vec<Value>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    default: Requirements,
    #[serde(default)]
    transports: BTreeMap<String, BTreeMap<String, Requirements>>,
}

/// What is asked of images.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    default: Requirements,
    /// By scope, of the transport of registries.
    scopes: BTreeMap<String, Requirements>,
}

/// What is asked of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Accept,
    /// It is not taken.
    Reject,
    /// Signatures: each of these.
    Signed(Vec<Signed>),
}

/// A signature that an image must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// One of these keys has to have made it.
    pub keys: Vec<KeySource>,
    /// For whom it has to be.
    pub identity: Identity,
}

/// Where a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// In this file.
    Path(String),
    /// Here: a PEM file.
    Data(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedWords {
    #[serde(rename = "type")]
    _kind: String,
    #[serde(rename = "keyPath")]
    path: Option<String>,
    #[serde(rename = "keyPaths")]
    paths: Option<Vec<String>>,
    #[serde(rename = "keyData")]
    data: Option<String>,
    #[serde(rename = "keyDatas")]
    datas: Option<Vec<String>>,
    #[serde(rename = "signedIdentity")]
    identity: Option<Value>,
}

impl Policy {
    /// The policy in a file.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > BYTES_MAX {
            return Err(Error::Policy(format!("it has more than {BYTES_MAX} bytes")));
        }
        let mut document: Document =
            serde_json::from_slice(bytes).map_err(|e| Error::Policy(e.to_string()))?;
        let all = document.transports.values().flat_map(BTreeMap::values);
        if all.chain([&document.default]).any(Vec::is_empty) {
            let why =
                "a list of requirements is empty; use \"reject\" or \"insecureAcceptAnything\"";
            return Err(Error::Policy(why.to_owned()));
        }
        Ok(Self {
            default: document.default,
            scopes: document.transports.remove(TRANSPORT).unwrap_or_default(),
        })
    }

    /// What is asked of the image with this tag, or with a digest, of a repository, which names its registry.
    pub fn verdict(&self, repository: &str, tag: Option<&str>) -> Result<Verdict> {
        let mut signed = Vec::new();
        let (mut rejected, mut accepted) = (false, false);
        // All of them are read, so that one that is not understood is told of whatever the others say.
        for requirement in self.requirements(repository, tag) {
            match kind(requirement)? {
                "insecureAcceptAnything" => accepted = only_kind(requirement)?,
                "reject" => rejected = only_kind(requirement)?,
                "sigstoreSigned" => signed.push(self::signed(requirement)?),
                other => {
                    let why = format!("requirements of type {other:?} are not supported");
                    return Err(Error::Policy(why));
                }
            }
        }
        match (rejected, signed.is_empty(), accepted) {
            (true, ..) => Ok(Verdict::Reject),
            (_, false, _) => Ok(Verdict::Signed(signed)),
            (_, true, true) => Ok(Verdict::Accept),
            // Nothing is asked, and nothing said.
            (_, true, false) => Ok(Verdict::Reject),
        }
    }

    /// Those of the narrowest scope that the image is in.
    fn requirements(&self, repository: &str, tag: Option<&str>) -> &Requirements {
        let exact = tag.map(|tag| format!("{repository}:{tag}"));
        if let Some(found) = exact.and_then(|exact| self.scopes.get(&exact)) {
            return found;
        }
        let mut scope = repository;
        loop {
            if let Some(found) = self.scopes.get(scope) {
                return found;
            }
            match scope.rsplit_once('/') {
                Some((wider, _)) => scope = wider,
                None => break,
            }
        }
        // `*.example.com` for hosts, and the scope "" of the transport.
        let mut host = scope;
        while let Some((_, wider)) = host.split_once('.') {
            if let Some(found) = self.scopes.get(&format!("*.{wider}")) {
                return found;
            }
            host = wider;
        }
        self.scopes.get("").unwrap_or(&self.default)
    }
}

fn kind(requirement: &Value) -> Result<&str> {
    let none = || Error::Policy("a requirement has no type".to_owned());
    requirement["type"].as_str().ok_or_else(none)
}

/// True; fails where the requirement says more than its type.
fn only_kind(requirement: &Value) -> Result<bool> {
    match requirement.as_object().map(serde_json::Map::len) {
        Some(1) => Ok(true),
        _ => Err(Error::Policy(format!(
            "{requirement} says more than Cairn knows"
        ))),
    }
}

fn signed(requirement: &Value) -> Result<Signed> {
    let words: SignedWords = serde_json::from_value(requirement.clone())
        .map_err(|e| Error::Policy(format!("sigstoreSigned: {e}")))?;
    let identity = match &words.identity {
        Some(value) => Identity::parse(value)?,
        None => Identity::RepoDigestOrExact,
    };
    let given = [
        words.path.map(|path| paths(vec![path])),
        words.paths.map(paths),
        words.data.map(|data| datas(vec![data])).transpose()?,
        words.datas.map(datas).transpose()?,
    ];
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(keys), None) if !keys.is_empty() => Ok(Signed { keys, identity }),
        _ => Err(Error::Policy(
            "sigstoreSigned: exactly one of keyPath, keyPaths, keyData and keyDatas is needed; signatures without a key are not supported".to_owned(),
        )),
    }
}

fn paths(paths: Vec<String>) -> Vec<KeySource> {
    paths.into_iter().map(KeySource::Path).collect()
}

fn datas(datas: Vec<String>) -> Result<Vec<KeySource>> {
    let decode = |data: String| {
        let bytes = STANDARD.decode(data).ok();
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let wrong = || Error::Policy("keyData: it is not a key in base64".to_owned());
        text.map(KeySource::Data).ok_or_else(wrong)
    };
    datas.into_iter().map(decode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(policy: &str, repository: &str, tag: Option<&str>) -> Result<Verdict> {
        Policy::parse(policy.as_bytes())?.verdict(repository, tag)
    }

    #[test]
    fn the_narrowest_scope_counts() {
        let policy = r#"{
            "default": [{"type": "reject"}],
            "transports": {
                "docker": {
                    "": [{"type": "reject"}],
                    "*.example.com": [{"type": "insecureAcceptAnything"}],
                    "h:5000": [{"type": "insecureAcceptAnything"}],
                    "h:5000/a": [{"type": "reject"}],
                    "h:5000/a/b": [{"type": "insecureAcceptAnything"}],
                    "h:5000/a/b:bad": [{"type": "reject"}]
                },
                "docker-daemon": {"": [{"type": "insecureAcceptAnything"}]}
            }
        }"#;
        for (repository, tag, accepted) in [
            ("h:5000/x", Some("1"), true),
            ("h:5000/a", Some("1"), false),
            ("h:5000/a/c", None, false),
            ("h:5000/a/b", Some("1"), true),
            ("h:5000/a/b/c", Some("1"), true),
            ("h:5000/a/b", Some("bad"), false),
            ("h:5001/x", None, false),
            ("r.example.com/x", None, true),
            ("a.b.example.com/x", None, true),
            ("example.com/x", None, false),
        ] {
            let wanted = if accepted {
                Verdict::Accept
            } else {
                Verdict::Reject
            };
            assert_eq!(
                verdict(policy, repository, tag).unwrap(),
                wanted,
                "{repository}"
            );
        }
    }

    #[test]
    fn signatures_are_asked_for_as_the_policy_says() {
        let policy = r#"{"default": [
            {"type": "sigstoreSigned", "keyPath": "/k", "signedIdentity": {"type": "matchRepository"}},
            {"type": "sigstoreSigned", "keyDatas": ["YQ==", "Yg=="]},
            {"type": "insecureAcceptAnything"}
        ]}"#;
        let wanted = [
            Signed {
                keys: vec![KeySource::Path("/k".to_owned())],
                identity: Identity::Repository,
            },
            Signed {
                keys: vec![
                    KeySource::Data("a".to_owned()),
                    KeySource::Data("b".to_owned()),
                ],
                identity: Identity::RepoDigestOrExact,
            },
        ];
        assert_eq!(
            verdict(policy, "h/a", None).unwrap(),
            Verdict::Signed(wanted.to_vec())
        );
    }

    #[test]
    fn what_is_not_understood_is_never_a_yes() {
        let accept = r#"{"type": "insecureAcceptAnything"}"#;
        for requirement in [
            r#"{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"}"#,
            r#"{"type": "sigstoreSigned"}"#,
            r#"{"type": "sigstoreSigned", "keyPath": "/k", "keyData": "YQ=="}"#,
            r#"{"type": "sigstoreSigned", "keyPaths": []}"#,
            r#"{"type": "sigstoreSigned", "keyData": "!"}"#,
            r#"{"type": "sigstoreSigned", "keyPath": "/k", "rekorPublicKeyPath": "/r"}"#,
            r#"{"type": "sigstoreSigned", "fulcio": {}}"#,
            r#"{"type": "sigstoreSigned", "keyPath": "/k", "signedIdentity": {"type": "remapIdentity"}}"#,
            r#"{"type": "insecureAcceptAnything", "unless": 1}"#,
            r#"{"type": "new"}"#,
            "{}",
            "7",
        ] {
            let policy = format!(r#"{{"default": [{accept}, {requirement}]}}"#);
            assert!(verdict(&policy, "h/a", None).is_err(), "{requirement}");
        }
        for policy in [
            "",
            "{}",
            "[]",
            r#"{"default": []}"#,
            r#"{"default": [], "x": 1}"#,
        ] {
            assert!(Policy::parse(policy.as_bytes()).is_err(), "{policy}");
        }
    }
}
