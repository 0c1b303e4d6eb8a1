//! The size of a regular expression, judged before it is built.
//!
//! The engine matches in time linear in text and pattern, but counted repetition makes a short pattern a large
//! machine: `(a{50}){50}` is 2500 steps. This counts the steps.

use regex::Regex;

use super::error::Mistake;

/// The longest pattern, in bytes, and the most steps.
const MAX_BYTES: usize = 256;
const MAX_STEPS: usize = 1000;
/// `\w`, `\pL` and their like stand for hundreds of ranges of Unicode each, other escaped letters for some.
const WIDE_STEPS: usize = 100;
const ESCAPE_STEPS: usize = 10;
/// Any character, in all lengths that UTF-8 has.
const ANY_STEPS: usize = 4;

/// A pattern that is ready to match.
pub(super) struct Pattern {
    pub(super) built: Regex,
    /// The steps of matching 64 bytes: the machine is rarely walked as a whole.
    pub(super) steps: u64,
}

impl Pattern {
    pub(super) fn build(text: &str) -> Result<Self, Mistake> {
        if !is_small(text) {
            return Err(Mistake::LargePattern);
        }
        let built = Regex::new(text).map_err(|_| Mistake::Pattern)?;
        Ok(Self { built, steps: steps(text) / 16 + 1 })
    }
}

/// The steps of a pattern; the interpreter builds it anew at each evaluation.
pub(super) fn steps(pattern: &str) -> u64 {
    u64::try_from(Steps::of(pattern)).unwrap_or(u64::MAX)
}

/// True when the pattern is cheap to build. What is no regular expression is for the engine to say.
fn is_small(pattern: &str) -> bool {
    pattern.len() <= MAX_BYTES && Steps::of(pattern) <= MAX_STEPS
}

/// Adds up the steps of a pattern, group by group.
struct Steps {
    /// Of the groups that are open: what stands before them.
    outer: Vec<usize>,
    /// Of the group that is read, without its last part.
    before: usize,
    /// Of the last part, which a repetition repeats.
    last: usize,
}

impl Steps {
    fn of(pattern: &str) -> usize {
        let mut steps = Self { outer: Vec::new(), before: 0, last: 0 };
        let mut rest = pattern.chars();
        while let Some(c) = rest.next() {
            match c {
                '\\' => {
                    let class = rest.next();
                    steps.part(match class {
                        Some('w' | 'W' | 'p' | 'P') => WIDE_STEPS,
                        Some(c) if !c.is_ascii_alphabetic() => 1,
                        Some(_) | None => ESCAPE_STEPS,
                    });
                    // `\p{Greek}`, `\x{263a}`: a name, no repetition.
                    match class {
                        Some('p' | 'P' | 'x' | 'u' | 'U') if rest.as_str().starts_with('{') => {
                            braces(&mut rest);
                        }
                        Some('p' | 'P') => drop(rest.next()),
                        Some(_) | None => {}
                    }
                }
                // A class is the sum of what it lists.
                '(' | '[' => steps.open(),
                ')' | ']' => steps.close(),
                '{' => steps.repeat(braces(&mut rest)),
                '.' => steps.part(ANY_STEPS),
                _ => steps.part(1),
            }
        }
        while !steps.outer.is_empty() {
            steps.close();
        }
        steps.before.saturating_add(steps.last)
    }

    fn part(&mut self, steps: usize) {
        self.before = self.before.saturating_add(self.last);
        self.last = steps;
    }

    fn open(&mut self) {
        self.part(0);
        self.outer.push(self.before);
        self.before = 0;
    }

    fn close(&mut self) {
        let group = self.before.saturating_add(self.last);
        // One that closes nothing leaves everything so far as one part, which counts too much rather than too little.
        self.before = self.outer.pop().unwrap_or_default();
        self.last = group;
    }

    /// Multiplies by the largest number in the braces. A repetition of a repetition multiplies again.
    fn repeat(&mut self, inside: &str) {
        let times = inside
            .split(|c: char| !c.is_ascii_digit())
            .filter(|digits| !digits.is_empty())
            .map(|digits| digits.parse().unwrap_or(usize::MAX))
            .max()
            .unwrap_or(1);
        self.last = self.last.saturating_mul(times.max(1));
    }
}

/// What stands before the next closing brace, which is taken too.
fn braces<'p>(rest: &mut std::str::Chars<'p>) -> &'p str {
    let text = rest.as_str();
    let (inside, behind) = text.split_once('}').unwrap_or((text, ""));
    *rest = behind.chars();
    inside.strip_prefix('{').unwrap_or(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_multiply_with_repetition() {
        for pattern in [
            "",
            "^/vault",
            "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
            "^[A-Z]{2}[0-9]{2}([A-Z0-9]{4}){1,7}$",
            r"^\w+@(\w+\.)+example\.com$",
            r"^\d{4}-\d{2}-\d{2}$",
            "(a|b){10}",
        ] {
            assert!(is_small(pattern), "{pattern}: {}", Steps::of(pattern));
        }
        for pattern in [
            "a{1001}",
            "a{2,1001}",
            "a{1001,}",
            "a{ 1001 }",
            "(a{50}){50}",
            "((a{10}){10}){11}",
            "((a{10}b){10}c){10}",
            "a{50}{50}",
            "(a|b|c){400}",
            "(?:a){1001}",
            "(?P<n>a){999}",
            "[a-z]{500}",
            r"\w{100}",
            r"[\w]{100}",
            r"\p{L}{100}",
            r"\pL{100}",
            "a{99999999999999999999999}",
            "((((((((a{9}){9}){9}){9}){9}){9}){9}){9}){9}",
        ] {
            assert!(!is_small(pattern), "{pattern}: {}", Steps::of(pattern));
        }
        assert!(!is_small(&"a".repeat(257)));
    }
}
