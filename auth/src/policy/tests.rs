use super::*;

const TEXT: &str = r#"
anonymous = ["visitor"]

[roles.visitor]
subscribe = ["news.*"]

[roles.clerk]
publish = [
    "orders.*",
    "audit",
]
subscribe = ["orders.*"]

[subjects]
"alice" = ["clerk"]

[groups]
"sales" = ["clerk", "visitor"]

[certificates]
"spiffe://prod.example/ns/shop/*" = ["clerk"]
"Reader.Example" = ["visitor"]
"*" = []
"#;

fn named(subject: &str, groups: &[&str]) -> Identity {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    Identity { subject: Some(subject.to_owned()), groups, certificate: None }
}

fn with_certificate(name: &str) -> Identity {
    Identity { certificate: Some(name.to_owned()), ..Identity::default() }
}

#[test]
fn roles_come_by_name_and_by_group() {
    let policy = Policy::parse(TEXT).expect("a policy");
    let may = |named: &Identity, verb, channel| policy.rights(named).covers(verb, channel);
    let alice = named("alice", &[]);
    assert!(may(&alice, Verb::Publish, "orders.eu") && may(&alice, Verb::Publish, "audit"));
    assert!(may(&alice, Verb::Subscribe, "orders.eu") && !may(&alice, Verb::Subscribe, "news.a"));
    assert!(may(&named("bob", &["x", "sales"]), Verb::Subscribe, "news.a"));
    for nobody in [named("bob", &[]), named("sales", &["alice"]), named("", &[]), named("Alice", &["Sales"])] {
        assert!(policy.rights(&nobody).is_empty(), "{nobody:?}");
    }
    let anonymous = Identity::default();
    assert!(may(&anonymous, Verb::Subscribe, "news.a") && !may(&anonymous, Verb::Publish, "news.a"));
    assert!(policy.has_anonymous());
}

#[test]
fn a_role_grants_each_verb_by_its_own_list() {
    for granted in Verb::ALL {
        let text = format!("[roles.a]\n{granted} = [\n\"x\",\n\"mail.*\"]\n[subjects]\nalice = [\"a\"]");
        let (policy, alice) = (Policy::parse(&text).expect("a policy"), named("alice", &[]));
        for verb in Verb::ALL {
            assert_eq!(policy.rights(&alice).covers(verb, "mail.eu"), verb == granted, "{granted} {verb}");
            let expected = match verb == granted {
                true => "yes: line 4, mail.* in role a",
                false => "no: nothing in the roles of the token grants it (a)",
            };
            assert_eq!(policy.decide(&alice, verb, "mail.eu").to_string(), expected, "{granted} {verb}");
            assert!(!policy.rights(&alice).covers(verb, "mail"), "{granted} {verb}");
        }
    }
}

#[test]
fn a_token_over_a_certificate_consumes_what_both_may() {
    let text = "[roles.mail]\nconsume = [\"mail.*\"]\nmanage = [\"*\"]\n[roles.eu]\nconsume = [\"mail.eu\"]\n\
                subscribe = [\"*\"]\n[subjects]\nalice = [\"mail\"]\n[certificates]\n\"a.example\" = [\"eu\"]";
    let policy = Policy::parse(text).expect("a policy");
    let alice = Identity { certificate: Some("a.example".to_owned()), ..named("alice", &[]) };
    let rights = policy.rights(&alice);
    assert!(rights.covers(Verb::Consume, "mail.eu") && !rights.covers(Verb::Consume, "mail.us"));
    assert!(!rights.covers(Verb::Manage, "mail.eu") && !rights.covers(Verb::Subscribe, "mail.eu"));
}

#[test]
fn certificates_have_roles_by_their_whole_names_and_by_the_beginnings_of_paths() {
    let policy = Policy::parse(TEXT).expect("a policy");
    let may = |name: &str, verb, channel| policy.rights(&with_certificate(name)).covers(verb, channel);
    for name in ["spiffe://prod.example/ns/shop/a", "spiffe://prod.example/ns/shop/a/b"] {
        assert!(may(name, Verb::Publish, "orders.eu") && !may(name, Verb::Subscribe, "news.a"), "{name}");
    }
    assert!(may("reader.example", Verb::Subscribe, "news.a"));
    for name in [
        "spiffe://prod.example/ns/shop",
        "spiffe://prod.example/ns/shopping/a",
        "spiffe://prod.example.org/ns/shop/a",
        "a.reader.example",
        "example",
        "alice",
        "sales",
    ] {
        assert!(policy.rights(&with_certificate(name)).is_empty(), "{name}");
    }
    let all = Policy::parse("[roles.a]\nmanage = [\"*\"]\n[certificates]\n\"*\" = [\"a\"]").expect("a policy");
    for name in ["spiffe://prod.example/a", "a.example"] {
        assert!(all.rights(&with_certificate(name)).covers(Verb::Manage, "x"), "{name}");
    }
    assert!(all.rights(&named("alice", &[])).is_empty(), "a token is no certificate");
}

#[test]
fn a_token_over_a_certificate_may_do_what_both_may() {
    let policy = Policy::parse(TEXT).expect("a policy");
    let both = |subject: &str, groups: &[&str], name: &str| Identity {
        certificate: Some(name.to_owned()),
        ..named(subject, groups)
    };
    let workload = "spiffe://prod.example/ns/shop/a";
    let rights = policy.rights(&both("bob", &["sales"], workload));
    assert!(rights.covers(Verb::Publish, "orders.eu") && !rights.covers(Verb::Subscribe, "news.a"));
    let rights = policy.rights(&both("bob", &["sales"], "reader.example"));
    assert!(!rights.covers(Verb::Publish, "orders.eu") && rights.covers(Verb::Subscribe, "news.a"));
    for nobody in
        [both("bob", &[], workload), both("alice", &[], "other.example"), both("alice", &[], "reader.example")]
    {
        assert!(policy.rights(&nobody).is_empty(), "{nobody:?}");
    }
    let decide = |identity: &Identity, channel| policy.decide(identity, Verb::Publish, channel).to_string();
    assert_eq!(
        decide(&both("alice", &[], workload), "audit"),
        "yes: line 10, audit in role clerk of the token, and line 10, audit in role clerk of the certificate"
    );
    assert_eq!(decide(&both("alice", &[], "x.example"), "audit"), "no: the certificate has no role");
    assert_eq!(decide(&both("bob", &[], workload), "audit"), "no: the token has no role");
    assert_eq!(
        decide(&both("alice", &[], "reader.example"), "audit"),
        "no: nothing in the roles of the certificate grants it (visitor)"
    );
    assert_eq!(decide(&with_certificate(workload), "audit"), "yes: line 10, audit in role clerk");
}

#[test]
fn what_is_no_policy_is_not_repeated() {
    for text in [
        "roles = \"s3cret\"",
        "s3cret",
        "anonymous = [\"a\"]\n\"s3cret",
        "[roles.a]\npublish = \"s3\\\"cret\"",
        "s3cret = 1",
        "'s3`, expected cret' = 1",
        "[roles.a]\ns3cret = [1]",
        "roles.s3cret = 1\nroles.s3cret = 2",
        "[roles]\n\"a`s3\\\"cret\" = 5",
        "anonymous = [ 3733 s3cret ]",
        "s3cret",
    ] {
        let error = Policy::parse(text).expect_err("no policy").to_string();
        assert!(error.starts_with("line ") && !error.contains("s3") && !error.contains("cret"), "{error}");
    }
}

#[test]
fn an_empty_policy_grants_nothing() {
    let policy = Policy::parse("").expect("a policy");
    assert!(policy.rights(&named("alice", &["sales"])).is_empty() && policy.rights(&Identity::default()).is_empty());
    assert!(!policy.has_anonymous());
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    for (text, words) in [
        ("[roles.a]\npublish = [\"a*b\"]", "line 2"),
        ("[roles.a]\npublish = [\n\"ok\",\n\"\"]", "line 4"),
        ("[roles.a]\n[subjects]\n\"x\" = [\"b\"]", "line 3: there is no role \"b\""),
        ("anonymous = [\"b\"]", "line 1"),
        ("[roles.a]\npubish = []", "line 2: unknown field …, expected one of `publish`"),
        ("[role.a]\npublish = []", "line 1: unknown field …, expected one of `roles`"),
        ("[roles.a]\npublish = \"a\"", "line 2"),
        ("[roles.a]\nconsume = \"a\"", "line 2"),
        ("[roles.a]\nconsume = [\"a\", \"a*b\"]", "line 2: \"a*b\" in role \"a\""),
        ("[roles", "line 1"),
        ("[certificates]\n\"a.example\" = [\"b\"]", "line 2: there is no role \"b\""),
        (
            "[certificates]\n\"a.example\" = []\n\"*.example\" = []",
            "line 3: \"*.example\" is the name of no certificate",
        ),
        ("[certificates]\n\"orders.*\" = []", "line 2: \"orders.*\" is the name of no certificate"),
        ("[certificates]\n\"spiffe://a\" = []", "line 2"),
        ("[certificates]\n\"spiffe://a/b*\" = []", "line 2"),
        ("[certificates]\n\"spiffe://a*\" = []", "line 2"),
    ] {
        let error = Policy::parse(text).expect_err(text).to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
}

#[test]
fn a_role_has_as_many_grants_as_are_looked_at() {
    let role = |count: usize| {
        let grants: String = (0..count).map(|n| format!("\"n{n}\",\n")).collect();
        format!(
            "[roles.a]\npublish = [\n{grants}\"n0\",\n]\n[roles.b]\npublish = [\"x\"]\n[subjects]\nalice = [\"a\", \"b\"]\n"
        )
    };
    let error = Policy::parse(&role(GRANTS + 1)).expect_err("too many").to_string();
    assert_eq!(
        error,
        "line 259: role \"a\" has more than 256 grants to publish; have a grant that ends in * cover some"
    );
    // Two roles may have more, and then the answer is that of the service.
    let (policy, alice) = (Policy::parse(&role(GRANTS)).expect("a policy"), named("alice", &[]));
    assert!(!policy.rights(&alice).covers(Verb::Publish, "x"));
    assert_eq!(
        policy.decide(&alice, Verb::Publish, "x").to_string(),
        "no: nothing in the roles of the token grants it (a, b); they have more than 256 grants of a kind, and no more \
         are looked at"
    );
    assert!(policy.decide(&alice, Verb::Publish, "n255").to_string().starts_with("yes: line 258"));
}

#[test]
fn a_decision_names_its_line() {
    let policy = Policy::parse(TEXT).expect("a policy");
    let decide = |subject: Option<&str>, verb, channel| {
        let identity = Identity { subject: subject.map(str::to_owned), ..Identity::default() };
        policy.decide(&identity, verb, channel).to_string()
    };
    assert_eq!(decide(Some("alice"), Verb::Publish, "audit"), "yes: line 10, audit in role clerk");
    assert_eq!(decide(Some("alice"), Verb::Publish, "orders.eu"), "yes: line 9, orders.* in role clerk");
    assert_eq!(decide(Some("alice"), Verb::Manage, "audit"), "no: nothing in the roles of the token grants it (clerk)");
    assert_eq!(decide(Some("bob"), Verb::Publish, "audit"), "no: the token has no role");
    assert_eq!(decide(None, Verb::Subscribe, "news.a"), "yes: line 5, news.* in role visitor");
}

#[test]
fn a_right_is_valid_as_long_as_the_policy_grants_it() {
    let current = Current::new(Policy::parse(TEXT).expect("a policy"));
    let caller = crate::Caller::of_policy(named("alice", &[]), current.clone(), None);
    let changes = caller.changes().expect("a policy can change");
    assert!(caller.rights().covers(Verb::Publish, "audit"));
    current.replace(Policy::default());
    assert!(changes.has_changed().expect("open") && !caller.rights().covers(Verb::Publish, "audit"));
}
