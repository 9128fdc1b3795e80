//! The image document: what it says of the process to be, and of the layers below it.
//!
//! (OCI image specification, "Image Configuration"; Docker image specification v1.2.) The document is
//! held as it came; only what is read is typed, so unknown fields survive an edit.

use cairn_model::{Digest, LayerName};
use serde::Serialize;
use serde_json::{Value, json as value};

use crate::container_config::ContainerConfig;
use crate::documents::json;
use crate::error::{Error, Result};
use crate::limits;
use crate::platform::Platform;
use crate::sha256;

/// One line of the image's history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct History {
    /// When, RFC 3339.
    pub created: String,
    /// By which command.
    pub created_by: String,
    /// By whom.
    pub author: String,
    /// A remark.
    pub comment: String,
    /// True where this step made no layer.
    pub empty_layer: bool,
}

impl History {
    /// A line as far as it can be read: each line stands for a layer or for none, so none is left out.
    fn lenient(line: &Value) -> Self {
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        Self {
            created: text("created"),
            created_by: text("created_by"),
            author: text("author"),
            comment: text("comment"),
            empty_layer: line["empty_layer"].as_bool().unwrap_or_default(),
        }
    }
}

/// An image document.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageConfig {
    bytes: Vec<u8>,
    value: Value,
    layers: Vec<LayerName>,
}

impl ImageConfig {
    /// Reads a document that comes from somewhere else: it names layers by their diff ids.
    pub fn parse(bytes: Vec<u8>) -> Result<Self> {
        let config = Self::stored(bytes)?;
        match config.layers.iter().find(|name| name.is_own()) {
            Some(own) => Err(Error::invalid(
                "image configuration",
                format!("{own} is no diff id: one is sha256: and 64 lower-case hex digits"),
            )),
            None => Ok(config),
        }
    }

    /// Reads a document of the repository, which may name layers by their own ids.
    pub fn stored(bytes: Vec<u8>) -> Result<Self> {
        let bad = |why: &str| Error::invalid("image configuration", why);
        let value: Value = json(&bytes, "image configuration")?;
        if !value.is_object() {
            return Err(bad("it is not a JSON object"));
        }
        let ids = value
            .pointer("/rootfs/diff_ids")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let name = |id: &Value| id.as_str().unwrap_or_default().parse::<LayerName>();
        let layers = ids
            .iter()
            .map(name)
            .collect::<Result<_, _>>()
            .map_err(|e| bad(&e.to_string()))?;
        let config = Self {
            bytes,
            value,
            layers,
        };
        limits::check(&config.container_checked()?, config.layers.len())
            .map_err(|why| bad(&why))?;
        Ok(config)
    }

    /// A document for an image that has none: these layers, this machine's platform.
    pub fn new(platform: &Platform, layers: &[LayerName], created: &str, created_by: &str) -> Self {
        let history: Vec<Value> = layers
            .iter()
            .map(|_| value!({"created": created, "created_by": created_by}))
            .collect();
        let value = value!({
            "created": created,
            "architecture": platform.architecture,
            "os": platform.os,
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": texts(layers)},
            "history": history,
        });
        Self {
            bytes: value.to_string().into_bytes(),
            value,
            layers: layers.to_vec(),
        }
    }

    /// The document, to the byte.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The document's digest: the image id.
    pub fn digest(&self) -> Digest {
        sha256(&self.bytes)
    }

    /// The document as JSON.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Names of the layers, lowest first.
    pub fn layers(&self) -> &[LayerName] {
        &self.layers
    }

    /// Diff ids of the layers, lowest first, of a document that has no other names.
    pub fn diff_ids(&self) -> Vec<Digest> {
        self.layers.iter().filter_map(LayerName::diff_id).collect()
    }

    /// Chain ids of the layers, lowest first (OCI image specification, "Layer ChainID"): of names that are diff ids
    /// those that all tools have for them, of others what the same rule makes of them.
    pub fn chain_ids(&self) -> Vec<LayerName> {
        let mut out: Vec<LayerName> = Vec::with_capacity(self.layers.len());
        for name in &self.layers {
            out.push(match out.last() {
                None => *name,
                Some(below) => LayerName::Tar(sha256(format!("{below} {name}").as_bytes())),
            });
        }
        out
    }

    /// The document with these names for its layers, one for each; everything else as it was.
    pub fn with_names(&self, layers: &[LayerName]) -> Result<Self> {
        let mut value = self.value.clone();
        if let Some(rootfs) = value["rootfs"].as_object_mut() {
            rootfs.insert("diff_ids".to_owned(), texts(layers));
        }
        Self::stored(value.to_string().into_bytes())
    }

    fn text(&self, field: &str) -> &str {
        self.value
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// For which platform it is.
    pub fn platform(&self) -> Platform {
        let os = match self.text("os") {
            "" => "linux",
            os => os,
        };
        Platform::new(os, self.text("architecture"), self.text("variant"))
    }

    /// When it was made, as it says.
    pub fn created(&self) -> &str {
        self.text("created")
    }

    fn container_checked(&self) -> Result<ContainerConfig> {
        let config = self.value.get("config").filter(|config| !config.is_null());
        let parsed = config
            .map(|config| serde_json::from_value(config.clone()))
            .transpose();
        Ok(parsed
            .map_err(|e| Error::invalid("image configuration", format!("its field config: {e}")))?
            .unwrap_or_default())
    }

    /// What it says of the process.
    pub fn container(&self) -> ContainerConfig {
        self.container_checked().unwrap_or_default()
    }

    /// Its history, oldest first. What cannot be read of a line is empty; the line stays.
    pub fn history(&self) -> Vec<History> {
        let lines = self.value.get("history").and_then(Value::as_array);
        lines.into_iter().flatten().map(History::lenient).collect()
    }

    /// The document with one more layer and one more line of history; everything else as it was.
    pub fn with_layer(
        &self,
        layer: LayerName,
        history: &History,
        container: Option<&Value>,
    ) -> Result<Self> {
        let mut value = self.value.clone();
        value["created"] = value!(history.created);
        if !value["rootfs"].is_object() {
            value["rootfs"] = value!({"type": "layers", "diff_ids": []});
        }
        let push = |list: &mut Value, item: Value| match list {
            Value::Array(items) => items.push(item),
            other => *other = value!([item]),
        };
        push(&mut value["rootfs"]["diff_ids"], value!(layer.to_string()));
        let line = serde_json::to_value(history).map_err(|e| Error::invalid("history", e))?;
        let line = line.as_object().cloned().unwrap_or_default();
        let line = line
            .into_iter()
            .filter(|(_, v)| *v != value!("") && *v != value!(false))
            .collect();
        push(&mut value["history"], Value::Object(line));
        if let Some(container) = container {
            value["config"] = container.clone();
        }
        Self::stored(value.to_string().into_bytes())
    }

    /// The document of this image with the layers above its lowest `keep` replaced by one. The lines of history
    /// that made them stay, without layers, below the one that says what became of them.
    pub fn flattened(&self, keep: usize, layer: LayerName, history: &History) -> Result<Self> {
        let mut value = self.value.clone();
        let kept = self.layers.iter().take(keep);
        value["rootfs"] = value!({"type": "layers", "diff_ids": texts(kept)});
        let mut left = keep;
        for line in value["history"].as_array_mut().into_iter().flatten() {
            let Some(fields) = line.as_object_mut() else {
                // It stands for a layer that is merged; its text cannot be read anyway.
                *line = value!({"empty_layer": true});
                continue;
            };
            if fields.get("empty_layer") == Some(&value!(true)) {
                continue;
            }
            if left > 0 {
                left -= 1;
            } else {
                fields.insert("empty_layer".into(), value!(true));
            }
        }
        Self::stored(value.to_string().into_bytes())?.with_layer(layer, history, None)
    }

    /// The document of this image with its layers above `old` put on those of `new`: layers and history of
    /// the base are the new one's, everything else is as it was.
    pub fn on_base(&self, old: &Self, new: &Self, created: &str) -> Result<Self> {
        let mut value = self.value.clone();
        value["created"] = value!(created);
        let upper = self.layers.iter().skip(old.layers.len());
        let names = new.layers.iter().chain(upper);
        value["rootfs"] = value!({"type": "layers", "diff_ids": texts(names)});
        let lines = |config: &Self| -> Vec<Value> {
            let lines = config.value.get("history").and_then(Value::as_array);
            lines.cloned().unwrap_or_default()
        };
        let mut history = lines(new);
        history.extend(lines(self).into_iter().skip(lines(old).len()));
        value["history"] = Value::Array(history);
        Self::stored(value.to_string().into_bytes())
    }
}

/// Names of layers as documents have them.
fn texts<'a>(layers: impl IntoIterator<Item = &'a LayerName>) -> Value {
    let texts = layers.into_iter().map(LayerName::to_string);
    texts.map(Value::String).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cairn_model::LayerId;

    use super::*;

    #[test]
    fn unknown_fields_survive_an_edit_and_null_is_empty() {
        let text = r#"{"zzz":{"a":[1.50]},"config":{"Env":null,"Cmd":["x"],"Odd":7},"rootfs":{"type":"layers","diff_ids":[]},"architecture":"amd64","os":"linux"}"#;
        let config = ImageConfig::parse(text.as_bytes().to_vec()).unwrap();
        assert_eq!(config.digest(), sha256(text.as_bytes()));
        assert_eq!(
            (config.container().env.len(), config.container().cmd),
            (0, vec!["x".to_owned()])
        );
        let more = config
            .with_layer(
                LayerName::Tar(Digest::from_bytes([1; 32])),
                &History {
                    created_by: "me".into(),
                    ..History::default()
                },
                None,
            )
            .unwrap();
        assert_eq!(more.value()["zzz"], config.value()["zzz"]);
        assert_eq!(more.value()["config"]["Odd"], 7);
        assert_eq!(more.diff_ids(), [Digest::from_bytes([1; 32])]);
        assert_eq!(more.history()[0].created_by, "me");
    }

    #[test]
    fn chain_ids_follow_the_specification() {
        let (a, b) = (sha256(b"a"), sha256(b"b"));
        let names = [LayerName::Tar(a), LayerName::Tar(b)];
        let config = ImageConfig::new(&Platform::host(), &names, "", "");
        let both = sha256(format!("{a} {b}").as_bytes());
        assert_eq!(config.chain_ids(), [names[0], LayerName::Tar(both)]);
    }

    #[test]
    fn own_names_stay_here_and_what_takes_their_place_changes_nothing_else() {
        let own = LayerName::Own(LayerId::from_bytes([7; 32]));
        let below = LayerName::Tar(sha256(b"a"));
        let config = ImageConfig::new(&Platform::host(), &[below, own], "now", "by");
        let again = ImageConfig::stored(config.bytes().to_vec()).unwrap();
        assert_eq!(again.layers(), [below, own]);
        let e = ImageConfig::parse(config.bytes().to_vec()).unwrap_err();
        assert!(e.to_string().contains("is no diff id"), "{e}");
        let names = [below, LayerName::Tar(sha256(b"b"))];
        let settled = config.with_names(&names).unwrap();
        assert_eq!(
            settled,
            ImageConfig::new(&Platform::host(), &names, "now", "by")
        );
    }

    #[test]
    fn a_bad_line_of_history_is_an_empty_one() {
        let text = r#"{"history":[{"created_by":"a"},null,7,{"created_by":5,"comment":"c","empty_layer":true},{"empty_layer":"x"},{"created_by":"b"}]}"#;
        let history = ImageConfig::parse(text.into()).unwrap().history();
        let seen: Vec<(&str, bool)> = history
            .iter()
            .map(|line| (line.created_by.as_str(), line.empty_layer))
            .collect();
        let none = ("", false);
        assert_eq!(
            seen,
            [("a", false), none, none, ("", true), none, ("b", false)]
        );
        assert_eq!(history[3].comment, "c");
    }

    #[test]
    fn null_is_empty_at_every_place() {
        let text = r#"{"config":{"User":null,"Env":[null,"A=b"],"Entrypoint":"/bin/x","Cmd":["a",null],"WorkingDir":null,
            "Volumes":{"/v":null},"ExposedPorts":null,"Labels":{"a":null},"StopSignal":null},"rootfs":null,"history":null,
            "os":null,"architecture":null,"variant":null,"created":null}"#;
        let config = ImageConfig::parse(text.into()).unwrap();
        let container = config.container();
        assert_eq!(container.env, ["", "A=b"]);
        assert_eq!(container.entrypoint, ["/bin/x"]);
        assert_eq!(container.cmd, ["a", ""]);
        assert_eq!(container.labels["a"], "");
        assert!(container.volumes.contains_key("/v"));
        assert!(config.diff_ids().is_empty() && config.history().is_empty());
    }

    #[test]
    fn what_no_launch_could_bear_is_refused() {
        let with = |config: Value| {
            let text = value!({ "config": config }).to_string();
            ImageConfig::parse(text.into_bytes()).map(drop)
        };
        let many = |n: usize| (0..n).map(|i| format!("V{i}=x")).collect::<Vec<_>>();
        let paths = |n: usize| -> BTreeMap<String, Value> {
            (0..n).map(|i| (format!("/v{i}"), value!({}))).collect()
        };
        assert!(
            with(value!({"Env": many(1000), "Volumes": paths(100), "WorkingDir": "/a"})).is_ok()
        );
        assert!(with(value!({"ExposedPorts": (1..=65535).map(|i| (format!("{i}/tcp"), value!({}))).collect::<BTreeMap<_, _>>()})).is_ok());
        for bad in [
            value!({"Env": many(100_000)}),
            value!({"Env": [format!("A={}", "x".repeat(200_000))]}),
            value!({"Env": ["A=\0"]}),
            value!({"Volumes": paths(3000)}),
            value!({"Volumes": {"/".to_owned() + &"v".repeat(400_000): {}}}),
            value!({"WorkingDir": "/".to_owned() + &"w".repeat(400_000)}),
            value!({"Cmd": many(100_000)}),
            value!({"Entrypoint": ["x".repeat(200_000)]}),
            value!({"User": "u".repeat(10_000)}),
            value!({"StopSignal": "s".repeat(10_000)}),
        ] {
            let e = with(bad).unwrap_err().to_string();
            assert!(
                e.starts_with("image configuration is not valid") && e.len() < 300,
                "{e}"
            );
        }
    }

    #[test]
    fn bad_documents_are_refused() {
        for bad in [
            "",
            "[]",
            "{",
            r#"{"rootfs":{"diff_ids":["x"]}}"#,
            r#"{"config":{"Env":"A=b"}}"#,
        ] {
            assert!(ImageConfig::parse(bad.into()).is_err(), "{bad}");
        }
    }
}
