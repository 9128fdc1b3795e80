//! Pax extended header records (POSIX.1-2017, pax, "pax Extended Header"): `LENGTH KEY=VALUE\n`.

/// Records of one header; honest ones have a dozen, and one for each extended attribute.
const KEYS_MAX: usize = 512;

/// The records of a header; `None` where it is malformed. Values may hold any byte.
pub fn parse(mut bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut out = Vec::new();
    let mut keys = 0;
    while !bytes.is_empty() {
        let space = bytes.iter().take(21).position(|b| *b == b' ')?;
        let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
        let record = bytes.get(space + 1..length)?;
        let (newline, record) = record.split_last()?;
        let equals = record.iter().position(|b| *b == b'=')?;
        if *newline != b'\n' || equals == 0 {
            return None;
        }
        // Only a sparse map repeats its keys, once for each run of data.
        keys += usize::from(!record.starts_with(b"GNU.sparse."));
        if keys > KEYS_MAX {
            return None;
        }
        out.push((&record[..equals], &record[equals + 1..]));
        bytes = &bytes[length..];
    }
    Some(out)
}

/// Appends one record.
pub fn push(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(format!("{length} ").as_bytes());
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_round_trip(records in prop::collection::vec(("[a-z.]{1,120}", prop::collection::vec(any::<u8>(), 0..1200)), 0..5)) {
            let mut bytes = Vec::new();
            for (key, value) in &records {
                push(&mut bytes, key.as_bytes(), value);
            }
            let parsed = parse(&bytes).unwrap();
            prop_assert_eq!(parsed.len(), records.len());
            for ((key, value), (k, v)) in records.iter().zip(parsed) {
                prop_assert_eq!((key.as_bytes(), &value[..]), (k, v));
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in [
            "5",
            "3 a",
            "6 a=b",
            "9999 a=b\n",
            "6 ab\n\n",
            "5 =b\n",
            "x a=b\n",
            "18446744073709551616 a=b\n",
        ] {
            assert!(parse(bad.as_bytes()).is_none(), "{bad:?}");
        }
    }
}
