//! Names of images in archives.

use cairn_model::ImageRef;

use super::NameLeftOut;

/// The names of an image in an archive.
pub(super) struct Names {
    pub valid: Vec<ImageRef>,
    pub left_out: Vec<NameLeftOut>,
}

impl Names {
    pub fn of(names: &[String]) -> Self {
        let mut out = Self {
            valid: Vec::new(),
            left_out: Vec::new(),
        };
        for text in names {
            match text.parse::<ImageRef>() {
                Ok(name) if out.valid.contains(&name) => {}
                Ok(name) => out.valid.push(name),
                Err(e) => out.left_out.push(NameLeftOut {
                    name: text.clone(),
                    why: e.why().to_owned(),
                }),
            }
        }
        out
    }
}
