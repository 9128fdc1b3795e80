//! One question and one answer over http, with every length and every wait bounded. No redirection is
//! followed here and no credential added: who does that sees each answer.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cairn_model::Class;
use ureq::http::header::{CONTENT_LENGTH, HeaderMap, HeaderName};
use ureq::http::request::Builder;
use ureq::http::{Method, Request, Response, StatusCode, Uri};
use ureq::tls::TlsConfig;
use ureq::{Agent, Body, SendBody};

use crate::bounded::read_bounded;
use crate::certs;
use crate::error::Failure;
use crate::proxy;
use crate::tls;

const HEADER_BYTES_MAX: usize = 64 << 10;
const CONNECT_TIME_MAX: Duration = Duration::from_secs(30);
/// Longest that a body of at most a few megabytes may take.
const DOCUMENT_TIME_MAX: Duration = Duration::from_secs(300);
const AGENT: &str = concat!("cairn/", env!("CARGO_PKG_VERSION"));

/// What is asked.
pub(crate) struct Question<'a> {
    pub method: Method,
    pub uri: Uri,
    pub headers: Vec<(HeaderName, String)>,
    pub body: Option<(u64, Box<dyn Read + 'a>)>,
    /// True where the answer's body is a document and not a stream.
    pub is_short: bool,
}

impl Question<'_> {
    pub fn get(uri: Uri) -> Self {
        Self::of(Method::GET, uri)
    }

    pub fn of(method: Method, uri: Uri) -> Self {
        Self {
            method,
            uri,
            headers: Vec::new(),
            body: None,
            is_short: true,
        }
    }

    pub fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// What came back.
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Where it came from.
    pub uri: Uri,
    body: Body,
}

impl Answer {
    /// A header as text.
    pub fn header(&self, name: impl ureq::http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The length that the body is said to have.
    pub fn length(&self) -> Option<u64> {
        self.body.content_length()
    }

    /// The whole body, which may have so many bytes.
    pub fn read(&mut self, bytes_max: u64) -> Result<Vec<u8>, Failure> {
        if self.length().is_some_and(|length| length > bytes_max) {
            let length = self.length().unwrap_or_default();
            let why =
                format!("the registry sends {length} bytes, but at most {bytes_max} are allowed");
            return Err(Failure::wrong(why));
        }
        let body = self.body.as_reader();
        match read_bounded(body, bytes_max) {
            Err(e) if e.kind() == io::ErrorKind::InvalidData => Err(Failure::wrong(format!(
                "the registry sends more than the {bytes_max} bytes that are allowed"
            ))),
            read => read.map_err(|e| broken(&e)),
        }
    }

    /// The body as a stream.
    pub fn stream(self) -> Box<dyn Read + Send> {
        Box::new(self.body.into_reader())
    }
}

/// A connection that gave way in the middle.
pub(crate) fn broken(e: &io::Error) -> Failure {
    let inner = e.get_ref().and_then(|e| e.downcast_ref::<ureq::Error>());
    match e.kind() {
        _ if matches!(inner, Some(ureq::Error::Timeout(_))) => {
            Failure::passing("the registry stopped sending")
        }
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            Failure::passing("the registry stopped sending")
        }
        _ => Failure::passing(format!("the connection broke: {}", words(e))),
    }
}

fn words(e: &io::Error) -> String {
    match e.raw_os_error() {
        Some(_) => {
            let text = e.to_string();
            text.split(" (os error")
                .next()
                .unwrap_or_default()
                .to_lowercase()
        }
        None => e.to_string(),
    }
}

/// Asks questions.
#[derive(Debug)]
pub(crate) struct Http {
    silence_max: Duration,
    /// The one host that need not prove who it is.
    unverified: Option<String>,
    /// For each host: its certificates are for it alone.
    agents: Mutex<HashMap<String, Agent>>,
}

impl Http {
    /// `silence_max` is the longest that a peer may send nothing; `unverified` a host that need not prove who it is.
    pub fn new(silence_max: Duration, unverified: Option<&str>) -> Self {
        Self {
            silence_max,
            unverified: unverified.map(str::to_owned),
            agents: Mutex::default(),
        }
    }

    /// What connections to a host are made with, made once.
    fn agent(&self, host: &str) -> Result<Agent, Failure> {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = agents.get(host) {
            return Ok(agent.clone());
        }
        let known = certs::directory(host).map(|directory| certs::read(&directory));
        let known = known.transpose().map_err(Failure::wrong)?;
        let verified = self.unverified.as_deref() != Some(host);
        let agent = self.made(tls::config(known.unwrap_or_default(), verified));
        agents.insert(host.to_owned(), agent.clone());
        Ok(agent)
    }

    fn made(&self, tls: TlsConfig) -> Agent {
        let silence_max = self.silence_max;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_response_header_size(HEADER_BYTES_MAX)
            .user_agent(AGENT)
            .accept_encoding("identity")
            .proxy(None)
            .tls_config(tls)
            .timeout_resolve(Some(CONNECT_TIME_MAX.min(silence_max)))
            .timeout_connect(Some(CONNECT_TIME_MAX.min(silence_max)))
            .timeout_send_request(Some(silence_max))
            .timeout_recv_response(Some(silence_max))
            .timeout_per_read(Some(silence_max))
            .timeout_per_write(Some(silence_max));
        Agent::new_with_config(config.build())
    }

    /// One question, one answer.
    pub fn ask(&self, question: Question<'_>) -> Result<Answer, Failure> {
        let uri = question.uri.clone();
        let mut request = Request::builder()
            .method(&question.method)
            .uri(&question.uri);
        for (name, value) in &question.headers {
            request = request.header(name, value);
        }
        tracing::debug!(method = %question.method, uri = %uri.path(), "ask");
        let answer = match question.body {
            Some((length, mut body)) => {
                request = request.header(CONTENT_LENGTH, length);
                self.run(
                    request,
                    SendBody::from_reader(&mut body),
                    question.is_short,
                    &uri,
                )
            }
            None => self.run(request, SendBody::none(), question.is_short, &uri),
        }?;
        let (parts, body) = answer.into_parts();
        let answer = Answer {
            status: parts.status,
            headers: parts.headers,
            uri,
            body,
        };
        tracing::debug!(status = answer.status.as_u16(), "answer");
        if answer
            .header("content-encoding")
            .is_some_and(|encoding| encoding != "identity")
        {
            return Err(Failure::wrong(
                "the registry sends it in an encoding that was not asked for",
            ));
        }
        Ok(answer)
    }
}

impl Http {
    fn run(
        &self,
        request: Builder,
        body: SendBody<'_>,
        is_short: bool,
        uri: &Uri,
    ) -> Result<Response<Body>, Failure> {
        let request = request
            .body(body)
            .map_err(|e| Failure::wrong(format!("a bad request: {e}")))?;
        let host = uri.authority().map_or("", |authority| authority.as_str());
        let agent = self.agent(host)?;
        let config = agent.configure_request(request);
        let config = config.timeout_recv_body(is_short.then_some(DOCUMENT_TIME_MAX));
        let config = match proxy::of(uri) {
            Some(proxy) => config.proxy(Some(proxy)),
            None => config,
        };
        agent.run(config.build()).map_err(|e| failed(&e, uri))
    }
}

/// Why there is no answer.
fn failed(e: &ureq::Error, uri: &Uri) -> Failure {
    let host = uri.authority().map_or("", |authority| authority.as_str());
    match e {
        ureq::Error::Io(e) if is_tls(e) => untrusted(host, &words(e)),
        ureq::Error::Io(e) => Failure::passing(format!("cannot reach {host}: {}", words(e))),
        ureq::Error::Timeout(_) => Failure::passing(format!("{host} does not answer")),
        ureq::Error::HostNotFound => {
            Failure::lasting(Class::Unavailable, format!("the host {host} is not known"))
        }
        ureq::Error::LargeResponseHeader(..) => Failure::wrong(format!(
            "{host} sends headers of more than {HEADER_BYTES_MAX} bytes"
        )),
        ureq::Error::Protocol(e) => Failure::passing(format!("{host} does not speak http: {e}")),
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::Pem(_) => {
            untrusted(host, &e.to_string())
        }
        e => Failure::passing(format!("cannot reach {host}: {e}")),
    }
}

fn untrusted(host: &str, why: &str) -> Failure {
    let next = format!("if it is yours, put its authority into /etc/containers/certs.d/{host}");
    let why = format!("{host} cannot be trusted: {why}; {next}");
    Failure::lasting(Class::FailedPrecondition, why)
}

fn is_tls(e: &io::Error) -> bool {
    e.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}
