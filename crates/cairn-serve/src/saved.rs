//! The service of copies of active snapshots.

use cairn_repo::Repo;
use cairn_snapshot::Snapshotter;
use tonic::{Request, Response, Status};

use crate::calls::{About, Length};
use crate::info::{key, labels, namespace};
use crate::proto::saved::saved_server::Saved;
use crate::proto::saved::{RestoreRequest, RestoreResponse, SnapshotRequest};
use crate::proto::snapshots::PrepareSnapshotRequest;
use crate::proto::snapshots::snapshots_server::Snapshots;
use crate::snapshots::SnapshotService;

/// The service.
pub(crate) struct SavedService(pub SnapshotService);

#[tonic::async_trait]
impl Saved for SavedService {
    async fn snapshot(&self, request: Request<SnapshotRequest>) -> Result<Response<()>, Status> {
        let namespace = namespace(&request, &request.get_ref().key);
        let of = request.into_inner();
        let about = About {
            method: "Snapshot",
            key: of.active_key.clone(),
            length: Length::Long,
        };
        let work = move |repo: &Repo| {
            let (name, active) = (key(&of.key)?, key(&of.active_key)?);
            let labels = labels(of.labels, &namespace)?;
            Ok(repo.snapshots().save(&name, &active, labels)?)
        };
        self.0.calls.run(about, work).await?;
        Ok(Response::new(()))
    }

    async fn restore(
        &self,
        request: Request<RestoreRequest>,
    ) -> Result<Response<RestoreResponse>, Status> {
        let prepared = request.map(|of| PrepareSnapshotRequest {
            snapshotter: String::new(),
            key: of.key,
            parent: of.snapshot_key,
            labels: of.labels,
        });
        let mounts = self.0.prepare(prepared).await?.into_inner().mounts;
        Ok(Response::new(RestoreResponse { mounts }))
    }
}
