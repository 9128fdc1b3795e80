//! Blobs of containerd's content store, as a stream that a thread reads.

use std::io::{self, Read};
use std::path::PathBuf;

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use crate::proto::content::content_client::ContentClient;
use crate::proto::content::{ReadContentRequest, ReadContentResponse};

/// Messages that wait to be read; each has a megabyte at most.
const AHEAD: usize = 4;
/// Largest message that is taken, bytes.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Where containerd answers.
#[derive(Debug, Clone)]
pub(crate) struct ContentStore(pub PathBuf);

/// A blob on its way.
pub(crate) struct Blob {
    messages: Receiver<io::Result<Vec<u8>>>,
    message: Vec<u8>,
    at: usize,
}

impl ContentStore {
    async fn connect(&self) -> Result<ContentClient<Channel>, Status> {
        let refused = |e: &dyn std::fmt::Display| {
            let at = self.0.display();
            Status::unavailable(format!("containerd does not answer at {at}: {e}"))
        };
        let address = format!("unix://{}", self.0.display());
        let endpoint = Endpoint::try_from(address).map_err(|e| refused(&e))?;
        let channel = endpoint.connect().await.map_err(|e| refused(&e))?;
        Ok(ContentClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// Begins to read the blob `digest` of a namespace.
    pub async fn read(&self, namespace: &str, digest: &str) -> Result<Blob, Status> {
        let digest = digest.to_owned();
        let mut request = Request::new(ReadContentRequest {
            digest,
            offset: 0,
            size: 0,
        });
        let value = namespace.parse();
        let value = value.map_err(|_| Status::invalid_argument("the namespace is no word"))?;
        request.metadata_mut().insert("containerd-namespace", value);
        let messages = self.connect().await?.read(request).await?.into_inner();
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
