//! As much of DER as two forms of a P-256 key take: those have fixed bytes before the point.

/// `SEQUENCE { SEQUENCE { ecPublicKey, prime256v1 }, BIT STRING` (RFC 5480) of a point of 65 bytes.
const SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const POINT_BYTES: usize = 65;

/// The uncompressed point of a public key on P-256; none for any other key.
pub fn point(spki: &[u8]) -> Option<&[u8]> {
    let point = spki.strip_prefix(&SPKI)?;
    (point.len() == POINT_BYTES && point[0] == 4).then_some(point)
}

/// The public key of a point.
pub fn spki(point: &[u8]) -> Vec<u8> {
    [&SPKI, point].concat()
}
