//! Tokens: who asks for one, and where (the distribution specification's token authentication).
//!
//! A request goes out with what is at hand. Where the registry wants more, it says where a token is to be had;
//! credentials go there and, as a token, back to the registry, and nowhere else. The scope that is asked for is
//! the one that is needed, not the one that the registry names.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use cairn_model::Class;
use serde::Deserialize;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE};
use ureq::http::{Method, Uri};

use crate::challenge::Challenge;
use crate::error::Failure;
use crate::http::{Http, Question};
use crate::said;
use crate::url::{Origin, encoded, with_parameter};

const TOKEN_DOCUMENT_BYTES_MAX: u64 = 256 << 10;
const TOKEN_BYTES_MAX: usize = 32 << 10;
/// How long a token lasts whose document does not say.
const TOKEN_LASTS: u64 = 60;
const TOKEN_LASTS_MAX: u64 = 24 * 3600;

/// Who somebody is to a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User.
    pub user: String,
    /// Password, or a token that is given in its place.
    pub secret: String,
    /// True where the secret is an identity token, which is exchanged and never sent as a password.
    pub is_identity_token: bool,
}

/// Never the secret.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Credentials").field(&self.user).finish()
    }
}

impl Credentials {
    fn basic(&self) -> String {
        let pair = format!("{}:{}", self.user, self.secret);
        format!("Basic {}", BASE64_STANDARD.encode(pair))
    }
}

/// What requests to a registry carry.
#[derive(Default)]
pub(crate) struct Auth {
    credentials: Option<Credentials>,
    held: Mutex<Option<Held>>,
}

struct Held {
    header: String,
    until: Option<Instant>,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Auth").field(&self.credentials).finish()
    }
}

#[derive(Deserialize)]
struct TokenDocument {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// What a token is to be for, and who is asked for it.
pub(crate) struct Wanted<'a> {
    pub http: &'a Http,
    pub registry: &'a str,
    /// True where the registry itself is reached without encryption.
    pub plain: bool,
    pub scopes: &'a [String],
}

impl Auth {
    pub fn new(credentials: Option<Credentials>) -> Self {
        Self {
            credentials,
            held: Mutex::new(None),
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The header for the next request, if there is one that still holds.
    pub fn header(&self) -> Option<String> {
        let held = self.held();
        let held = held.as_ref()?;
        let holds = held.until.is_none_or(|until| Instant::now() < until);
        holds.then(|| held.header.clone())
    }

    /// Gets what the registry wants to see, after it refused a request that carried `refused`.
    pub fn answer(
        &self,
        wanted: &Wanted<'_>,
        challenges: &[Challenge],
        refused: Option<&str>,
    ) -> Result<(), Failure> {
        // Others wait here, and find what the first of them got.
        let mut held = self.held();
        if let Some(held) = &*held
            && refused != Some(held.header.as_str())
            && held.until.is_none_or(|until| Instant::now() < until)
        {
            return Ok(());
        }
        let bearer = challenges.iter().find_map(|challenge| match challenge {
            Challenge::Bearer { realm, service } => Some((realm, service.as_deref())),
            Challenge::Basic => None,
        });
        *held = Some(match (bearer, &self.credentials) {
            (Some((realm, service)), _) => self.token(wanted, realm, service)?,
            (None, Some(known)) if !known.is_identity_token && refused.is_none() => {
                basic_is_asked(challenges, wanted.registry)?;
                Held {
                    header: known.basic(),
                    until: None,
                }
            }
            (None, _) => return Err(denied(wanted.registry)),
        });
        Ok(())
    }

    fn token(
        &self,
        wanted: &Wanted<'_>,
        realm: &str,
        service: Option<&str>,
    ) -> Result<Held, Failure> {
        let question = self.question(wanted, realm, service)?;
        let mut answer = wanted.http.ask(question)?;
        if !answer.status.is_success() {
            return Err(said::failure(answer, wanted.registry));
        }
        let bytes = answer.read(TOKEN_DOCUMENT_BYTES_MAX)?;
        let bad = || {
            Failure::wrong(format!(
                "the token service of {} sends no token",
                wanted.registry
            ))
        };
        let document: TokenDocument = serde_json::from_slice(&bytes).map_err(|_| bad())?;
        let tokens = [document.token, document.access_token]
            .into_iter()
            .flatten();
        let token = tokens
            .into_iter()
            .find(|token| !token.is_empty())
            .ok_or_else(bad)?;
        if token.len() > TOKEN_BYTES_MAX || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(bad());
        }
        let lasts = document
            .expires_in
            .unwrap_or(TOKEN_LASTS)
            .min(TOKEN_LASTS_MAX);
        Ok(Held {
            header: format!("Bearer {token}"),
            // It ends a little earlier here, so that it does not end on the way.
            until: Some(Instant::now() + Duration::from_secs(lasts) * 9 / 10),
        })
    }

    fn question(
        &self,
        wanted: &Wanted<'_>,
        realm: &str,
        service: Option<&str>,
    ) -> Result<Question<'static>, Failure> {
        let bad = || {
            Failure::wrong(format!(
                "{} names no usable token service: {realm:?}",
                wanted.registry
            ))
        };
        let parsed: Uri = realm.parse().map_err(|_| bad())?;
        let origin = Origin::of(&parsed).ok_or_else(bad)?;
        // What opens a private registry is not told in public.
        if !origin.is_https() && !wanted.plain {
            return Err(bad());
        }
        if let Some(known) = self
            .credentials
            .as_ref()
            .filter(|known| known.is_identity_token)
        {
            let mut form = format!(
                "grant_type=refresh_token&client_id=cairn&refresh_token={}",
                encoded(&known.secret)
            );
            for (name, value) in service.iter().map(|s| ("service", *s)) {
                form.push_str(&format!("&{name}={}", encoded(value)));
            }
            form.push_str(&format!("&scope={}", encoded(&wanted.scopes.join(" "))));
            let mut question = Question::of(Method::POST, parsed)
                .with(CONTENT_TYPE, "application/x-www-form-urlencoded");
            question.body = Some((form.len() as u64, Box::new(std::io::Cursor::new(form))));
            return Ok(question);
        }
        let mut address = realm.to_owned();
        if let Some(service) = service {
            address = with_parameter(&address, "service", service);
        }
        for scope in wanted.scopes {
            address = with_parameter(&address, "scope", scope);
        }
        if let Some(known) = &self.credentials {
            address = with_parameter(&address, "account", &known.user);
        }
        let question = Question::get(address.parse().map_err(|_| bad())?);
        Ok(match &self.credentials {
            Some(known) => question.with(AUTHORIZATION, known.basic()),
            None => question,
        })
    }
}

fn basic_is_asked(challenges: &[Challenge], registry: &str) -> Result<(), Failure> {
    match challenges.contains(&Challenge::Basic) {
        true => Ok(()),
        false => Err(Failure::wrong(format!(
            "{registry} denies access in a way that is not supported"
        ))),
    }
}

fn denied(registry: &str) -> Failure {
    Failure::lasting(
        Class::FailedPrecondition,
        format!("{registry} denies access; check the name, and the credentials for {registry}"),
    )
}
