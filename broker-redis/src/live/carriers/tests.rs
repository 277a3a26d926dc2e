use proptest::{collection::btree_set, prelude::*};

use super::*;

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).expect("valid")
}

fn topic(text: &str) -> Topic {
    Topic::Pattern(pattern(text))
}

/// Makes all wanted subscriptions, with every answer at once; the carriers that are left, and those that go.
fn settle(carriers: &mut Carriers) -> Vec<Bytes> {
    let mut gone = Vec::new();
    for (pattern, carrier) in carriers.take_asked() {
        gone.extend(carriers.confirm(&Topic::Pattern(pattern.clone()), &pattern, &carrier).unused);
    }
    gone
}

fn present(carriers: &Carriers) -> BTreeSet<&[u8]> {
    carriers.present.keys().map(|carrier| &carrier[..]).collect()
}

fn with(patterns: &BTreeSet<String>) -> Carriers {
    let mut carriers = Carriers::default();
    patterns.iter().for_each(|text| carriers.insert(pattern(text)));
    settle(&mut carriers);
    carriers
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_pattern_is_covered_by_few_carriers_of_which_one_brings_a_message(
        patterns in btree_set("[abü]{0,6}([*?]|\\[a-b\\])[ab*]{0,3}", 1..300),
        names in btree_set("[abü]{1,9}", 40),
    ) {
        let mut carriers = with(&patterns);
        let present: Vec<Pattern> =
            present(&carriers).iter().map(|carrier| pattern(std::str::from_utf8(carrier).expect("text"))).collect();
        prop_assert!(present.len() <= PATTERN_PREFIXES.max(PATTERNS_APART));
        for name in &names {
            let bring: Vec<_> = present.iter().filter(|carrier| carrier.matches(name)).collect();
            let most = if patterns.len() > PATTERNS_APART { 1 } else { PATTERNS_APART };
            prop_assert!(bring.len() <= most, "{:?} bring {}", bring, name);
            let mut found: Vec<_> = bring
                .iter()
                .flat_map(|carrier| carriers.topics(carrier.as_str().as_bytes(), name.as_bytes()).expect("known").to_vec())
                .collect();
            let mut expected: Vec<_> =
                patterns.iter().filter(|text| pattern(text).matches(name)).map(|text| topic(text)).collect();
            found.sort_by_key(|topic| format!("{topic:?}"));
            expected.sort_by_key(|topic| format!("{topic:?}"));
            prop_assert_eq!(found, expected, "{}", name);
        }
    }
}

#[test]
fn few_patterns_are_as_they_are_and_a_broad_one_covers_others() {
    let carriers = with(&["orders.*", "orders.e?", "o*s", "x[ab]"].map(str::to_owned).into());
    assert_eq!(present(&carriers), BTreeSet::from([&b"orders.*"[..], b"o*s", b"x[ab]"]));
}

#[test]
fn a_pattern_goes_over_to_another_carrier_at_its_confirmation() {
    let few: BTreeSet<String> = (0..PATTERNS_APART).map(|n| format!("a.*{n}")).collect();
    let mut carriers = with(&few);
    assert_eq!(carriers.present.len(), PATTERNS_APART);
    carriers.insert(pattern("a.b*"));
    let asked = carriers.take_asked();
    assert_eq!(asked.len(), PATTERNS_APART + 1, "all of them come through another one");
    let brings = |carriers: &mut Carriers, carrier: &str| {
        carriers.topics(carrier.as_bytes(), b"a.x0").map_or(0, |topics| topics.len())
    };
    assert_eq!((brings(&mut carriers, "a.*0"), brings(&mut carriers, "a.*")), (1, 0), "nothing is confirmed yet");
    for (pattern, carrier) in asked {
        assert_eq!(carrier, "a.*");
        let before = carriers.patterns[&pattern].present.clone();
        let confirmed = carriers.confirm(&Topic::Pattern(pattern.clone()), &pattern, &carrier);
        assert_eq!(confirmed, Confirmed { is_asked: pattern.as_str() == "a.b*", unused: before });
    }
    assert_eq!((brings(&mut carriers, "a.*0"), brings(&mut carriers, "a.*")), (0, 1));
    // It goes back when there are few.
    assert_eq!(carriers.remove(&pattern("a.b*")), Vec::<Bytes>::new());
    assert_eq!(settle(&mut carriers), ["a.*"]);
    assert_eq!(carriers.present.len(), PATTERNS_APART);
}

#[test]
fn who_may_not_subscribe_to_more_keeps_a_pattern_as_it_is() {
    let mut carriers = Carriers::default();
    (0..=PATTERNS_APART).for_each(|n| carriers.insert(pattern(&format!("a.*{n}"))));
    let (refused, carrier) = carriers.take_asked().remove(0);
    assert!(carriers.was_refused(&refused, &carrier));
    let again = carriers.take_asked();
    assert!(again.contains(&(refused.clone(), own(&refused))), "{again:?}");
    assert!(!carriers.was_refused(&refused, &own(&refused)), "there is no other way");
}

#[test]
fn a_new_session_asks_for_all_of_them() {
    let mut carriers = with(&["a*".to_owned(), "b*".to_owned()].into());
    assert!(carriers.take_asked().is_empty());
    carriers.begin();
    assert!(carriers.topics(b"a*", b"a").is_none());
    let asked = carriers.take_asked();
    assert_eq!(asked.len(), 2);
    assert!(carriers.confirm(&topic("a*"), &pattern("a*"), &own(&pattern("a*"))).is_asked);
    assert_eq!(carriers.remove(&pattern("b*")), [own(&pattern("b*"))]);
    let late = carriers.confirm(&topic("b*"), &pattern("b*"), &own(&pattern("b*")));
    assert_eq!(late, Confirmed { is_asked: false, unused: Some(own(&pattern("b*"))) });
}
