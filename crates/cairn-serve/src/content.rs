//! Blobs of containerd's content store, as a stream that a thread reads.

use std::io::{self, Read};
use std::path::PathBuf;

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use crate::info::namespace;
use crate::proto::content::content_client::ContentClient;
use crate::proto::content::{ReadContentRequest, ReadContentResponse};

/// Messages that wait to be read; each has a megabyte at most.
const AHEAD: usize = 4;
/// Largest message that is taken, bytes.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Headers by which containerd knows whose blobs are meant, and what keeps new ones.
const NAMESPACE: &str = "containerd-namespace";
const LEASE: &str = "containerd-lease";

/// Where containerd answers.
#[derive(Debug, Clone)]
pub(crate) struct ContentStore(pub PathBuf);

/// For whom something is asked of containerd.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub namespace: String,
    pub lease: Option<String>,
}

impl Caller {
    /// Whoever sent a request.
    pub fn of<T>(request: &Request<T>) -> Self {
        let lease = request.metadata().get(LEASE);
        let lease = lease.and_then(|value| value.to_str().ok());
        Self {
            namespace: namespace(request, ""),
            lease: lease.map(str::to_owned),
        }
    }

    /// A request in their name.
    pub fn asks<T>(&self, message: T) -> Result<Request<T>, Status> {
        let mut request = Request::new(message);
        let headers = [
            (NAMESPACE, Some(&self.namespace)),
            (LEASE, self.lease.as_ref()),
        ];
        for (name, value) in headers {
            let Some(value) = value else { continue };
            let value = value.parse();
            let value =
                value.map_err(|_| Status::invalid_argument(format!("{name} is no word")))?;
            request.metadata_mut().insert(name, value);
        }
        Ok(request)
    }
}

/// A blob on its way.
pub(crate) struct Blob {
    messages: Receiver<io::Result<Vec<u8>>>,
    message: Vec<u8>,
    at: usize,
}

impl ContentStore {
    pub async fn channel(&self) -> Result<Channel, Status> {
        let refused = |e: &dyn std::fmt::Display| {
            let at = self.0.display();
            Status::unavailable(format!("containerd does not answer at {at}: {e}"))
        };
        let address = format!("unix://{}", self.0.display());
        let endpoint = Endpoint::try_from(address).map_err(|e| refused(&e))?;
        endpoint.connect().await.map_err(|e| refused(&e))
    }

    /// Begins to read the blob `digest`.
    pub async fn read(&self, caller: &Caller, digest: &str) -> Result<Blob, Status> {
        let digest = digest.to_owned();
        let request = caller.asks(ReadContentRequest {
            digest,
            offset: 0,
            size: 0,
        })?;
        let client = ContentClient::new(self.channel().await?);
        let mut client = client.max_decoding_message_size(MESSAGE_BYTES_MAX);
        let messages = client.read(request).await?.into_inner();
        let (sender, receiver) = channel(AHEAD);
        tokio::spawn(pass(messages, sender));
        Ok(Blob {
            messages: receiver,
            message: Vec::new(),
            at: 0,
        })
    }
}

/// Hands messages on until nobody takes them.
async fn pass(mut messages: Streaming<ReadContentResponse>, to: Sender<io::Result<Vec<u8>>>) {
    loop {
        let next = match messages.message().await {
            Ok(None) => return,
            Ok(Some(message)) => Ok(message.data),
            Err(e) => Err(io::Error::other(e)),
        };
        let is_last = next.is_err();
        if to.send(next).await.is_err() || is_last {
            return;
        }
    }
}

impl Read for Blob {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.message.len() {
            match self.messages.blocking_recv() {
                None => return Ok(0),
                Some(message) => (self.message, self.at) = (message?, 0),
            }
        }
        let n = out.len().min(self.message.len() - self.at);
        out[..n].copy_from_slice(&self.message[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}
