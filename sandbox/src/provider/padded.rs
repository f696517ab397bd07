//! Pictures of one size in bytes, drawn once and then handed out as they are: so that a measurement has images of a known size and the
//! stand-in costs next to nothing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};

/// What a JPEG comment may hold. (ITU-T T.81, B.2.4.5: two bytes of length that count themselves)
const COMMENT_BYTES: usize = 65_533;

/// By place in the call, edges and size.
type Key = (u32, u32, u32, usize);

/// Those drawn so far.
#[derive(Debug, Default)]
pub(super) struct Padded(Mutex<HashMap<Key, Bytes>>);

impl Padded {
    pub(super) fn get(&self, key: Key) -> Option<Bytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    /// Pads a JPEG to `key`'s size with comments behind its first marker, which every reader skips. One that is larger stays as it is.
    pub(super) fn put(&self, key: Key, jpeg: &[u8]) -> Bytes {
        let (start, rest) = jpeg.split_at(2.min(jpeg.len()));
        let mut padded = BytesMut::from(start);
        let mut missing = key.3.saturating_sub(jpeg.len());
        while missing > 4 {
            let comment = (missing - 4).min(COMMENT_BYTES);
            padded.put_slice(&[0xff, 0xfe]);
            padded.put_u16(comment as u16 + 2);
            padded.put_bytes(b' ', comment);
            missing -= comment + 4;
        }
        padded.put_slice(rest);
        let padded = padded.freeze();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, padded.clone());
        padded
    }
}
