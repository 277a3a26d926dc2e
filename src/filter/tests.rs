//! What is accepted and which messages it matches; what is refused, where, and in which words.

use std::cell::Cell;

use proptest::{prelude::*, sample::select};

use super::{
    fuzzing::{Attributes, check},
    *,
};
use crate::limits::FILTER_TERMS;

fn attributes(pairs: &[(&str, &str)]) -> Attributes {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn refused(text: &str) -> InvalidFilter {
    check(text, &Attributes::new()).expect_err(text)
}

/// A message's attributes.
type Message = &'static [(&'static str, &'static str)];

const NOTHING: Message = &[];

/// A filter, a message that matches, and one that does not.
const ACCEPTED: &[(&str, Message, Message)] = &[
    (r#"attributes.k = "v""#, &[("k", "v")], NOTHING),
    (r#"attributes.k = "v""#, &[("x", "y"), ("k", "v")], &[("k", "V")]),
    (r#"attributes.k = "v""#, &[("k", "v")], &[("K", "v")]),
    (r#"attributes.k = "v""#, &[("k", "v")], &[("k", "vv")]),
    (r#"attributes.k = """#, &[("k", "")], NOTHING),
    (r#"attributes.k != "v""#, &[("k", "w")], &[("k", "v")]),
    (r#"attributes.k != "v""#, NOTHING, &[("k", "v")]),
    ("attributes:k", &[("k", "")], &[("kk", "")]),
    (r#"hasPrefix(attributes.k, "v")"#, &[("k", "vw")], &[("k", "wv")]),
    (r#"hasPrefix(attributes.k, "v")"#, &[("k", "v")], NOTHING),
    (r#"hasPrefix(attributes.k, "")"#, &[("k", "v")], NOTHING),
    // Negation.
    ("NOT attributes:k", NOTHING, &[("k", "v")]),
    ("-attributes:k", NOTHING, &[("k", "v")]),
    ("- attributes:k", NOTHING, &[("k", "v")]),
    ("NOT(attributes:k)", NOTHING, &[("k", "v")]),
    ("NOT-attributes:k", &[("k", "v")], NOTHING),
    ("--attributes:k", &[("k", "v")], NOTHING),
    ("NOT NOT NOT attributes:k", NOTHING, &[("k", "v")]),
    (r#"NOT attributes.k = "v""#, NOTHING, &[("k", "v")]),
    (r#"NOT hasPrefix(attributes.k, "v")"#, NOTHING, &[("k", "v")]),
    // It binds tightest: of the whole, both would be the other way round.
    ("NOT attributes:a AND attributes:b", &[("b", "")], NOTHING),
    ("-attributes:a OR attributes:b", &[("a", ""), ("b", "")], &[("a", "")]),
    ("NOT (attributes:a AND attributes:b)", NOTHING, &[("a", ""), ("b", "")]),
    // Joined.
    ("attributes:a AND attributes:b", &[("a", ""), ("b", "")], &[("a", "")]),
    ("attributes:a AND attributes:b", &[("a", ""), ("b", "")], &[("b", "")]),
    ("attributes:a OR attributes:b", &[("a", "")], NOTHING),
    ("attributes:a OR attributes:b", &[("b", "")], &[("c", "")]),
    ("attributes:a AND attributes:b AND attributes:c", &[("a", ""), ("b", ""), ("c", "")], &[("a", ""), ("b", "")]),
    ("attributes:a OR attributes:b OR attributes:c", &[("c", "")], NOTHING),
    ("attributes:a AND (attributes:b OR attributes:c)", &[("a", ""), ("c", "")], &[("c", "")]),
    ("(attributes:a AND attributes:b) OR attributes:c", &[("c", "")], &[("a", "")]),
    ("((attributes:a))", &[("a", "")], NOTHING),
    // Keys.
    ("attributes:a-b", &[("a-b", "")], &[("a", "")]),
    ("attributes:a-", &[("a-", "")], &[("a", "")]),
    ("attributes:_a_1-Z", &[("_a_1-Z", "")], NOTHING),
    (r#"attributes.a-="v""#, &[("a-", "v")], &[("a", "v")]),
    (r#"attributes:"a key""#, &[("a key", "")], &[("a", "")]),
    (r#"attributes."iana.org/tag" = "en""#, &[("iana.org/tag", "en")], NOTHING),
    (r#"attributes."größe"!="\"""#, &[("größe", "x")], &[("größe", "\"")]),
    (r#"hasPrefix(attributes."1", "v")"#, &[("1", "v")], NOTHING),
    (r#"attributes:"a""#, &[("a", "")], NOTHING),
    // Keywords are keys like others.
    ("attributes:NOT AND attributes:attributes", &[("NOT", ""), ("attributes", "")], NOTHING),
    // Space.
    (" \t\r\nattributes : k\n", &[("k", "")], NOTHING),
    ("attributes\n.\tk\r= \"v\" ", &[("k", "v")], NOTHING),
    (r#"attributes.k="v"OR(attributes:a)OR-attributes:b"#, &[("a", ""), ("b", "")], &[("b", "")]),
    (r#"attributes.k="v"AND-attributes:a"#, &[("k", "v")], &[("k", "v"), ("a", "")]),
    (r#"hasPrefix ( attributes . k , "v" ) "#, &[("k", "v")], NOTHING),
    (r#"hasPrefix(attributes.k,"v")"#, &[("k", "v")], NOTHING),
    // Strings.
    (r#"attributes.k = "\"\\\/\b\f\n\r\t""#, &[("k", "\"\\/\u{8}\u{c}\n\r\t")], NOTHING),
    (r#"attributes.k = "\u00e4\u00E4\u0000""#, &[("k", "ää\0")], NOTHING),
    (r#"attributes.k = "\ud83d\ude00😀""#, &[("k", "😀😀")], NOTHING),
    (r#"attributes.k = "it's AND (more)""#, &[("k", "it's AND (more)")], NOTHING),
    ("attributes.k = \"\u{7f}\u{85}\"", &[("k", "\u{7f}\u{85}")], NOTHING),
];

#[test]
fn messages_match_or_do_not() {
    for (text, matching, other) in ACCEPTED {
        assert_eq!(check(text, &attributes(matching)), Ok(true), "{text} {matching:?}");
        assert_eq!(check(text, &attributes(other)), Ok(false), "{text} {other:?}");
    }
}

const OPERAND: &str = r#"expected attributes, hasPrefix, NOT, "-" or "(""#;
const AT_TOP: &str = "expected AND, OR or the end";
const OPERATOR: &str = r#"expected "=" or "!=""#;
const STRING: &str = "expected a string in double quotes";
const MIXED: &str = "AND and OR are mixed; put parentheses around what belongs together";
const CAPITALS: &str = "AND, OR and NOT are written in capitals";
const SINGLE: &str = "strings are in double quotes, not in single ones";
const ESCAPE: &str = "not an escape of JSON";
const SURROGATE: &str = "half of a surrogate pair";

/// A text, the position, and how the error begins.
const REFUSED: &[(&str, usize, &str)] = &[
    ("", 1, "the filter is empty"),
    (" \t\r\n", 1, "the filter is empty"),
    // Operands.
    ("order", 1, OPERAND),
    (" Attributes:a", 2, OPERAND),
    ("attributes2:a", 1, OPERAND),
    ("(", 2, OPERAND),
    ("()", 2, OPERAND),
    ("attributes:a AND", 17, OPERAND),
    ("attributes:a AND AND attributes:b", 18, OPERAND),
    ("NOT", 4, OPERAND),
    ("NOTattributes:a", 1, OPERAND),
    ("AND attributes:a", 1, OPERAND),
    ("\u{a0}attributes:a", 1, OPERAND),
    ("not attributes:a", 1, CAPITALS),
    ("-(Not attributes:a)", 3, CAPITALS),
    // Between them.
    ("attributes:a attributes:b", 14, AT_TOP),
    ("attributes:a -attributes:b", 14, AT_TOP),
    ("attributes:a NOT attributes:b", 14, AT_TOP),
    ("attributes:a)", 13, AT_TOP),
    ("attributes:a && attributes:b", 14, AT_TOP),
    ("attributes:a ANDattributes:b", 14, AT_TOP),
    ("attributes:a = \"v\"", 14, AT_TOP),
    ("attributes:aAND attributes:b", 17, AT_TOP),
    ("attributes:a and attributes:b", 14, CAPITALS),
    ("attributes:a AND attributes:b Or attributes:c", 31, CAPITALS),
    ("(attributes:a", 14, "expected AND, OR or \")\""),
    ("(attributes:a OR attributes:b attributes:c)", 31, "expected AND, OR or \")\""),
    ("attributes:a AND attributes:b OR attributes:c", 31, MIXED),
    ("attributes:a OR attributes:b AND attributes:c", 30, MIXED),
    ("(attributes:a OR NOT attributes:b AND attributes:c)", 35, MIXED),
    // Comparisons.
    ("attributes", 11, "expected \".\" or \":\""),
    ("attributes = \"v\"", 12, "expected \".\" or \":\""),
    ("attributes.a", 13, OPERATOR),
    ("attributes.a AND attributes:b", 14, OPERATOR),
    ("attributes.a < \"v\"", 14, OPERATOR),
    ("attributes.a: \"v\"", 13, OPERATOR),
    ("attributes.a ! = \"v\"", 14, OPERATOR),
    ("attributes.a == \"v\"", 15, STRING),
    ("attributes.a =", 15, STRING),
    ("attributes.a != v", 17, STRING),
    ("attributes.a = 'v'", 16, SINGLE),
    ("hasPrefix attributes.a", 11, "expected \"(\""),
    ("hasPrefix(a, \"v\")", 11, "expected attributes"),
    ("hasPrefix(attributes:a, \"v\")", 21, "expected \".\""),
    ("hasPrefix(attributes.a)", 23, "expected \",\""),
    ("hasPrefix(attributes.a, v)", 25, STRING),
    ("hasPrefix(attributes.a, 'v')", 25, SINGLE),
    ("hasPrefix(attributes.a, \"v\"", 28, "expected \")\""),
    ("hasprefix(attributes.a, \"v\")", 1, OPERAND),
    // Keys.
    ("attributes:", 12, "expected a key"),
    ("attributes: )", 13, "expected a key"),
    ("attributes.= \"v\"", 12, "expected a key"),
    ("attributes:\"\"", 12, "expected a key"),
    ("attributes.\"\" = \"v\"", 12, "expected a key"),
    ("attributes:'a'", 12, SINGLE),
    ("attributes:1a", 12, "a key with '1' here must be in double quotes"),
    ("attributes:-a", 12, "a key with '-' here must be in double quotes"),
    ("attributes:größe", 14, "a key with 'ö' here must be in double quotes"),
    ("attributes.a.b = \"v\"", 13, "a key with '.' here must be in double quotes"),
    ("hasPrefix(attributes.a/b, \"v\")", 23, "a key with '/' here must be in double quotes"),
    ("attributes:\u{202e}", 12, "a key with '\\u{202e}' here must be in double quotes"),
    // Strings. Positions count characters, not bytes.
    ("attributes.\"ä\" = \"", 18, "the string has no closing double quote"),
    ("attributes:\"a\\\"", 12, "the string has no closing double quote"),
    ("attributes.a = \"ä\\", 18, ESCAPE),
    ("attributes.a = \"\\x41\"", 17, ESCAPE),
    ("attributes.a = \"\\101\"", 17, ESCAPE),
    ("attributes.a = \"\\u12\"", 17, ESCAPE),
    ("attributes.a = \"\\u+123\"", 17, ESCAPE),
    ("attributes.a = \"\\u123ä\"", 17, ESCAPE),
    ("attributes.a = \"\\ud83d\\u12\"", 23, ESCAPE),
    ("attributes.a = \"\\ud83d\"", 17, SURROGATE),
    ("attributes.a = \"\\ude00\"", 17, SURROGATE),
    ("attributes.a = \"\\ude00\\ud83d\"", 17, SURROGATE),
    ("attributes.a = \"\\ud83d\\u0041\"", 17, SURROGATE),
    ("attributes.a = \"a\nb\"", 18, "control characters in a string must be escaped"),
    ("attributes:\"\u{1f}\"", 13, "control characters in a string must be escaped"),
];

#[test]
fn errors_say_where_and_what() {
    for (text, position, beginning) in REFUSED {
        let error = refused(text);
        let shown = error.to_string();
        assert!(shown.starts_with(&format!("at {position}: {beginning}")), "{text:?}: {shown}");
        assert_eq!(error.position, *position);
    }
}

#[test]
fn only_what_belongs_to_a_key_makes_it_need_quotes() {
    for c in "=!<>:,()&|\"'".chars() {
        let error = InvalidFilter { position: 13, problem: Problem::Expected("AND, OR or the end") };
        assert_eq!(refused(&format!("attributes:a{c}b")), error);
    }
    for c in "./~+*?@#$%;[]{}\\^`ä".chars() {
        let error = InvalidFilter { position: 13, problem: Problem::Unquoted(c) };
        assert_eq!(refused(&format!("attributes:a{c}b")), error);
    }
}

#[test]
fn length_is_bounded() {
    let with = |value: String| format!("attributes.a = \"{value}\"");
    let room = FILTER_BYTES - with(String::new()).len();
    let longest = with("v".repeat(room));
    assert_eq!((longest.len(), check(&longest, &Attributes::new())), (FILTER_BYTES, Ok(false)));
    let error = InvalidFilter { position: FILTER_BYTES + 1, problem: Problem::TooLong };
    assert_eq!(refused(&format!("{longest} ")), error);
    assert_eq!(error.to_string(), "at 1025: the filter is longer than 1024 bytes");
    assert_eq!(refused(&" ".repeat(1 << 20)), error);
    // A character that begins within the limit and ends after it is too much.
    let across = "ä".repeat(FILTER_BYTES);
    assert_eq!(refused(&across[..across.len() - 2]).position, FILTER_BYTES / 2 + 1);
    assert_eq!(refused(&format!(" {across}")).position, FILTER_BYTES / 2 + 1);
}

#[test]
fn comparisons_are_bounded_by_the_length() {
    // The shortest ways to write them. The first fits exactly as many as are allowed.
    let ways = [
        ("attributes:a", " OR attributes:a", FILTER_TERMS),
        ("attributes:\"a\"", "OR attributes:\"a\"", 60),
        ("attributes.a=\"\"", "OR attributes.a=\"\"", 57),
        ("hasPrefix(attributes.a,\"\")", "OR hasPrefix(attributes.a,\"\")", 35),
    ];
    for (first, more, most) in ways {
        let with = |count: usize| format!("{first}{}", more.repeat(count - 1));
        let asked = Cell::new(0);
        let is_match = Filter::parse(&with(most)).expect("valid").matches(|_| {
            asked.set(asked.get() + 1);
            None
        });
        // None is true, so each had to be asked for, and none twice.
        assert_eq!((is_match, asked.get()), (false, most));
        assert_eq!(refused(&with(most + 1)).problem, Problem::TooLong);
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth| format!("{}attributes:a{}", "(".repeat(depth), ")".repeat(depth));
    let message = attributes(&[("a", "")]);
    assert_eq!(check(&nested(FILTER_DEPTH), &message), Ok(true));
    let error = InvalidFilter { position: FILTER_DEPTH + 1, problem: Problem::TooDeep };
    assert_eq!(refused(&nested(FILTER_DEPTH + 1)), error);
    assert_eq!(error.to_string(), "at 17: parentheses are nested more than 16 deep");
    assert_eq!(refused(&"(".repeat(FILTER_BYTES)), error);
    // Open at once: those that are closed do not count, nor do those of hasPrefix.
    let deepest = nested(FILTER_DEPTH);
    let prefix = nested(FILTER_DEPTH).replace("attributes:a", "hasPrefix(attributes.a, \"\")");
    assert_eq!(check(&format!("{deepest} AND {prefix}"), &message), Ok(true));
}

#[test]
fn negations_make_no_filter_deeper() {
    let message = attributes(&[("a", "")]);
    let room = FILTER_BYTES - "attributes:a".len();
    assert_eq!(check(&format!("{}attributes:a", "-".repeat(room)), &message), Ok(room.is_multiple_of(2)));
    assert_eq!(check(&format!("{}attributes:a", "NOT ".repeat(room / 4)), &message), Ok((room / 4).is_multiple_of(2)));
}

#[test]
fn filters_are_equal_where_their_texts_are() {
    let read = |text| Filter::parse(text).expect("valid");
    assert_eq!(read("attributes:a"), read("attributes:a"));
    assert_ne!(read("attributes:a"), read("attributes:b"));
    assert_ne!(read("attributes:a"), read("attributes: a"));
    assert_eq!(read(" attributes:a ").as_str(), " attributes:a ");
}

/// A filter as a tree.
#[derive(Debug, Clone)]
enum Tree {
    Has(String),
    Is(String, String),
    IsNot(String, String),
    Begins(String, String),
    Not(Box<Tree>),
    And(Vec<Tree>),
    Or(Vec<Tree>),
}

impl Tree {
    fn written(&self) -> String {
        let json = |text: &str| serde_json::to_string(text).expect("a string");
        match self {
            Self::Has(key) => format!("attributes:{}", json(key)),
            Self::Is(key, value) => format!("attributes.{} = {}", json(key), json(value)),
            Self::IsNot(key, value) => format!("attributes.{}!={}", json(key), json(value)),
            Self::Begins(key, value) => format!("hasPrefix(attributes.{}, {})", json(key), json(value)),
            Self::Not(inner) => format!("NOT {}", inner.as_operand()),
            Self::And(parts) => parts.iter().map(Self::as_operand).collect::<Vec<_>>().join(" AND "),
            Self::Or(parts) => parts.iter().map(Self::as_operand).collect::<Vec<_>>().join(" OR "),
        }
    }

    fn as_operand(&self) -> String {
        match self {
            Self::And(_) | Self::Or(_) => format!("({})", self.written()),
            _ => self.written(),
        }
    }

    fn is_true(&self, message: &Attributes) -> bool {
        match self {
            Self::Has(key) => message.contains_key(key),
            Self::Is(key, value) => message.get(key) == Some(value),
            Self::IsNot(key, value) => message.get(key) != Some(value),
            Self::Begins(key, value) => message.get(key).is_some_and(|of_message| of_message.starts_with(value)),
            Self::Not(inner) => !inner.is_true(message),
            Self::And(parts) => parts.iter().all(|part| part.is_true(message)),
            Self::Or(parts) => parts.iter().any(|part| part.is_true(message)),
        }
    }
}

/// Few keys and values, so that they often meet.
fn keys() -> impl Strategy<Value = String> {
    select(vec!["a", "b-c", "a key", "ä\"\\"]).prop_map(str::to_owned)
}

fn values() -> impl Strategy<Value = String> {
    select(vec!["", "v", "vw", "\"", "\n\u{1}😀"]).prop_map(str::to_owned)
}

fn trees() -> impl Strategy<Value = Tree> {
    let term = prop_oneof![
        keys().prop_map(Tree::Has),
        (keys(), values()).prop_map(|(key, value)| Tree::Is(key, value)),
        (keys(), values()).prop_map(|(key, value)| Tree::IsNot(key, value)),
        (keys(), values()).prop_map(|(key, value)| Tree::Begins(key, value)),
    ];
    term.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|tree| Tree::Not(Box::new(tree))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Tree::And),
            prop::collection::vec(inner, 2..4).prop_map(Tree::Or),
        ]
    })
}

/// Pieces of filters in any order: far more of them are read far than of any text.
fn pieces() -> impl Strategy<Value = String> {
    let piece = select(vec![
        "attributes",
        ":",
        ".",
        "a",
        "b-c",
        "\"a key\"",
        "=",
        "!=",
        "\"v\"",
        "hasPrefix",
        "(",
        ",",
        ")",
        "AND",
        "OR",
        "NOT",
        "-",
        " ",
        "attributes:a",
        "attributes.a=\"v\"",
        "hasPrefix(attributes.a,\"v\")",
        "'",
        "\"",
        "\\",
        "ä",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn a_tree_that_is_written_and_read_is_the_same(
        tree in trees(), message in prop::collection::btree_map(keys(), values(), 0..4),
    ) {
        let text = tree.written();
        prop_assume!(text.len() <= FILTER_BYTES);
        prop_assert_eq!(check(&text, &message), Ok(tree.is_true(&message)), "{}", text);
    }

    #[test]
    fn strings_are_those_of_json(value: String) {
        let text = format!("attributes.a = {}", serde_json::to_string(&value).expect("a string"));
        prop_assume!(text.len() <= FILTER_BYTES);
        prop_assert_eq!(check(&text, &attributes(&[("a", &value)])), Ok(true));
    }

    #[test]
    fn any_text_is_read_or_refused(text: String, pieces in pieces()) {
        let message = attributes(&[("a", "v"), ("a key", "")]);
        let _ = check(&text, &message);
        let _ = check(&pieces, &message);
    }
}
