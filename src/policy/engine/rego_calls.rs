//! Functions of OPA that are not available here, found when a module is read and not at the first request.

use super::rego::InvalidRego;

/// What a call begins with, and what to do instead.
const ABSENT: [(&str, &str); 14] = [
    ("io.jwt.", ": tokens are verified already, read input.hopgate.user.claims"),
    ("http.send", ": a decision never waits, hand the data in by dataFiles or use an `opa` engine"),
    ("crypto.", ""),
    ("opa.runtime", ""),
    ("net.lookup_ip_addr", ": a decision never waits"),
    ("providers.aws.", ""),
    ("rego.parse_module", ""),
    ("rego.metadata.", ""),
    ("graphql.", ""),
    ("json.match_schema", ""),
    ("json.verify_schema", ""),
    ("uuid.", ""),
    ("yaml.", ""),
    ("rand.intn", ": a decision is no lottery"),
];

/// Refuses a module that calls one of them.
pub(super) fn check(file: &str, text: &str) -> Result<(), InvalidRego> {
    for line in text.lines() {
        // A `#` in a string hides what follows from this look: such a call is then refused when it is evaluated.
        let code = line.split('#').next().unwrap_or_default();
        for (absent, hint) in ABSENT {
            let Some(call) = find(code, absent) else { continue };
            let function = call.split(|c: char| !is_name(c)).next().unwrap_or(absent);
            return Err(InvalidRego::Function {
                file: file.to_owned(),
                function: function.to_owned(),
                hint,
            });
        }
    }
    Ok(())
}

/// The rest of the line from such a name on, where a name begins there.
fn find<'c>(code: &'c str, name: &str) -> Option<&'c str> {
    code.match_indices(name).find_map(|(at, _)| {
        let before = code.get(..at)?.chars().next_back();
        if before.is_some_and(|c| is_name(c) || c == '"') { None } else { code.get(at..) }
    })
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_is_not_there_is_found_and_a_word_like_it_is_not() {
        let said = |text: &str| check("p.rego", text).map_err(|error| error.to_string());
        assert!(said("x := io.jwt.decode(t)").unwrap_err().contains("calls `io.jwt.decode`"));
        assert!(said("r := http.send({})").unwrap_err().contains("never waits"));
        assert_eq!(
            said("# io.jwt.decode(t)\nmyio.jwt.x\ninput.http.sender == 1\nx == \"yaml.a\""),
            Ok(())
        );
    }
}
