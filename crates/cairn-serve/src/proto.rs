//! Messages and services as they are on the wire, generated from `proto/`.
#![allow(
    missing_docs,
    reason = "generated; the files in proto/ say what they are"
)]

/// Types that containerd's services share.
pub mod types {
    tonic::include_proto!("containerd.types");
}

/// The service of a snapshotter.
pub mod snapshots {
    tonic::include_proto!("containerd.services.snapshots.v1");
}

/// The service of a differ.
pub mod diff {
    tonic::include_proto!("containerd.services.diff.v1");
}

/// What is asked of containerd's content store.
pub mod content {
    tonic::include_proto!("containerd.services.content.v1");
}

/// What is asked of containerd's leases.
pub mod leases {
    tonic::include_proto!("containerd.services.leases.v1");
}

/// Copies of active snapshots.
pub mod saved {
    tonic::include_proto!("cairn.snapshots.v1");
}

/// The health service.
pub mod health {
    tonic::include_proto!("grpc.health.v1");
}
