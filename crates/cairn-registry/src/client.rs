//! One repository of one registry: questions with credentials, redirections followed, attempts repeated.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use cairn_image::{DOCUMENT_BYTES_MAX, RemoteBlob, sha256};
use cairn_model::{Digest, Watch};
use ureq::http::header::{ACCEPT, AUTHORIZATION, LOCATION, WWW_AUTHENTICATE};
use ureq::http::{Method, StatusCode, Uri};

use crate::auth::{Auth, Credentials, Wanted};
use crate::certs;
use crate::challenge::{self, Challenge};
use crate::endpoint::Endpoint;
use crate::error::{Again, Failure, Result};
use crate::http::{Answer, Http, Question};
use crate::location::Location;
use crate::registries::Source;
use crate::retry::Tries;
use crate::said;
use crate::slots::Slots;
use crate::url::{Origin, redirected};

const REDIRECTS_MAX: usize = 5;
/// Tokens that are got for one question: the first, and one for a token that has expired meanwhile.
const TOKENS_MAX: usize = 2;
pub(crate) const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";
const SILENCE_MAX: Duration = Duration::from_secs(60);
const RETRIES: u32 = 5;
const JOBS: usize = 4;

/// How a registry is dealt with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Ends the work.
    pub watch: Watch,
    /// Attempts after the first one, at each thing.
    pub retries: u32,
    /// Longest that a registry may send nothing.
    pub silence_max: Duration,
    /// Directory for what was fetched of blobs, so that it is not fetched again after a cut or a kill.
    pub downloads: Option<PathBuf>,
    /// Who the user is to the registry.
    pub credentials: Option<Credentials>,
    /// Connections that bring blobs at once.
    pub jobs: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            watch: Watch::default(),
            retries: RETRIES,
            silence_max: SILENCE_MAX,
            downloads: None,
            credentials: None,
            jobs: JOBS,
        }
    }
}

/// What tokens are to be for.
#[derive(Debug)]
enum Access {
    Login,
    Pull,
    /// And blobs from these repositories.
    Push(Vec<String>),
}

/// A repository of a registry.
#[derive(Debug)]
pub struct Client {
    http: Http,
    /// How the registry is reached, once that is known.
    endpoint: OnceLock<Endpoint>,
    location: Location,
    insecure: bool,
    auth: Auth,
    access: Access,
    slots: Slots,
    options: Options,
}

/// A manifest or index, as it came.
#[derive(Debug)]
pub(crate) struct Manifest {
    pub bytes: Vec<u8>,
    pub digest: Digest,
}

impl Client {
    /// For the repository of `location`. Nothing is sent yet.
    pub fn new(location: &Location, options: Options) -> Self {
        Self::at(&location.clone().into(), options)
    }

    /// For the repository of a source. Nothing is sent yet.
    pub fn at(source: &Source, options: Options) -> Self {
        let location = source.location.clone();
        let unverified = source
            .insecure
            .then(|| Endpoint::of(location.registry(), false));
        let unverified = unverified.map(|endpoint| endpoint.authority);
        Self {
            http: Http::new(options.silence_max, unverified.as_deref()),
            endpoint: OnceLock::new(),
            location,
            insecure: source.insecure,
            auth: Auth::new(options.credentials.clone()),
            access: Access::Pull,
            slots: Slots::new(options.jobs),
            options,
        }
    }

    /// How the registry is reached. One that may be insecure is asked by https first.
    fn endpoint(&self) -> &Endpoint {
        self.endpoint.get_or_init(|| {
            let registry = self.location.registry();
            let endpoint = Endpoint::of(registry, false);
            let known = certs::directory(&endpoint.authority).is_some();
            let endpoint = Endpoint::of(registry, known);
            if !self.insecure || endpoint.plain {
                return endpoint;
            }
            let url = endpoint.url("/v2/").parse().ok();
            let answers = |uri| self.http.ask(Question::get(uri)).is_ok();
            endpoint.by(!url.is_some_and(answers))
        })
    }

    /// What is asked for in the repository: a digest, or a tag.
    pub(crate) fn location(&self) -> &Location {
        &self.location
    }

    /// The same for pushing, with blobs taken from these repositories of the registry.
    pub fn for_push(mut self, from: &[String]) -> Self {
        self.access = Access::Push(from.to_vec());
        self
    }

    /// The same for asking whether the registry lets somebody in at all.
    pub(crate) fn for_login(mut self) -> Self {
        self.access = Access::Login;
        self
    }

    /// The address at which a registry says whether it lets somebody in.
    pub(crate) fn base(&self) -> String {
        self.endpoint().url("/v2/")
    }

    /// What a token is to be for.
    fn scopes(&self) -> Vec<String> {
        let own = |actions| format!("repository:{}:{actions}", self.location.repository());
        match &self.access {
            Access::Login => Vec::new(),
            Access::Pull => vec![own("pull")],
            Access::Push(mounts) => {
                let others = mounts.iter().map(|from| format!("repository:{from}:pull"));
                std::iter::once(own("pull,push")).chain(others).collect()
            }
        }
    }

    /// The registry, as references have it.
    pub(crate) fn registry(&self) -> &str {
        self.location.registry()
    }

    /// Registry and repository, for messages.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry(), self.location.repository())
    }

    /// How many connections may bring blobs at once.
    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// The address of something in the repository.
    pub(crate) fn address(&self, path: &str) -> Result<Uri, Failure> {
        let repository = self.location.repository();
        let url = self.endpoint().url(&format!("/v2/{repository}/{path}"));
        url.parse()
            .map_err(|e| Failure::wrong(format!("{url:?} is not an address: {e}")))
    }

    /// One attempt: credentials are fetched and redirections followed as needed. `make` is called for each
    /// request that this takes.
    pub(crate) fn ask<'a>(
        &self,
        start: Uri,
        make: &mut dyn FnMut(Uri) -> Question<'a>,
    ) -> Result<Answer, Failure> {
        // Not that of the address: a registry may send an upload to another host.
        let home = Origin::of(&self.address("")?);
        let (mut uri, mut redirects, mut tokens) = (start, 0, 0);
        loop {
            self.options.watch.check()?;
            let mut question = make(uri.clone());
            let at_home = Origin::of(&uri) == home;
            let carried = self.auth.header().filter(|_| at_home);
            if let Some(header) = &carried {
                question = question.with(AUTHORIZATION, header.clone());
            }
            let may_follow = [Method::GET, Method::HEAD].contains(&question.method);
            let mut answer = self.http.ask(question)?;
            match answer.status {
                StatusCode::UNAUTHORIZED if at_home && tokens < TOKENS_MAX => {
                    tokens += 1;
                    let challenges = challenges(&answer);
                    // Read, so that the connection can be used again; what it says does not matter.
                    let _ = answer.read(64 << 10);
                    self.authorize(&challenges, carried.as_deref())?;
                }
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT
                    if may_follow =>
                {
                    redirects += 1;
                    if redirects > REDIRECTS_MAX {
                        let registry = self.registry();
                        let why = format!("{registry} redirects more than {REDIRECTS_MAX} times");
                        return Err(Failure::wrong(why));
                    }
                    let to = answer.header(LOCATION).unwrap_or_default();
                    uri = redirected(&uri, to).map_err(|why| {
                        Failure::wrong(format!("{} sends {why}", self.registry()))
                    })?;
                }
                _ => return Ok(answer),
            }
        }
    }

    fn authorize(&self, challenges: &[Challenge], refused: Option<&str>) -> Result<(), Failure> {
        let wanted = Wanted {
            http: &self.http,
            registry: self.registry(),
            plain: self.endpoint().plain,
            scopes: &self.scopes(),
        };
        self.auth.answer(&wanted, challenges, refused)
    }

    /// The same, where only success will do.
    pub(crate) fn get<'a>(
        &self,
        start: Uri,
        make: &mut dyn FnMut(Uri) -> Question<'a>,
    ) -> Result<Answer, Failure> {
        let answer = self.ask(start, make)?;
        match answer.status.is_success() {
            true => Ok(answer),
            false => Err(said::failure(answer, self.registry())),
        }
    }

    /// Attempts until one succeeds or there is no point in another one.
    pub(crate) fn insist<T>(
        &self,
        object: &str,
        mut attempt: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T> {
        let mut tries = Tries::new(self.options.retries);
        loop {
            match attempt() {
                Ok(done) => return Ok(done),
                Err(failure) => tries
                    .next(failure, &self.options.watch)
                    .map_err(|failure| failure.of(object, &self.name()))?,
            }
        }
    }

    /// The manifest or index of a tag or digest; `expected` where it is one.
    pub(crate) fn manifest(&self, reference: &str, expected: Option<Digest>) -> Result<Manifest> {
        self.insist(&format!("manifest {reference}"), || {
            self.try_manifest(reference, expected)
        })
    }

    /// The same, in one attempt.
    pub(crate) fn try_manifest(
        &self,
        reference: &str,
        expected: Option<Digest>,
    ) -> Result<Manifest, Failure> {
        let address = self.address(&format!("manifests/{reference}"))?;
        let mut answer = self.get(address, &mut |uri| {
            Question::get(uri).with(ACCEPT, MANIFESTS)
        })?;
        let stated = answer.header("docker-content-digest").map(str::to_owned);
        let bytes = answer.read(DOCUMENT_BYTES_MAX as u64)?;
        let digest = sha256(&bytes);
        // What a registry calls it otherwise (sha512, or nothing) is not to be compared.
        let stated = stated.and_then(|text| text.parse::<Digest>().ok());
        match expected.or(stated) {
            Some(expected) if expected != digest => Err(changed(expected, digest)),
            _ => Ok(Manifest { bytes, digest }),
        }
    }

    /// The digest of the manifest or index that a location leads to.
    pub fn resolve(&self, location: &Location) -> Result<Digest> {
        let top = self.manifest(&location.reference(), location.digest())?;
        Ok(top.digest)
    }

    /// A whole blob that is a document.
    pub fn document(&self, blob: &RemoteBlob) -> Result<Vec<u8>> {
        self.document_within(blob, DOCUMENT_BYTES_MAX as u64)
    }

    /// A whole blob of at most `max` bytes.
    pub fn document_within(&self, blob: &RemoteBlob, max: u64) -> Result<Vec<u8>> {
        self.insist(&format!("blob {}", blob.digest), || {
            if blob.bytes > max {
                let why = format!(
                    "it should have {} bytes, but a document may have at most {max}",
                    blob.bytes
                );
                return Err(Failure::wrong(why));
            }
            let address = self.address(&format!("blobs/{}", blob.digest))?;
            let mut answer = self.get(address, &mut Question::get)?;
            let bytes = answer.read(blob.bytes)?;
            let digest = sha256(&bytes);
            match digest == blob.digest {
                true => Ok(bytes),
                false => Err(changed(blob.digest, digest)),
            }
        })
    }
}

fn challenges(answer: &Answer) -> Vec<Challenge> {
    let headers = answer.headers.get_all(WWW_AUTHENTICATE).iter();
    headers
        .filter_map(|header| header.to_str().ok())
        .flat_map(challenge::parse)
        .collect()
}

/// What came is not what was asked for: damaged on the way, perhaps.
fn changed(expected: Digest, actual: Digest) -> Failure {
    Failure {
        again: Again::Soon,
        ..Failure::wrong(format!("the registry sent {actual} instead of {expected}"))
    }
}
