use super::*;

/// A header of version 2.
fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let length = u16::try_from(addresses.len()).expect("short").to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, addresses].concat()
}

const FOUR: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 4, 1, 0xbb];

fn address(text: &str) -> Option<Option<SocketAddr>> {
    Some(Some(text.parse().expect("an address")))
}

#[test]
fn networks_contain_what_begins_like_them() {
    let contains = |network: &str, address: &str| {
        let network: Network = network.parse().expect("a network");
        network.contains(address.parse().expect("an address"))
    };
    assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.1"));
    assert!(contains("10.0.0.0/8", "::ffff:10.1.2.3"), "an IPv4 address on a listener of IPv6");
    assert!(contains("192.0.2.7", "192.0.2.7") && !contains("192.0.2.7", "192.0.2.6"));
    assert!(contains("0.0.0.0/0", "203.0.113.9") && !contains("0.0.0.0/0", "2001:db8::1"));
    assert!(contains("::/0", "2001:db8::1") && !contains("::/0", "203.0.113.9"));
    assert!(contains("fd00::/8", "fd12::1") && !contains("fd00::/8", "fe80::1"));
    for bad in ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0/8", "10.0.0.0/-1", "example.com", "10.0.0.0/8/8"] {
        assert_eq!(bad.parse::<Network>(), Err(InvalidNetwork), "{bad}");
    }
}

#[test]
fn headers_name_their_client_or_nobody() {
    let six = "2001:db8::1".parse::<Ipv6Addr>().expect("an address").octets();
    let six = [&six[..], &six, &[0xdc, 4, 1, 0xbb]].concat();
    for (header, expected) in [
        (v2(0x21, 0x11, &FOUR), address("192.0.2.1:56324")),
        // Behind the addresses stands more (TLV).
        (v2(0x21, 0x11, &[&FOUR[..], &[4, 0, 1, 7]].concat()), address("192.0.2.1:56324")),
        (v2(0x21, 0x21, &six), address("[2001:db8::1]:56324")),
        (v2(0x20, 0x00, &[]), Some(None)),
        (v2(0x21, 0x00, &[]), Some(None)),
        (v2(0x21, 0x31, &[0; 216]), Some(None)),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n".to_vec(), address("192.0.2.1:56324")),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n".to_vec(), address("[2001:db8::1]:56324")),
        (b"PROXY UNKNOWN\r\n".to_vec(), Some(None)),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), Some(None)),
        (v2(0x11, 0x11, &FOUR), None),
        (v2(0x22, 0x11, &FOUR), None),
        (v2(0x21, 0x11, &FOUR[..11]), None),
        (v2(0x21, 0x21, &six[..35]), None),
        (v2(0x21, 0x41, &six), None),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\n".to_vec(), None),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n".to_vec(), None),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443 \r\n".to_vec(), None),
        (b"PROXY TCP4 2001:db8::1 192.0.2.2 56324 443\r\n".to_vec(), None),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 443\r\n".to_vec(), None),
        (b"PRI * HTTP/2.0\r\n".to_vec(), None),
        (Vec::new(), None),
    ] {
        assert_eq!(parse(&header), expected, "{}", String::from_utf8_lossy(&header));
    }
}

#[tokio::test]
async fn a_header_is_read_and_nothing_behind_it() {
    for header in [v2(0x21, 0x11, &FOUR), b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n".to_vec()] {
        let all = [&header[..], b"PRI * HTTP/2.0"].concat();
        let mut rest = &all[..];
        let read = read_header(&mut rest).await.expect("a header");
        assert_eq!((Some(read), rest), (address("192.0.2.1:56324"), &b"PRI * HTTP/2.0"[..]));
        for length in 0..header.len() {
            read_header(&mut &header[..length]).await.expect_err("it is cut off");
        }
    }
    let endless = [&b"PROXY TCP4 "[..], &[b'1'; 4096]].concat();
    let mut rest = &endless[..];
    read_header(&mut rest).await.expect_err("too long");
    assert!(rest.len() > 3_000, "it is not read to its end");
    let long = [&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff], &[0; 70_000]].concat();
    let mut rest = &long[..];
    read_header(&mut rest).await.expect_err("too long");
    assert_eq!(rest.len(), 70_000);
}
