//! `WWW-Authenticate`: what a registry wants to see before it answers (RFC 9110, 11.6.1).

/// One way that a registry takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token, which is to be had at `realm`.
    Bearer {
        /// Address of the service that gives tokens.
        realm: String,
        /// What the registry is called there.
        service: Option<String>,
    },
}

/// Longest header looked at.
const BYTES_MAX: usize = 8 << 10;

/// The ways that a header names; those that are unknown here are left out.
pub(crate) fn parse(header: &str) -> Vec<Challenge> {
    let mut out = Vec::new();
    let mut rest = header.get(..BYTES_MAX).unwrap_or(header).trim_start();
    while let Some((scheme, after)) = word(rest) {
        let (parameters, after) = parameters(after);
        let value = |name: &str| {
            let found = parameters
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name));
            found
                .map(|(_, value)| value.clone())
                .filter(|value| !value.is_empty())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            out.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = value("realm")
        {
            let service = value("service");
            out.push(Challenge::Bearer { realm, service });
        }
        rest = after.trim_start_matches([',', ' ', '\t']);
    }
    out
}

/// A token at the start, and what follows it.
fn word(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && !"!#$%&'*+-.^_`|~".contains(c))
        .unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// `name=value` pairs with commas between them, up to where the next scheme begins.
fn parameters(mut text: &str) -> (Vec<(String, String)>, &str) {
    let mut out = Vec::new();
    loop {
        let start = text.trim_start_matches([',', ' ', '\t']);
        let Some((name, after)) = word(start) else {
            return (out, "");
        };
        let Some(after) = after.trim_start().strip_prefix('=') else {
            // A word without a value is a scheme.
            return (out, start);
        };
        let Some((value, after)) = value(after.trim_start()) else {
            return (out, "");
        };
        out.push((name.to_owned(), value));
        text = after;
    }
}

/// A token or a quoted string, and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, after) = text.split_at(end);
        return Some((value.to_owned(), after));
    };
    let mut out = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, &quoted[at + 1..])),
            '\\' => out.push(chars.next()?.1),
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_of_every_spelling_are_understood() {
        let bearer = |realm: &str, service: Option<&str>| Challenge::Bearer {
            realm: realm.into(),
            service: service.map(Into::into),
        };
        for (header, expected) in [
            (
                r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull""#,
                vec![bearer(
                    "https://auth.example/token",
                    Some("registry.example"),
                )],
            ),
            (
                r#"bearer Realm=https://a/t , service="""#,
                vec![bearer("https://a/t", None)],
            ),
            (r#"Basic realm="a, b""#, vec![Challenge::Basic]),
            ("Basic", vec![Challenge::Basic]),
            (
                r#"Basic realm="x", Bearer realm="https://a/t",service="s\"q""#,
                vec![Challenge::Basic, bearer("https://a/t", Some("s\"q"))],
            ),
            ("Negotiate, Basic realm=x", vec![Challenge::Basic]),
            (r#"Digest realm="x", nonce="y""#, vec![]),
            ("Bearer", vec![]),
            (r#"Bearer realm="unfinished"#, vec![]),
            (r#"Bearer realm="a\"#, vec![]),
            ("", vec![]),
            (",,,", vec![]),
            ("=\"", vec![]),
        ] {
            assert_eq!(parse(header), expected, "{header}");
        }
        assert!(parse(&"Basic, ".repeat(1 << 16)).len() < BYTES_MAX);
        assert!(parse(&"ü".repeat(1 << 16)).is_empty());
    }
}
