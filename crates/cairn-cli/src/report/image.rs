//! Images: what `images`, `inspect`, `history` and `rmi` tell.

use cairn_image::{History, without_values};
use cairn_model::{ImageRef, one_line};
use cairn_repo::{Image, ListedImage, Pulled, time};
use serde::Serialize;

/// The fields of an image that every command shows; those of one that cannot be read are null where they
/// are not known.
#[derive(Serialize)]
pub struct ImageLine {
    id: String,
    names: Vec<String>,
    created: Option<String>,
    imported: String,
    platform: Option<String>,
    pinned: Option<bool>,
    expires: Option<String>,
    /// How many.
    pub layers: Option<usize>,
    /// Of all layers together.
    pub content_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    damaged: Option<String>,
}

/// Names as text.
pub fn names(names: &[ImageRef]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

impl From<&Image> for ImageLine {
    fn from(image: &Image) -> Self {
        Self {
            id: image.row.id.to_string(),
            names: names(&image.names),
            created: Some(image.config.created().to_owned()),
            imported: time::rfc3339(image.row.imported),
            platform: Some(image.config.platform().to_string()),
            pinned: Some(image.keep.pinned),
            expires: image.keep.expires.map(time::rfc3339),
            layers: Some(image.layers.len()),
            content_bytes: Some(image.content_bytes()),
            damaged: None,
        }
    }
}

impl From<&ListedImage> for ImageLine {
    fn from(listed: &ListedImage) -> Self {
        match &listed.image {
            Ok(image) => image.into(),
            Err(e) => Self {
                id: listed.row.id.to_string(),
                names: names(&listed.names),
                created: None,
                imported: time::rfc3339(listed.row.imported),
                platform: None,
                pinned: None,
                expires: None,
                layers: None,
                content_bytes: None,
                damaged: Some(one_line(e)),
            },
        }
    }
}

/// A layer, as `inspect` shows it.
#[derive(Serialize)]
pub struct LayerLine {
    id: String,
    diff_id: Option<String>,
    entries: u64,
    content_bytes: u64,
    tar_bytes: Option<u64>,
}

impl From<&cairn_layer::Layer> for LayerLine {
    fn from(layer: &cairn_layer::Layer) -> Self {
        Self {
            id: layer.id.to_string(),
            diff_id: layer.diff_id.map(|id| id.to_string()),
            entries: layer.entries,
            content_bytes: layer.content_bytes,
            tar_bytes: layer.tar_bytes,
        }
    }
}

/// A step of an image's history.
#[derive(Clone, Serialize)]
pub struct HistoryLine {
    created: String,
    created_by: String,
    comment: String,
    empty_layer: bool,
    /// Of the layer that this step made; none where it made none.
    pub content_bytes: Option<u64>,
}

impl HistoryLine {
    /// All steps, oldest first, each with the layer it made; the values of variables are hidden unless `show_env`.
    pub fn all(image: &Image, show_env: bool) -> Vec<Self> {
        let mut layers = image.layers.iter().map(|layer| layer.content_bytes);
        let line = |step: History| Self {
            content_bytes: (!step.empty_layer).then(|| layers.next()).flatten(),
            created: step.created,
            created_by: match show_env {
                true => step.created_by,
                false => without_values(&step.created_by),
            },
            comment: step.comment,
            empty_layer: step.empty_layer,
        };
        image.config.history().into_iter().map(line).collect()
    }

    /// When, without a part of a second.
    pub fn when(&self) -> String {
        let seconds = self.created.get(..19).unwrap_or(&self.created);
        seconds.replace('T', " ")
    }

    /// What made it, on one line.
    pub fn by(&self) -> String {
        let by = match self.created_by.is_empty() {
            true => &self.comment,
            false => &self.created_by,
        };
        by.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// What became of one argument of `pull`.
#[derive(Serialize)]
pub struct PulledLine {
    /// The argument.
    pub reference: String,
    /// The image.
    #[serde(flatten)]
    pub pulled: Option<Pulled>,
    /// Why there is none.
    pub error: Option<String>,
}

/// What became of one argument of `rmi`.
#[derive(Serialize)]
pub struct RemovedLine<'a> {
    /// The argument.
    pub image: &'a str,
    /// The name that was taken away.
    pub untagged: Option<String>,
    /// The image that was removed.
    pub removed: Option<String>,
    /// Why neither.
    pub error: Option<String>,
}
