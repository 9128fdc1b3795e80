//! The health service: serving, where the repository is there.

use tonic::{Request, Response, Status};

use crate::proto::health::health_check_response::ServingStatus;
use crate::proto::health::health_server::Health;
use crate::proto::health::{HealthCheckRequest, HealthCheckResponse};

/// Names that are asked for: the server as a whole, and its services.
const KNOWN: [&str; 3] = [
    "",
    "containerd.services.snapshots.v1.Snapshots",
    "containerd.services.diff.v1.Diff",
];

pub(crate) struct HealthService {
    pub root: std::path::PathBuf,
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        if !KNOWN.contains(&service.as_str()) {
            return Err(Status::not_found(format!("no service {service:.100}")));
        }
        let status = match cairn_repo::Repo::require(&self.root) {
            Ok(()) => ServingStatus::Serving,
            Err(_) => ServingStatus::NotServing,
        };
        let status = status.into();
        Ok(Response::new(HealthCheckResponse { status }))
    }
}
