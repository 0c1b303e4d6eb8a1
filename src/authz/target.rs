//! A request target with parameters cut out of its query, and everything else byte for byte as it was sent.
//!
//! Envoy can remove parameters by name, but it writes the whole query anew for that: sorted, and `a` as `a=`. An
//! application that checks a signature over its query would refuse what it gets.

use percent_encoding::percent_decode_str;

/// The query once the parameters that `is_cut` names are cut out; nothing when there is none of them.
///
/// Names are compared as an application reads them: decoded, `+` as a blank. A semicolon separates too, as it does in
/// some applications, so that what is cut is not there in either reading.
pub(super) fn without(query: &str, mut is_cut: impl FnMut(&str) -> bool) -> Option<String> {
    let mut kept: Option<String> = None;
    let (mut cut, mut separator) = (false, "");
    let mut rest = query;
    loop {
        let end = rest.find(['&', ';']).unwrap_or(rest.len());
        let (parameter, behind) = rest.split_at_checked(end)?;
        if is_named(parameter, &mut is_cut) {
            cut = true;
        } else {
            match &mut kept {
                Some(kept) => {
                    kept.push_str(separator);
                    kept.push_str(parameter);
                }
                None => {
                    let mut first = String::with_capacity(query.len());
                    first.push_str(parameter);
                    kept = Some(first);
                }
            }
        }
        let Some((next, behind)) = behind.split_at_checked(1) else { break };
        (separator, rest) = (next, behind);
    }
    cut.then(|| kept.unwrap_or_default())
}

/// The path and this query as one target; an empty query leaves no question mark.
pub(super) fn join(path: &str, query: &str) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

fn is_named(parameter: &str, is_cut: &mut impl FnMut(&str) -> bool) -> bool {
    let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
    if !name.contains(['%', '+']) {
        return is_cut(name);
    }
    let blanks = name.replace('+', " ");
    // What is no text once decoded is the name of nothing.
    percent_decode_str(&blanks).decode_utf8().is_ok_and(|name| is_cut(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_is_gone_and_the_rest_is_as_it_was() {
        for (query, left) in [
            ("token=t", Some("")),
            ("b=2&token=t&a=%2f&a", Some("b=2&a=%2f&a")),
            ("token=t&z&y=&x=1;2", Some("z&y=&x=1;2")),
            ("a=+%20&token", Some("a=+%20")),
            ("&token=t&", Some("&")),
            ("a=1;token=t&b", Some("a=1&b")),
            ("a&t%6Fken=t&T", Some("a&T")),
            ("a&%ff=1&to+ken=1", None),
            ("tokens=t&a=token=t&Token=1", None),
            ("", None),
        ] {
            let found = without(query, |name| name == "token");
            assert_eq!(found.as_deref(), left, "{query}");
        }
    }

    #[test]
    fn an_empty_query_leaves_no_question_mark() {
        assert_eq!(join("/a", "b"), "/a?b");
        assert_eq!(join("/a", ""), "/a");
    }
}
