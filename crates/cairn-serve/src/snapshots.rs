//! The service of a snapshotter: requests in, the contract asked, answers out.

use std::collections::HashMap;
use std::sync::Arc;

use cairn_model::{MountPlan, SnapshotKey};
use cairn_repo::{Committing, NAMESPACE, Repo};
use cairn_snapshot::{FieldPath, Filter, Kind, Labels, Snapshotter};
use prost::Message;
use tonic::{Request, Response, Status};

use crate::calls::{About, Calls, Length};
use crate::ids::ids_of;
use crate::info::{info, key, labels, namespace, parent, refuse_limits};
use crate::janitor::Janitor;
use crate::kept::Kept;
use crate::mounts::{Shape, mounts};
use crate::proto::snapshots::snapshots_server::Snapshots;
use crate::proto::snapshots::{
    CleanupRequest, CommitSnapshotRequest, Info, ListSnapshotsRequest, ListSnapshotsResponse,
    MountsRequest, MountsResponse, PrepareSnapshotRequest, PrepareSnapshotResponse,
    RemoveSnapshotRequest, StatSnapshotRequest, StatSnapshotResponse, UpdateSnapshotRequest,
    UpdateSnapshotResponse, UsageRequest, UsageResponse, ViewSnapshotRequest, ViewSnapshotResponse,
};
use crate::proto::types::Mount;
use crate::status::Failure;
use crate::unpack::{has_lower, is_apart, is_extract, is_known, prepare_apart};

/// Bytes of one message of a list; clients take 4 MiB at most.
const PAGE_BYTES: usize = 1 << 20;

/// The service.
#[derive(Clone)]
pub(crate) struct SnapshotService {
    pub calls: Calls,
    pub kept: Arc<Kept>,
    pub janitor: Janitor,
}

/// What is to be made.
struct New {
    key: SnapshotKey,
    parent: Option<SnapshotKey>,
    labels: Labels,
    kind: Kind,
}

impl New {
    /// Of the fields of a request.
    fn of(
        kind: Kind,
        of: &str,
        below: &str,
        given: HashMap<String, String>,
        namespace: &str,
    ) -> Result<Self, Failure> {
        Ok(Self {
            key: key(of)?,
            parent: parent(below)?,
            labels: labels(given, namespace)?,
            kind,
        })
    }
}

impl SnapshotService {
    fn about(method: &'static str, key: &str, length: Length) -> About {
        let key = key.to_owned();
        About {
            method,
            key,
            length,
        }
    }

    /// Prepare and View.
    async fn create(&self, method: &'static str, new: Result<New, Failure>) -> Answer<Vec<Mount>> {
        let new = new.map_err(|e| e.status())?;
        let about = Self::about(method, new.key.as_str(), Length::Long);
        let kept = Arc::clone(&self.kept);
        self.calls
            .run(about, move |repo| make(repo, &new, &kept))
            .await
    }
}

type Answer<T> = Result<T, Status>;

fn make(repo: &Repo, new: &New, kept: &Kept) -> Result<Vec<Mount>, Failure> {
    let _hold = kept.hold()?;
    let ids = ids_of(&new.labels)?;
    refuse_limits(&new.labels)?;
    let snapshots = repo.snapshots();
    let (parent, labels) = (new.parent.as_ref(), new.labels.clone());
    let (plan, staged) = match new.kind {
        Kind::View => (
            Snapshotter::view(&snapshots, &new.key, parent, labels)?,
            false,
        ),
        _ if is_apart(parent, &labels) => prepare_apart(repo, &new.key, labels)?,
        _ if is_known(repo, &new.key, parent, &labels)? => {
            return Err(Failure::Known(new.key.to_string()));
        }
        _ => (snapshots.prepare(&new.key, parent, labels)?, false),
    };
    let made = Shape::of(repo, &new.key, ids, has_lower(parent, &new.labels))
        .and_then(|shape| mounts(&plan, &shape.staged(staged), kept));
    let wanted = repo.watch().check();
    let out = made.and_then(|mounts| match wanted {
        Ok(()) => Ok(mounts),
        Err(cancelled) => Err(cairn_repo::Error::from(cancelled).into()),
    });
    if out.is_err() {
        // Nobody gets to know of it: it is taken back, and the first error counts.
        let _ = snapshots
            .release(&new.key)
            .and_then(cairn_repo::Released::free);
    }
    out
}

/// Fields that a mask names. Without one all labels are replaced, but for ours.
fn fields(mask: Option<prost_types::FieldMask>) -> Result<Vec<FieldPath>, Failure> {
    let paths = mask.map(|mask| mask.paths).unwrap_or_default();
    Ok(paths
        .iter()
        .map(|path| path.parse())
        .collect::<Result<_, cairn_snapshot::Error>>()?)
}

fn update(repo: &Repo, new: Info, fields: &[FieldPath]) -> Result<Info, Failure> {
    let snapshots = repo.snapshots();
    let key = key(&new.name)?;
    let before = snapshots.stat(&key)?;
    let mut wanted = labels(new.labels, "")?;
    match before.labels.get(NAMESPACE) {
        Some(own) => wanted.insert(NAMESPACE.to_owned(), own.clone()),
        None => wanted.remove(NAMESPACE),
    };
    Ok(info(snapshots.update(&key, wanted, fields)?))
}

fn list(repo: &Repo, filters: &[String]) -> Result<Vec<Info>, Failure> {
    let filters = filters.iter().map(|filter| filter.parse());
    let filters: Vec<Filter> = filters.collect::<Result<_, cairn_snapshot::Error>>()?;
    let found = repo.snapshots().walk(&filters)?;
    Ok(found.into_iter().map(info).collect())
}

/// Messages of bounded size.
fn pages(all: Vec<Info>) -> Vec<Result<ListSnapshotsResponse, Status>> {
    let mut pages = Vec::new();
    let (mut page, mut bytes) = (Vec::new(), 0);
    for info in all {
        let more = info.encoded_len();
        if bytes + more > PAGE_BYTES && !page.is_empty() {
            pages.push(Ok(ListSnapshotsResponse {
                info: std::mem::take(&mut page),
            }));
            bytes = 0;
        }
        bytes += more;
        page.push(info);
    }
    if !page.is_empty() {
        pages.push(Ok(ListSnapshotsResponse { info: page }));
    }
    pages
}

fn mounts_of(repo: &Repo, key: &SnapshotKey, kept: &Kept) -> Result<Vec<Mount>, Failure> {
    let _hold = kept.hold()?;
    let snapshots = repo.snapshots();
    let snapshot = snapshots.stat(key)?;
    let plan: MountPlan = snapshots.mounts(key)?;
    let has_lower =
        snapshot.layer.is_some() || has_lower(snapshot.parent.as_ref(), &snapshot.labels);
    let shape = Shape::of(repo, key, ids_of(&snapshot.labels)?, has_lower)?;
    mounts(&plan, &shape, kept)
}

#[tonic::async_trait]
impl Snapshots for SnapshotService {
    type ListStream = tokio_stream::Iter<std::vec::IntoIter<Result<ListSnapshotsResponse, Status>>>;

    async fn prepare(
        &self,
        request: Request<PrepareSnapshotRequest>,
    ) -> Answer<Response<PrepareSnapshotResponse>> {
        let namespace = namespace(&request, &request.get_ref().key);
        let of = request.into_inner();
        let new = New::of(Kind::Active, &of.key, &of.parent, of.labels, &namespace);
        let mounts = self.create("Prepare", new).await?;
        Ok(Response::new(PrepareSnapshotResponse { mounts }))
    }

    async fn view(
        &self,
        request: Request<ViewSnapshotRequest>,
    ) -> Answer<Response<ViewSnapshotResponse>> {
        let namespace = namespace(&request, &request.get_ref().key);
        let of = request.into_inner();
        let new = New::of(Kind::View, &of.key, &of.parent, of.labels, &namespace);
        let mounts = self.create("View", new).await?;
        Ok(Response::new(ViewSnapshotResponse { mounts }))
    }

    async fn mounts(&self, request: Request<MountsRequest>) -> Answer<Response<MountsResponse>> {
        let of = request.into_inner();
        let about = Self::about("Mounts", &of.key, Length::Long);
        let kept = Arc::clone(&self.kept);
        let work = move |repo: &Repo| mounts_of(repo, &key(&of.key)?, &kept);
        let mounts = self.calls.run(about, work).await?;
        Ok(Response::new(MountsResponse { mounts }))
    }

    async fn commit(&self, request: Request<CommitSnapshotRequest>) -> Answer<Response<()>> {
        let namespace = namespace(&request, &request.get_ref().key);
        let of = request.into_inner();
        let about = Self::about("Commit", &of.key, Length::Long);
        let work = move |repo: &Repo| {
            let (name, active) = (key(&of.name)?, key(&of.key)?);
            let how = Committing {
                labels: labels(of.labels, &namespace)?,
                onto: parent(&of.parent)?,
                take: is_extract(&active),
            };
            Ok(repo.snapshots().commit_as(&name, &active, &how)?)
        };
        self.calls.run(about, work).await?;
        self.janitor.tidy();
        Ok(Response::new(()))
    }

    async fn remove(&self, request: Request<RemoveSnapshotRequest>) -> Answer<Response<()>> {
        let of = request.into_inner();
        let about = Self::about("Remove", &of.key, Length::Short);
        let janitor = self.janitor.clone();
        let work = move |repo: &Repo| {
            let gone = repo.snapshots().release(&key(&of.key)?)?;
            janitor.free(gone);
            Ok(())
        };
        self.calls.run(about, work).await?;
        Ok(Response::new(()))
    }

    async fn stat(
        &self,
        request: Request<StatSnapshotRequest>,
    ) -> Answer<Response<StatSnapshotResponse>> {
        let of = request.into_inner();
        let about = Self::about("Stat", &of.key, Length::Short);
        let work = move |repo: &Repo| Ok(info(repo.snapshots().stat(&key(&of.key)?)?));
        let info = Some(self.calls.run(about, work).await?);
        Ok(Response::new(StatSnapshotResponse { info }))
    }

    async fn update(
        &self,
        request: Request<UpdateSnapshotRequest>,
    ) -> Answer<Response<UpdateSnapshotResponse>> {
        let of = request.into_inner();
        let new = of.info.unwrap_or_default();
        let about = Self::about("Update", &new.name, Length::Short);
        let work = move |repo: &Repo| update(repo, new, &fields(of.update_mask)?);
        let info = Some(self.calls.run(about, work).await?);
        Ok(Response::new(UpdateSnapshotResponse { info }))
    }

    async fn list(
        &self,
        request: Request<ListSnapshotsRequest>,
    ) -> Answer<Response<Self::ListStream>> {
        let of = request.into_inner();
        let about = Self::about("List", "", Length::Short);
        let work = move |repo: &Repo| list(repo, &of.filters);
        let all = self.calls.run(about, work).await?;
        Ok(Response::new(tokio_stream::iter(pages(all))))
    }

    async fn usage(&self, request: Request<UsageRequest>) -> Answer<Response<UsageResponse>> {
        let of = request.into_inner();
        let about = Self::about("Usage", &of.key, Length::Short);
        let work = move |repo: &Repo| Ok(repo.snapshots().usage(&key(&of.key)?)?);
        let usage = self.calls.run(about, work).await?;
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        Ok(Response::new(UsageResponse {
            size: number(usage.bytes),
            inodes: number(usage.inodes),
        }))
    }

    async fn cleanup(&self, _: Request<CleanupRequest>) -> Answer<Response<()>> {
        let about = Self::about("Cleanup", "", Length::Short);
        self.calls.run(about, |_| Ok(())).await?;
        self.janitor.collect();
        Ok(Response::new(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_comes_in_pages_and_none_is_lost() {
        let info = |i: usize| Info {
            name: format!("ns/{i}/key"),
            labels: (0..10)
                .map(|n| (format!("l{n}"), "x".repeat(4000)))
                .collect(),
            ..Info::default()
        };
        let all: Vec<Info> = (0..100).map(info).collect();
        let pages: Vec<_> = pages(all.clone()).into_iter().map(Result::unwrap).collect();
        assert!(pages.len() > 3);
        assert!(pages.iter().all(|page| page.encoded_len() < 2 * PAGE_BYTES));
        let found: Vec<Info> = pages.into_iter().flat_map(|page| page.info).collect();
        assert_eq!(found, all);
        assert!(super::pages(Vec::new()).is_empty());
    }
}
