//! Where a token comes from: an argument, a file, or stdin. Not shown in any error.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use zeroize::Zeroizing;

use crate::runtime::read_limited;

/// More than any gate reads; enough to say so.
const MAX: u64 = 256 * 1024;

/// Reads `TOKEN`, `@FILE`, or stdin for `-`. White space around it and the word `Bearer` in front are cut: they come
/// along when a header is copied.
pub(super) fn read(argument: &str) -> anyhow::Result<Zeroizing<String>> {
    let text = match argument.strip_prefix('@') {
        Some(path) => Zeroizing::new(read_limited(Path::new(path), MAX)?),
        None if argument == "-" => stdin()?,
        None => Zeroizing::new(argument.to_owned()),
    };
    let token = bare(&text);
    anyhow::ensure!(!token.is_empty(), "there is no token to look at");
    Ok(Zeroizing::new(token.to_owned()))
}

fn stdin() -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    std::io::stdin()
        .lock()
        .take(MAX)
        .read_to_string(&mut text)
        .context("cannot read a token from stdin")?;
    Ok(text)
}

fn bare(text: &str) -> &str {
    let text = text.trim();
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        Some(_) | None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_along_when_copying_is_cut() {
        for text in ["a.b.c", " a.b.c\n", "Bearer a.b.c", "bearer  a.b.c "] {
            assert_eq!(&*read(text).unwrap(), "a.b.c");
        }
        assert!(read(" ").is_err());
        assert!(read("@/nonexistent").is_err());
    }
}
