//! Checks of what comes before any call: PROXY headers. See the root crate's `fuzzing`.

use crate::proxied::parse;

/// A PROXY header: whatever it is, it is read or not, and no longer one names a client that a shorter one does not.
pub fn check_proxy_header(bytes: &[u8]) {
    if let Some(client) = parse(bytes) {
        // Both versions say how long they are.
        assert_eq!(parse(&[bytes, b"x"].concat()), None, "{client:?}");
        assert_eq!(parse(&bytes[..bytes.len() - 1]), None, "{client:?}");
    }
}

/// Headers of both versions.
pub fn proxy_header_seeds() -> Vec<Vec<u8>> {
    let v2 = |rest: &[u8]| [&b"\r\n\r\n\0\r\nQUIT\n"[..], rest].concat();
    vec![
        v2(b"\x20\0\0\0"),
        v2(b"\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\xdc\x04\x01\xbb"),
        v2(b"\x21\x11\0\x10\xc0\0\x02\x01\xc0\0\x02\x02\xdc\x04\x01\xbb\x04\0\x01\x07"),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n".to_vec(),
        b"PROXY UNKNOWN\r\n".to_vec(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_comes_near_the_seeds_passes() {
        let seeds = proxy_header_seeds();
        seeds.iter().for_each(|seed| assert!(parse(seed).is_some()));
        tidings_testing::bytes::throw(&seeds, check_proxy_header);
    }
}
