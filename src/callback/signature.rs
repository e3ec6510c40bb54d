//! How a call says who makes it: HMAC-SHA256 over time, id and body, in one header field. Pure.

use http::HeaderName;

use crate::tokens::{hex, hmac_sha256};

/// `t=<seconds since 1970>,v1=<64 hexadecimal digits>`.
pub const SIGNATURE: HeaderName = HeaderName::from_static("x-agentainer-signature");

/// The field's value: over `<seconds>.<id>.<body>`, with the key's text as the key. The time is within it so that a call that
/// somebody overheard cannot be played again for ever, the id so that a body cannot be another's.
pub fn signature(key: &str, seconds: i64, id: &str, body: &[u8]) -> String {
    let head = format!("{seconds}.{id}.");
    let mac = hmac_sha256(key.as_bytes(), &[head.as_bytes(), body]);
    format!("t={seconds},v1={}", hex(&mac))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_others_compute() {
        // printf '%s' '1700000000.abc.{"a":1}' | openssl dgst -sha256 -hmac key
        assert_eq!(
            signature("key", 1_700_000_000, "abc", br#"{"a":1}"#),
            "t=1700000000,v1=039e5c5d2fe6e98904cca912071db730c1bd86b8db56563ad0db420d89d4b4f3"
        );
    }

    #[test]
    fn each_part_is_signed() {
        let whole = signature("key", 1, "ab", b"c");
        for other in [
            signature("kez", 1, "ab", b"c"),
            signature("key", 2, "ab", b"c"),
            signature("key", 1, "a", b"bc"),
            signature("key", 1, "ab", b"d"),
        ] {
            assert_ne!(whole, other);
        }
    }
}
