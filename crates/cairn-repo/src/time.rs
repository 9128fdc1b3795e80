//! Time for documents and tables.

/// Seconds since 1970.
pub fn now_secs() -> i64 {
    cairn_model::clock::timestamp().secs
}

/// Now, as image documents have it (RFC 3339, UTC).
pub fn rfc3339_now() -> String {
    rfc3339(now_secs())
}

/// A moment as RFC 3339 in UTC.
pub fn rfc3339(secs: i64) -> String {
    cairn_model::clock::rfc3339(secs)
}
