//! The service of a differ: a layer goes from containerd's content store straight into packs, and what a snapshot
//! changed back there. What is not ours is "unimplemented", so that containerd asks its next differ.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_image::{Compression, LayerStream};
use cairn_model::{Digest, SnapshotKey};
use cairn_repo::Repo;
use tokio::runtime::Handle;
use tonic::{Request, Response, Status};

use crate::calls::{About, Calls, Length};
use crate::content::{Blob, Caller, ContentStore};
use crate::kept::Kept;
use crate::proto::diff::diff_server::Diff;
use crate::proto::diff::{ApplyRequest, ApplyResponse, DiffRequest, DiffResponse};
use crate::proto::types::{Descriptor, Mount};
use crate::status::Failure;
use crate::upload::{UNCOMPRESSED, Upload};

/// What the tar of a layer is called.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The service.
#[derive(Clone)]
pub(crate) struct DiffService {
    pub calls: Calls,
    pub content: ContentStore,
    pub kept: Arc<Kept>,
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

/// What changed between two sets of mounts: the snapshot that knows, where both are ours.
fn changed(
    repo: &Repo,
    kept: &Kept,
    left: &[Mount],
    right: &[Mount],
) -> Result<SnapshotKey, Failure> {
    let snapshots = repo.snapshots();
    let below = match left {
        [] => None,
        left => Some(kept.tree(left, repo.root()).ok_or(Failure::NotOurs)?),
    };
    if let Some(upper) = upper(right).filter(|path| path.starts_with(repo.root())) {
        let key = snapshots.of_upper(&upper)?.ok_or(Failure::NotOurs)?;
        // Against anything else than its parent it is a matter of walking both.
        return match snapshots.stands_on(&key, below)? {
            true => Ok(key),
            false => Err(Failure::NotOurs),
        };
    }
    let shown = kept.tree(right, repo.root()).ok_or(Failure::NotOurs)?;
    snapshots.between(below, shown)?.ok_or(Failure::NotOurs)
}

/// What a layer is to be like.
struct Order {
    caller: Caller,
    reference: String,
    labels: HashMap<String, String>,
    media_type: String,
    compression: Compression,
}

impl Order {
    /// Of a request; none for a form that only containerd's own differ makes.
    fn of(caller: Caller, of: &DiffRequest) -> Option<Self> {
        let media_type = match of.media_type.as_str() {
            "" => Compression::Gzip.media_type(),
            other => other,
        };
        let compression = Compression::of_media_type(media_type)?;
        // Times of files are what they are.
        of.source_date_epoch.is_none().then(|| Self {
            caller,
            reference: of.r#ref.clone(),
            labels: of.labels.clone(),
            media_type: media_type.to_owned(),
            compression,
        })
    }
}

fn diff(
    repo: &Repo,
    key: &SnapshotKey,
    order: Order,
    content: &ContentStore,
    runtime: &Handle,
) -> Result<Descriptor, Failure> {
    let changes = repo.snapshots().pack_changes(key, order.compression)?;
    let (digest, bytes) = (changes.packed.digest, changes.packed.bytes);
    let mut labels = order.labels;
    let uncompressed = [(UNCOMPRESSED.to_owned(), changes.diff_id.to_string())];
    if order.compression != Compression::None {
        labels.extend(uncompressed.clone());
    }
    let upload = Upload {
        caller: order.caller,
        reference: order.reference,
        labels,
        packed: changes.packed,
    };
    runtime
        .block_on(content.write(upload, repo.watch()))
        .map_err(Failure::Containerd)?;
    Ok(Descriptor {
        media_type: order.media_type,
        digest: digest.to_string(),
        size: i64::try_from(bytes).unwrap_or(i64::MAX),
        annotations: uncompressed.into(),
    })
}

#[tonic::async_trait]
impl Diff for DiffService {
    async fn apply(
        &self,
        request: Request<ApplyRequest>,
    ) -> Result<Response<ApplyResponse>, Status> {
        let caller = Caller::of(&request);
        let of = request.into_inner();
        let diff = of.diff.unwrap_or_default();
        let upper = upper(&of.mounts).filter(|path| path.starts_with(self.calls.root()));
        let Some(upper) = upper.filter(|_| is_layer(&diff.media_type)) else {
            return Err(not_ours());
        };
        let digest = diff.digest.parse::<Digest>();
        let digest = digest.map_err(|_| Status::invalid_argument("the digest is not a SHA-256"))?;
        let blob = self.content.read(&caller, &diff.digest).await?;
        let about = About {
            method: "Apply",
            key: diff.digest,
            length: Length::Long,
        };
        let work = move |repo: &Repo| apply(repo, &upper, digest, blob);
        let applied = Some(self.calls.run(about, work).await?);
        Ok(Response::new(ApplyResponse { applied }))
    }

    async fn diff(&self, request: Request<DiffRequest>) -> Result<Response<DiffResponse>, Status> {
        let caller = Caller::of(&request);
        let of = request.into_inner();
        let order = Order::of(caller, &of).ok_or_else(not_ours)?;
        let about = About {
            method: "Diff",
            key: of.r#ref,
            length: Length::Long,
        };
        let (kept, content) = (Arc::clone(&self.kept), self.content.clone());
        let runtime = Handle::current();
        let (left, right) = (of.left, of.right);
        let work = move |repo: &Repo| {
            let key = changed(repo, &kept, &left, &right)?;
            diff(repo, &key, order, &content, &runtime)
        };
        let diff = Some(self.calls.run(about, work).await?);
        Ok(Response::new(DiffResponse { diff }))
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
