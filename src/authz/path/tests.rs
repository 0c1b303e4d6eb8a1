use proptest::prelude::*;

use super::*;
use crate::policy::{ControlCharacters, DoubleEncoding, EncodedSlashes, Semicolons};

type Switch = fn(&mut Normalisation);

fn parse<'a>(target: &'a str, switches: &[Switch]) -> Result<Path<'a>, &'static str> {
    let mut normalisation = Normalisation::strict();
    for switch in switches {
        switch(&mut normalisation);
    }
    Path::parse(target, &normalisation, &Limits::usual()).map_err(AmbiguousPath::code)
}

const INSIDE: Switch = |n| n.encoded_slashes = EncodedSlashes::AcceptInsideSegment;
const RESOLVED: Switch = |n| n.dot_segments = DotSegments::AcceptResolved;
const MERGED: Switch = |n| n.empty_segments = EmptySegments::AcceptMerged;
const AS_SLASHES: Switch = |n| n.backslashes = Backslashes::AcceptAsSlashes;
const BACKSLASH_TEXT: Switch = |n| n.backslashes = Backslashes::AcceptAsText;
const SEMICOLON_TEXT: Switch = |n| n.semicolons = Semicolons::AcceptAsText;
const CUT_OFF: Switch = |n| n.semicolons = Semicolons::AcceptCutOff;
const ONCE: Switch = |n| n.double_encoding = DoubleEncoding::AcceptDecodedOnce;
const CONTROL: Switch = |n| n.control_characters = ControlCharacters::AcceptEncoded;
const ALL: [Switch; 9] =
    [INSIDE, RESOLVED, MERGED, AS_SLASHES, BACKSLASH_TEXT, SEMICOLON_TEXT, CUT_OFF, ONCE, CONTROL];

#[test]
fn paths_are_split_and_decoded() {
    for (target, segments, query) in [
        ("/", vec![""], None),
        ("/a", vec!["a"], None),
        ("/a/b?x=1?y", vec!["a", "b"], Some("x=1?y")),
        ("/a/", vec!["a", ""], None),
        ("/caf%C3%A9/a%20b", vec!["caf\u{e9}", "a b"], None),
        ("/a...b/..c", vec!["a...b", "..c"], None),
        ("/100%25", vec!["100%"], None),
        ("/100%25%20/5%25g", vec!["100% ", "5%g"], None),
        ("", vec![], None),
    ] {
        let path = parse(target, &[]).unwrap();
        assert_eq!(path.segments(), segments, "{target}");
        assert_eq!(path.query(), query);
        let joined: String = segments.iter().map(|segment| format!("/{segment}")).collect();
        assert_eq!(path.decoded(), joined, "{target}");
    }
}

#[test]
fn each_ambiguous_class_has_its_code() {
    let long = format!("/{}", "a".repeat(Limits::usual().path_bytes));
    let deep = "/a".repeat(Limits::usual().path_segments + 1);
    for (target, code) in [
        ("*", "path_not_absolute"),
        ("http://h/a", "path_not_absolute"),
        ("\\a", "path_not_absolute"),
        (long.as_str(), "path_too_long"),
        (deep.as_str(), "path_too_long"),
        ("/a/../b", "path_dot_segment"),
        ("/a/.", "path_dot_segment"),
        ("/..", "path_dot_segment"),
        ("/%2e%2e/b", "path_dot_segment"),
        ("/.%2E/b", "path_dot_segment"),
        ("/a%2eb", "path_dot_segment"),
        ("//a", "path_empty_segment"),
        ("/a//b", "path_empty_segment"),
        ("/a/b//", "path_empty_segment"),
        ("/a\\b", "path_backslash"),
        ("/a;b=1/c", "path_semicolon"),
        ("/a%3bb", "path_semicolon"),
        ("/a%2fb", "path_encoded_separator"),
        ("/a%2Fb", "path_encoded_separator"),
        ("/a%5cb", "path_encoded_separator"),
        ("/a%252fb", "path_double_encoded"),
        ("/a%25%32%66b", "path_double_encoded"),
        ("/a%252%66b", "path_double_encoded"),
        ("/a%25%32fb", "path_double_encoded"),
        ("/a%2541", "path_double_encoded"),
        ("/a%", "path_broken_escape"),
        ("/a%2", "path_broken_escape"),
        ("/a%zz", "path_broken_escape"),
        ("/a b", "path_character"),
        ("/a#b", "path_character"),
        ("/caf\u{e9}", "path_character"),
        ("/a\tb", "path_control_character"),
        ("/a\u{7f}b", "path_control_character"),
        ("/a%00", "path_control_character"),
        ("/a%0d%0a", "path_control_character"),
        ("/a%7f", "path_control_character"),
        ("/a%c2%85", "path_control_character"),
        ("/a%ff", "path_not_utf8"),
        ("/a%c0%af", "path_not_utf8"),
    ] {
        assert_eq!(parse(target, &[]).err(), Some(code), "{target}");
    }
}

/// A switch, a target, and the decoded path or the code.
const SWITCHED: &[(&[Switch], &str, Result<&str, &str>)] = &[
    (&[INSIDE], "/a%2Fb/c", Ok("/a%2Fb/c")),
    (&[INSIDE], "/a%5cb", Ok("/a\\b")),
    (&[INSIDE], "/a%2f..%2fb", Err("path_dot_segment")),
    (&[INSIDE], "/..%2fb", Err("path_dot_segment")),
    (&[INSIDE], "/..%5cb", Err("path_dot_segment")),
    (&[INSIDE, RESOLVED], "/a%2f%2e%2e", Err("path_dot_segment")),
    (&[INSIDE, RESOLVED], "/x/a%2fb/../c", Ok("/x/c")),
    (&[INSIDE], "/a%252fb", Err("path_double_encoded")),
    (&[INSIDE], "/a\\b", Err("path_backslash")),
    (&[RESOLVED], "/a/../b", Ok("/b")),
    (&[RESOLVED], "/a/%2e%2E/b/./c", Ok("/b/c")),
    (&[RESOLVED], "/a/..", Ok("/")),
    (&[RESOLVED], "/a/b/..", Ok("/a/")),
    (&[RESOLVED], "/a/.", Ok("/a/")),
    (&[RESOLVED], "/.", Ok("/")),
    (&[RESOLVED], "/file%2Etxt", Ok("/file.txt")),
    (&[RESOLVED], "/..", Err("path_dot_segment")),
    (&[RESOLVED], "/a/../../b", Err("path_dot_segment")),
    (&[RESOLVED], "/a//../b", Err("path_empty_segment")),
    (&[RESOLVED, MERGED], "/a//../b", Err("path_dot_segment")),
    (&[RESOLVED, MERGED], "/a//b", Ok("/a/b")),
    (&[RESOLVED], "/a/..;/b", Err("path_semicolon")),
    (&[MERGED], "//a///b//", Ok("/a/b/")),
    (&[MERGED], "//", Ok("/")),
    (&[MERGED], "/a//../b", Err("path_dot_segment")),
    (&[AS_SLASHES], "/a\\b/c", Ok("/a/b/c")),
    (&[AS_SLASHES], "/a\\..\\b", Err("path_dot_segment")),
    (&[AS_SLASHES, RESOLVED], "/a\\..\\b", Ok("/b")),
    (&[AS_SLASHES], "/a/\\b", Err("path_empty_segment")),
    (&[AS_SLASHES], "/a%5cb", Err("path_encoded_separator")),
    (&[BACKSLASH_TEXT], "/a\\b/c", Ok("/a\\b/c")),
    (&[BACKSLASH_TEXT], "/a\\..\\b", Err("path_dot_segment")),
    (&[BACKSLASH_TEXT], "/..\\b", Err("path_dot_segment")),
    (&[SEMICOLON_TEXT], "/a;b=1/c", Ok("/a;b=1/c")),
    (&[SEMICOLON_TEXT], "/a%3Bb", Ok("/a;b")),
    (&[SEMICOLON_TEXT], "/..;/b", Err("path_dot_segment")),
    (&[SEMICOLON_TEXT], "/..%3bx/b", Err("path_dot_segment")),
    (&[SEMICOLON_TEXT, RESOLVED], "/a/..;/b", Err("path_dot_segment")),
    (&[CUT_OFF], "/a;b=1/c;d", Ok("/a/c")),
    (&[CUT_OFF], "/a%3bb", Err("path_semicolon")),
    (&[CUT_OFF], "/a/..;x/b", Err("path_dot_segment")),
    (&[CUT_OFF, RESOLVED], "/a/..;x/b", Ok("/b")),
    (&[CUT_OFF], "/a/;x/b", Err("path_empty_segment")),
    (&[ONCE], "/a%2541", Ok("/a%41")),
    (&[ONCE], "/100%2525", Err("path_double_encoded")),
    (&[ONCE], "/a%252fb", Err("path_double_encoded")),
    (&[ONCE], "/a%25%32%65", Err("path_double_encoded")),
    (&[ONCE], "/a%255cb", Err("path_double_encoded")),
    (&[ONCE], "/a%253bb", Err("path_double_encoded")),
    (&[ONCE], "/a%2500", Err("path_double_encoded")),
    (&[ONCE, INSIDE, RESOLVED], "/%252e%252e%252fb", Err("path_double_encoded")),
    (&[CONTROL], "/a%09b", Ok("/a\tb")),
    (&[CONTROL], "/a%c2%85", Ok("/a\u{85}")),
    (&[CONTROL], "/a%00", Err("path_control_character")),
    (&[CONTROL], "/a\tb", Err("path_control_character")),
];

#[test]
fn a_switch_accepts_exactly_what_it_says() {
    for (switches, target, expected) in SWITCHED {
        let path = parse(target, switches);
        let read = path.as_ref().map(Path::decoded).map_err(|code| *code);
        assert_eq!(read, *expected, "{target}");
        if expected.is_ok() {
            assert!(parse(target, &[]).is_err(), "{target} needs no switch");
        }
    }
    let inside = parse("/a%2Fb/c", &[INSIDE]).unwrap();
    assert_eq!(inside.segments(), ["a/b", "c"]);
}

#[test]
fn limits_are_those_of_the_mesh() {
    let limits = Limits { path_bytes: 10, path_segments: 2, ..Limits::usual() };
    let parse = |target| Path::parse(target, &Normalisation::strict(), &limits);
    assert!(parse("/123456789?a-long-query").is_ok());
    assert_eq!(parse("/1234567890"), Err(AmbiguousPath::TooLong));
    assert!(parse("/a/b").is_ok());
    assert_eq!(parse("/a/b/c"), Err(AmbiguousPath::TooLong));
}

/// The one spelling of a path that every program reads in the same way, as far as there is one.
fn canonical(segments: &[Cow<'_, str>], backslashes: Backslashes) -> String {
    let mut text = String::new();
    for segment in segments {
        text.push('/');
        for byte in segment.bytes() {
            match byte {
                b'\\' if backslashes == Backslashes::AcceptAsText => text.push('\\'),
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b';' => {
                    text.push(char::from(byte));
                }
                _ => text.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    /// What is accepted has a canonical spelling that is accepted under the same switches, says the same, and is its own
    /// canonical spelling; the joined path splits into the same segments.
    #[test]
    fn normalisation_is_idempotent(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "a", "b", ".", "..", "/", "/", "/", "\\", ";", ";x=1", "%2f", "%2F", "%5c", "%2e", "%2E", "%25",
            "%252f", "%2541", "41", "2f", "%3b", "%09", "%c2%85", "%C3%A9", "%20", "%ff", "%", "~", "?q=//",
        ]), 0..9),
        switched in prop::collection::vec(any::<bool>(), ALL.len()),
    ) {
        let target = format!("/{}", pieces.concat());
        let mut switches = Normalisation::strict();
        for (switch, on) in ALL.iter().zip(switched) {
            if on {
                switch(&mut switches);
            }
        }
        let limits = Limits::usual();
        let Ok(path) = Path::parse(&target, &switches, &limits) else { return Ok(()) };
        let text = canonical(path.segments(), switches.backslashes);
        let again = Path::parse(&text, &switches, &limits);
        prop_assert!(again.is_ok(), "{target} -> {text}: {again:?}");
        let again = again.unwrap();
        prop_assert_eq!(again.segments(), path.segments());
        prop_assert_eq!(again.decoded(), path.decoded());
        prop_assert_eq!(canonical(again.segments(), switches.backslashes), text);
        let split: Vec<String> =
            path.decoded().split('/').skip(1).map(|part| part.replace("%2F", "/")).collect();
        prop_assert_eq!(split, path.segments());
        for segment in path.segments() {
            prop_assert!(!matches!(segment.as_ref(), "." | ".."), "{target}");
        }
        let inner = path.segments().len().saturating_sub(1);
        prop_assert!(path.segments().iter().take(inner).all(|segment| !segment.is_empty()));
    }
}
