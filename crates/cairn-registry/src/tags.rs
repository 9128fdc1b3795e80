//! All tags of a repository.

use serde::Deserialize;
use ureq::http::Uri;
use ureq::http::header::LINK;

use crate::client::Client;
use crate::error::{Failure, Result};
use crate::http::Question;
use crate::url::{Origin, redirected};

const PAGE_BYTES_MAX: u64 = 4 << 20;
const PAGES_MAX: usize = 1000;
const TAGS_MAX: usize = 100_000;

#[derive(Deserialize)]
struct Page {
    /// Null where there are none.
    tags: Option<Vec<String>>,
}

impl Client {
    /// The tags of the repository, page after page.
    pub fn tags(&self) -> Result<Vec<String>> {
        let mut out = Vec::new();
        let mut next = Some(None);
        for _ in 0..PAGES_MAX {
            let Some(at) = next else { return Ok(out) };
            let (page, following) = self.page(at.as_ref())?;
            out.extend(page);
            if out.len() > TAGS_MAX {
                break;
            }
            next = following.map(Some);
        }
        let why = format!("the registry lists more than {TAGS_MAX} tags or {PAGES_MAX} pages");
        Err(Failure::wrong(why).of("list of tags", &self.name()))
    }

    /// One page, and where the next one is.
    fn page(&self, at: Option<&Uri>) -> Result<(Vec<String>, Option<Uri>)> {
        self.insist("list of tags", || {
            let start = self.address("tags/list")?;
            let address = at.cloned().unwrap_or_else(|| start.clone());
            let mut answer = self.get(address, &mut Question::get)?;
            let link = answer.header(LINK).and_then(next_of).map(str::to_owned);
            let from = answer.uri.clone();
            let bytes = answer.read(PAGE_BYTES_MAX)?;
            let page: Page = serde_json::from_slice(&bytes)
                .map_err(|_| Failure::wrong("the registry sends no list of tags"))?;
            let next = link.map(|link| redirected(&from, &link)).transpose();
            let next = next.map_err(|why| Failure::wrong(format!("the registry sends {why}")))?;
            // Another host has no say in what tags there are.
            let next = next.filter(|next| Origin::of(next) == Origin::of(&start));
            Ok((page.tags.unwrap_or_default(), next))
        })
    }
}

/// The address of the next page in a `Link` header.
fn next_of(header: &str) -> Option<&str> {
    let mut links = header.split(',').filter_map(|link| {
        let (address, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
        let next = rest.split(';').any(|part| {
            let part = part.trim().replace('"', "");
            part.eq_ignore_ascii_case("rel=next")
        });
        next.then_some(address)
    });
    links.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_the_link_that_says_so() {
        for (header, expected) in [
            (
                "</v2/a/tags/list?n=2&last=b>; rel=\"next\"",
                Some("/v2/a/tags/list?n=2&last=b"),
            ),
            ("<x>; rel=next", Some("x")),
            ("<y>; rel=\"prev\", <x>; rel=\"next\"", Some("x")),
            ("<y>; rel=\"prev\"", None),
            ("", None),
            ("<x", None),
            ("x; rel=next", None),
        ] {
            assert_eq!(next_of(header), expected, "{header}");
        }
    }
}
