//! Addresses that a registry names: where they lead, and whether they may.

use ureq::http::Uri;
use ureq::http::uri::Scheme;

/// Longest address taken.
const BYTES_MAX: usize = 16 << 10;

/// Scheme, host and port: who gets what is sent there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    https: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// That of an address; `None` where it is none of http or https.
    pub fn of(uri: &Uri) -> Option<Self> {
        let https = match uri.scheme()? {
            scheme if *scheme == Scheme::HTTPS => true,
            scheme if *scheme == Scheme::HTTP => false,
            _ => return None,
        };
        Some(Self {
            https,
            host: uri.host()?.to_ascii_lowercase(),
            port: uri.port_u16().unwrap_or(if https { 443 } else { 80 }),
        })
    }

    /// True where what is sent there is encrypted.
    pub fn is_https(&self) -> bool {
        self.https
    }
}

/// The address that `text` means in an answer of `base` (RFC 3986, without `..`).
pub(crate) fn joined(base: &Uri, text: &str) -> Result<Uri, String> {
    let text = text.split('#').next().unwrap_or_default();
    if text.is_empty() || text.len() > BYTES_MAX {
        return Err("an address that is empty or too long".to_owned());
    }
    let scheme = base.scheme_str().unwrap_or("https");
    let authority = base.authority().map_or("", |authority| authority.as_str());
    let whole = if text.starts_with("http://") || text.starts_with("https://") {
        text.to_owned()
    } else if text.starts_with("//") {
        format!("{scheme}:{text}")
    } else if text.starts_with('/') {
        format!("{scheme}://{authority}{text}")
    } else if text.starts_with('?') {
        format!("{scheme}://{authority}{}{text}", base.path())
    } else if text
        .split(['/', '?'])
        .next()
        .is_some_and(|part| part.contains(':'))
    {
        return Err(format!("the address {text:?}, which cannot be followed"));
    } else {
        let directory = base.path().rsplit_once('/').map_or("", |(above, _)| above);
        format!("{scheme}://{authority}{directory}/{text}")
    };
    let uri: Uri = whole
        .parse()
        .map_err(|e| format!("the address {text:?}: {e}"))?;
    let names_user = uri.authority().is_some_and(|a| a.as_str().contains('@'));
    match Origin::of(&uri) {
        Some(_) if !names_user => Ok(uri),
        _ => Err(format!("the address {text:?}, which cannot be followed")),
    }
}

/// Where an answer of `from` sends its reader. Never from https to http: what was asked for in private is not
/// asked for in public.
pub(crate) fn redirected(from: &Uri, text: &str) -> Result<Uri, String> {
    let to = joined(from, text)?;
    let is_https = |uri| Origin::of(uri).is_some_and(|origin| origin.is_https());
    if is_https(from) && !is_https(&to) {
        return Err(format!("a redirection from https to {text:?}"));
    }
    Ok(to)
}

/// Bytes as they are written in the query of an address.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' | b':' => {
                out.push(char::from(byte));
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// `uri` with one more parameter in its query.
pub(crate) fn with_parameter(uri: &str, name: &str, value: &str) -> String {
    let separator = if uri.contains('?') { '&' } else { '?' };
    format!("{uri}{separator}{name}={}", encoded(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_are_joined_as_browsers_do() {
        let base = uri("https://host:5000/v2/a/blobs/uploads/?x=1");
        for (text, expected) in [
            ("https://other/x?y#z", "https://other/x?y"),
            ("//other/x", "https://other/x"),
            ("/v2/b", "https://host:5000/v2/b"),
            ("?q=2", "https://host:5000/v2/a/blobs/uploads/?q=2"),
            (
                "abc?_state=1",
                "https://host:5000/v2/a/blobs/uploads/abc?_state=1",
            ),
        ] {
            assert_eq!(joined(&base, text).unwrap().to_string(), expected);
        }
        let long = "/".to_owned() + &"x".repeat(BYTES_MAX);
        for bad in [
            "",
            "#x",
            "http://",
            "https://u:p@host/",
            "http://a b/",
            "/a\r\nb",
            &long,
        ] {
            assert!(joined(&base, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn private_questions_are_not_redirected_into_public() {
        let base = uri("https://host/x");
        assert!(redirected(&base, "http://host/x").is_err());
        assert!(redirected(&base, "https://other/x").is_ok());
        assert!(redirected(&uri("http://host/x"), "http://other/x").is_ok());
        assert!(redirected(&base, "file:///etc/passwd").is_err());
        assert!(redirected(&base, "ftp://host/x").is_err());
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |a: &str, b: &str| Origin::of(&uri(a)) == Origin::of(&uri(b));
        assert!(same("https://host/x", "https://HOST:443/y"));
        assert!(same("http://host/x", "http://host:80/y"));
        assert!(!same("https://host/x", "http://host/x"));
        assert!(!same("https://host/x", "https://host:5000/x"));
        assert!(!same("https://host/x", "https://host.example/x"));
    }

    #[test]
    fn values_of_a_query_are_encoded() {
        assert_eq!(
            encoded("repository:a/b:pull,push c&d"),
            "repository:a/b:pull%2Cpush%20c%26d"
        );
        assert_eq!(with_parameter("u", "a", "b"), "u?a=b");
        assert_eq!(with_parameter("u?x=1", "a", "b"), "u?x=1&a=b");
    }
}
