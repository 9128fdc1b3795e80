//! A blob goes into containerd's content store, as containerd's own differ brings one: written under a reference, then
//! committed with its digest and labels.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::time::Duration;

use cairn_image::Packed;
use cairn_model::{Timestamp, Watch, clock};
use tokio::sync::mpsc::{Sender, channel};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::content::{Caller, ContentStore};
use crate::proto::content::content_client::ContentClient;
use crate::proto::content::{
    AbortRequest, Info, InfoRequest, UpdateRequest, WriteAction, WriteContentRequest,
    WriteContentResponse,
};
use crate::proto::leases::CreateRequest;
use crate::proto::leases::leases_client::LeasesClient;

/// Bytes of one message; containerd takes 16 MiB.
const MESSAGE_BYTES: u64 = 1 << 20;
/// How long a write may take.
const WRITE_MAX: Duration = Duration::from_secs(600);
/// How long a blob is kept that its client has no lease for, seconds: until an image refers to it.
const KEPT_SECS: i64 = 3600;
/// Label of a lease with the time when it ends.
const EXPIRES: &str = "containerd.io/gc.expire";
/// Label of a compressed blob with the digest of what is in it.
pub(crate) const UNCOMPRESSED: &str = "containerd.io/uncompressed";

/// What is brought, and how.
pub(crate) struct Upload {
    pub caller: Caller,
    /// The name of the write; a new one where it is empty.
    pub reference: String,
    pub labels: HashMap<String, String>,
    pub packed: Packed,
}

/// A write that is under way.
struct Write {
    requests: Sender<WriteContentRequest>,
    answers: Streaming<WriteContentResponse>,
}

impl ContentStore {
    /// Brings a blob. One that is there already stays as it is, and learns what is in it.
    pub async fn write(&self, mut upload: Upload, watch: &Watch) -> Result<(), Status> {
        let channel = self.channel().await?;
        if upload.caller.lease.is_none() {
            upload.caller.lease = Some(lease(&channel, &upload.caller).await?);
        }
        let is_new = upload.reference.is_empty();
        if is_new {
            upload.reference = own_name(clock::timestamp());
        }
        let mut client = ContentClient::new(channel);
        let bring = bring(&mut client, &mut upload, watch);
        let brought = tokio::time::timeout(WRITE_MAX, bring).await;
        match brought
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("containerd takes too long")))
        {
            Err(e) if e.code() == Code::AlreadyExists => label(&mut client, &upload).await,
            Err(e) if is_new => {
                // Nobody can go on with it; the first error counts.
                let r#ref = upload.reference.clone();
                let _ = client
                    .abort(upload.caller.asks(AbortRequest { r#ref })?)
                    .await;
                Err(e)
            }
            done => done,
        }
    }
}

/// A name that no other write or lease has.
fn own_name(now: Timestamp) -> String {
    format!("cairn-diff-{}.{}", now.secs, now.nanos)
}

/// A lease that ends by itself.
async fn lease(channel: &Channel, caller: &Caller) -> Result<String, Status> {
    let now = clock::timestamp();
    let expires = clock::rfc3339(now.secs + KEPT_SECS);
    let create = CreateRequest {
        id: own_name(now),
        labels: [(EXPIRES.to_owned(), expires)].into(),
    };
    let mut client = LeasesClient::new(channel.clone());
    let made = client.create(caller.asks(create)?).await?.into_inner();
    Ok(made.lease.unwrap_or_default().id)
}

async fn bring(
    client: &mut ContentClient<Channel>,
    upload: &mut Upload,
    watch: &Watch,
) -> Result<(), Status> {
    let (digest, total) = (upload.packed.digest.to_string(), upload.packed.bytes);
    let message = |action: WriteAction, offset: u64, data: Vec<u8>| WriteContentRequest {
        action: action.into(),
        r#ref: upload.reference.clone(),
        total: length(total),
        offset: length(offset),
        data,
        ..Default::default()
    };
    let rewound = std::io::Seek::rewind(&mut upload.packed.file);
    rewound.map_err(|e| unreadable(&e))?;
    let mut at = 0;
    let first = next(&mut upload.packed.file)?;
    let sent = first.len() as u64;
    // What an earlier write of this name has left is written over: this one begins at 0.
    let (requests, receiver) = channel_of(message(WriteAction::Write, 0, first));
    let request = upload.caller.asks(ReceiverStream::new(receiver))?;
    let answers = client.write(request).await?.into_inner();
    let mut write = Write { requests, answers };
    at += sent;
    write.answered(at).await?;
    while at < total {
        watch
            .check()
            .map_err(|_| Status::cancelled("nobody waits for the layer any more"))?;
        let data = next(&mut upload.packed.file)?;
        let offset = at;
        at += data.len() as u64;
        write.send(message(WriteAction::Write, offset, data)).await;
        write.answered(at).await?;
    }
    let commit = WriteContentRequest {
        expected: digest,
        labels: upload.labels.clone(),
        ..message(WriteAction::Commit, at, Vec::new())
    };
    write.send(commit).await;
    write.answered(at).await
}

fn channel_of(
    first: WriteContentRequest,
) -> (
    Sender<WriteContentRequest>,
    tokio::sync::mpsc::Receiver<WriteContentRequest>,
) {
    let (sender, receiver) = channel(1);
    // There is room for one.
    let _ = sender.try_send(first);
    (sender, receiver)
}

fn length(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn unreadable(e: &std::io::Error) -> Status {
    Status::unavailable(format!("cannot read the packed layer: {e}"))
}

fn next(file: &mut File) -> Result<Vec<u8>, Status> {
    let mut data = Vec::new();
    let read = file.take(MESSAGE_BYTES).read_to_end(&mut data);
    read.map_err(|e| unreadable(&e))?;
    Ok(data)
}

impl Write {
    async fn send(&self, message: WriteContentRequest) {
        // Where nobody takes it the answer says why.
        let _ = self.requests.send(message).await;
    }

    /// Waits until all bytes up to here are taken.
    async fn answered(&mut self, at: u64) -> Result<(), Status> {
        let answer = self.answers.message().await?;
        let ended = || Status::unavailable("containerd has ended the write of a layer");
        let found = answer.ok_or_else(ended)?.offset;
        match found == length(at) {
            true => Ok(()),
            false => Err(Status::unavailable(format!(
                "containerd has {found} bytes of a layer of which {at} were written"
            ))),
        }
    }
}

/// Tells a blob that was there before what is in it, if it does not know.
async fn label(client: &mut ContentClient<Channel>, upload: &Upload) -> Result<(), Status> {
    let digest = upload.packed.digest.to_string();
    let Some(uncompressed) = upload.labels.get(UNCOMPRESSED) else {
        return Ok(());
    };
    let ask = InfoRequest {
        digest: digest.clone(),
    };
    let found = client.info(upload.caller.asks(ask)?).await?.into_inner();
    let known = found.info.unwrap_or_default().labels;
    if known.contains_key(UNCOMPRESSED) {
        return Ok(());
    }
    let update = UpdateRequest {
        info: Some(Info {
            digest,
            labels: [(UNCOMPRESSED.to_owned(), uncompressed.clone())].into(),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec![format!("labels.{UNCOMPRESSED}")],
        }),
    };
    client.update(upload.caller.asks(update)?).await?;
    Ok(())
}
