use std::time::Duration;

use rcgen::{CertificateParams, DnType, KeyPair, SanType};

use super::*;

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("ASCII"))
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().expect("ASCII"))
}

fn read(names: &[SanType]) -> Result<String, Unnamed> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "admin");
    params.subject_alt_names = names.to_vec();
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    ClientCertificate::read(certificate.der()).map(|certificate| certificate.name().to_owned())
}

#[test]
fn exactly_one_name_makes_a_caller() {
    let workload = "spiffe://prod.example/ns/shop/sa/orders";
    let mail = SanType::Rfc822Name("a@example.com".try_into().expect("ASCII"));
    let address = SanType::IpAddress([127, 0, 0, 1].into());
    for (names, expected) in [
        (vec![uri(workload)], Ok(workload)),
        // Workloads may have DNS names as well, as many as they like.
        (vec![dns("a.example"), uri(workload), dns("b.example")], Ok(workload)),
        (vec![dns("Orders.Example")], Ok("orders.example")),
        (vec![dns("orders_1")], Ok("orders_1")),
        (vec![uri("https://a.example"), mail.clone(), address.clone(), dns("a.example")], Ok("a.example")),
        (vec![], Err(Unnamed::Nobody)),
        (vec![mail, address, uri("https://a.example")], Err(Unnamed::Nobody)),
        (vec![dns("a.example"), dns("b.example")], Err(Unnamed::Several)),
        (vec![dns("a.example"), dns("a.example")], Err(Unnamed::Several)),
        (vec![uri(workload), uri(workload)], Err(Unnamed::Several)),
        (vec![uri(workload), uri("https://a.example")], Err(Unnamed::Several)),
        (vec![uri(workload), uri("SPIFFE://other.example/a"), dns("a.example")], Err(Unnamed::Several)),
        (vec![dns("*.example")], Err(Unnamed::Odd)),
        (vec![dns("a b")], Err(Unnamed::Odd)),
        // An invalid SPIFFE ID is not passed over for the DNS name.
        (vec![uri("spiffe://prod.example"), dns("a.example")], Err(Unnamed::Odd)),
        (vec![uri("SPIFFE://prod.example/a")], Err(Unnamed::Odd)),
        (vec![uri("spiffe://prod.example/a/../b")], Err(Unnamed::Odd)),
    ] {
        assert_eq!(read(&names), expected.map(str::to_owned), "{names:?}");
    }
}

#[test]
fn names_are_written_in_one_way() {
    for id in ["spiffe://a/b", "spiffe://prod.example/ns/shop/sa/orders-1_2.x"] {
        assert!(is_spiffe_id(id), "{id}");
    }
    let long = format!("spiffe://a/{}", "b".repeat(SUBJECT_BYTES));
    for no in [
        "spiffe://",
        "spiffe:///a",
        "spiffe://a",
        "spiffe://a/",
        "spiffe://A/b",
        "spiffe://a/b/",
        "spiffe://a//b",
        "spiffe://a/./b",
        "spiffe://a/%62",
        "spiffe://a:1/b",
        "spiffe://a@b/c",
        "spiffe://a/b?c",
        "spiffe://a/*",
        &long,
    ] {
        assert!(!is_spiffe_id(no), "{no}");
    }
    assert!(is_spiffe_prefix("spiffe://a/") && is_spiffe_prefix("spiffe://a/b/"));
    for no in ["spiffe://", "spiffe://a", "spiffe://a/b", "spiffe://a//", "spiffe:///"] {
        assert!(!is_spiffe_prefix(no), "{no}");
    }
    for host in ["a", "a.b-c.example", "1.example", &["a".repeat(63), "b".repeat(63)].join(".")] {
        assert!(is_host_name(host), "{host}");
    }
    for no in ["", ".", "a.", ".a", "a..b", "-a", "a-", "*.a", "a b", "a/b", "spiffe://a/b", &"a".repeat(64)] {
        assert!(!is_host_name(no), "{no}");
    }
}

#[test]
fn its_end_is_read() {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["a.example".to_owned()]).expect("a name");
    params.not_after = rcgen::date_time_ymd(2031, 2, 3);
    let certificate = params.self_signed(&key).expect("a certificate");
    let read = ClientCertificate::read(certificate.der()).expect("a name");
    // 2031-02-03T00:00:00Z
    assert_eq!(read.expiry(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_927_843_200));
    assert_eq!(ClientCertificate::read(b"no certificate"), Err(Unnamed::Unreadable));
    let der = certificate.der();
    for length in 0..der.len() {
        assert_eq!(ClientCertificate::read(&der[..length]), Err(Unnamed::Unreadable), "{length}");
    }
}
