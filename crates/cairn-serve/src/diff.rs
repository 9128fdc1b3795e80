//! The service of a differ: a layer goes from containerd's content store straight into packs. What is not ours is
//! "unimplemented", so that containerd asks its next differ.

use std::path::{Path, PathBuf};

use cairn_image::LayerStream;
use cairn_model::Digest;
use cairn_repo::Repo;
use tonic::{Request, Response, Status};

use crate::calls::{About, Calls, Length};
use crate::content::{Blob, ContentStore};
use crate::info::namespace;
use crate::proto::diff::diff_server::Diff;
use crate::proto::diff::{ApplyRequest, ApplyResponse, DiffRequest, DiffResponse};
use crate::proto::types::{Descriptor, Mount};
use crate::status::Failure;

/// What the tar of a layer is called.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The service.
#[derive(Clone)]
pub(crate) struct DiffService {
    pub calls: Calls,
    pub content: ContentStore,
}

/// The directory that is written to by mounts as this server gives them.
fn upper(mounts: &[Mount]) -> Option<PathBuf> {
    let [mount] = mounts else { return None };
    let named = mount
        .options
        .iter()
        .find_map(|o| o.strip_prefix("upperdir="));
    let bound = || {
        let is_bound = mount.r#type == "bind" && mount.options.iter().any(|o| o == "rw");
        is_bound.then_some(mount.source.as_str())
    };
    named.or_else(bound).map(PathBuf::from)
}

/// Layers that import reads: plain, or with a compression that says so itself.
fn is_layer(media_type: &str) -> bool {
    let is_layer = [".image.layer.", ".image.rootfs."]
        .iter()
        .any(|part| media_type.contains(part));
    is_layer && !media_type.contains("encrypted")
}

fn not_ours() -> Status {
    Status::unimplemented("these mounts are not of this snapshotter, or not a layer of a tar")
}

fn apply(repo: &Repo, upper: &Path, digest: Digest, blob: Blob) -> Result<Descriptor, Failure> {
    let snapshots = repo.snapshots();
    let key = snapshots.of_upper(upper)?.ok_or(Failure::NotOurs)?;
    let mut tar = LayerStream::start(blob, Some(digest), repo.watch());
    let applied = snapshots.apply(&key, &mut tar).map_err(|e| match e {
        // Written to before: containerd's own applier writes over it.
        cairn_repo::Error::Invalid(_) => Failure::NotOurs,
        e => e.into(),
    })?;
    Ok(Descriptor {
        media_type: LAYER.into(),
        digest: applied.diff_id.to_string(),
        size: i64::try_from(applied.bytes).unwrap_or(i64::MAX),
        annotations: Default::default(),
    })
}

#[tonic::async_trait]
impl Diff for DiffService {
    async fn apply(
        &self,
        request: Request<ApplyRequest>,
    ) -> Result<Response<ApplyResponse>, Status> {
        let namespace = namespace(&request, "");
        let of = request.into_inner();
        let diff = of.diff.unwrap_or_default();
        let upper = upper(&of.mounts).filter(|path| path.starts_with(self.calls.root()));
        let Some(upper) = upper.filter(|_| is_layer(&diff.media_type)) else {
            return Err(not_ours());
        };
        let digest = diff.digest.parse::<Digest>();
        let digest = digest.map_err(|_| Status::invalid_argument("the digest is not a SHA-256"))?;
        let blob = self.content.read(&namespace, &diff.digest).await?;
        let about = About {
            method: "Apply",
            key: diff.digest,
            length: Length::Long,
        };
        let work = move |repo: &Repo| apply(repo, &upper, digest, blob);
        let applied = Some(self.calls.run(about, work).await?);
        Ok(Response::new(ApplyResponse { applied }))
    }

    async fn diff(&self, _: Request<DiffRequest>) -> Result<Response<DiffResponse>, Status> {
        Err(Status::unimplemented(
            "layers are written by containerd's own differ",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_with_a_place_for_writes_are_ours() {
        let mount = |kind: &str, source: &str, options: &[&str]| Mount {
            r#type: kind.into(),
            source: source.into(),
            target: String::new(),
            options: options.iter().map(|o| (*o).to_owned()).collect(),
        };
        let overlay = mount("overlay", "overlay", &["lowerdir=/l", "upperdir=/u"]);
        assert_eq!(upper(std::slice::from_ref(&overlay)), Some("/u".into()));
        assert_eq!(
            upper(&[mount("bind", "/b", &["rw", "rbind"])]),
            Some("/b".into())
        );
        assert_eq!(upper(&[mount("bind", "/b", &["ro", "rbind"])]), None);
        assert_eq!(upper(&[overlay.clone(), overlay]), None);
        assert!(is_layer(
            "application/vnd.docker.image.rootfs.diff.tar.gzip"
        ));
        assert!(is_layer("application/vnd.oci.image.layer.v1.tar+zstd"));
        assert!(!is_layer("application/vnd.oci.image.config.v1+json"));
    }
}
