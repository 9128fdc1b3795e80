//! Frames of an attached client.

use std::io::{self, Read};

/// What a frame holds at most.
pub const FRAME_BYTES_MAX: usize = 64 << 10;
pub const HEAD_BYTES: usize = 5;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    End(u8),
    Input(Vec<u8>),
    Size { rows: u16, columns: u16 },
}

/// The bytes of a frame with this kind and content.
pub fn bytes(kind: u8, content: &[u8]) -> Vec<u8> {
    debug_assert!(content.len() <= FRAME_BYTES_MAX);
    let length = (content.len() as u32).to_be_bytes();
    [&[kind], &length[..], content].concat()
}

impl Frame {
    /// As it goes over the connection.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Stdout(content) => bytes(1, content),
            Self::Stderr(content) => bytes(2, content),
            Self::End(code) => bytes(3, &[*code]),
            Self::Input(content) => bytes(16, content),
            Self::Size { rows, columns } => {
                bytes(17, &[rows.to_be_bytes(), columns.to_be_bytes()].concat())
            }
        }
    }

    fn decode(kind: u8, content: Vec<u8>) -> Option<Self> {
        match (kind, &content[..]) {
            (1, _) => Some(Self::Stdout(content)),
            (2, _) => Some(Self::Stderr(content)),
            (3, &[code]) => Some(Self::End(code)),
            (16, _) => Some(Self::Input(content)),
            (17, &[a, b, c, d]) => Some(Self::Size {
                rows: u16::from_be_bytes([a, b]),
                columns: u16::from_be_bytes([c, d]),
            }),
            _ => None,
        }
    }

    /// The next frame; none at the end of the connection. What is no frame is an error.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut head = [0; HEAD_BYTES];
        match from.read_exact(&mut head) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            done => done?,
        }
        let [kind, length @ ..] = head;
        let length = u32::from_be_bytes(length) as usize;
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "it is not a frame");
        if length > FRAME_BYTES_MAX {
            return Err(invalid());
        }
        let mut content = vec![0; length];
        from.read_exact(&mut content)?;
        Self::decode(kind, content).map(Some).ok_or_else(invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in() {
        let all = [
            Frame::Stdout(b"out".to_vec()),
            Frame::Stderr(Vec::new()),
            Frame::Input(vec![0, 255]),
            Frame::Size {
                rows: 24,
                columns: 300,
            },
            Frame::End(137),
        ];
        let stream: Vec<u8> = all.iter().flat_map(Frame::encode).collect();
        let mut from = &stream[..];
        for frame in &all {
            assert_eq!(Frame::read(&mut from).unwrap().as_ref(), Some(frame));
        }
        assert_eq!(Frame::read(&mut from).unwrap(), None);
        assert_eq!(bytes(1, b"x"), [1, 0, 0, 0, 1, b'x']);
    }

    #[test]
    fn what_is_no_frame_is_refused_before_it_takes_memory() {
        for bad in [
            &[1, 255, 255, 255, 255][..],
            &[1, 0, 1, 0, 1],
            &[9, 0, 0, 0, 0],
            &[3, 0, 0, 0, 2, 1, 1],
            &[17, 0, 0, 0, 0],
            &[1, 0, 0, 0, 9, 1],
        ] {
            assert!(Frame::read(&mut &bad[..]).is_err(), "{bad:?}");
        }
    }
}
