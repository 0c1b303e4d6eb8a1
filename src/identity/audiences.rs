//! For whom a token is.

/// The most audiences of one token. One is what the JWT-SVID specification recommends (section 3.2): whoever receives a
/// token can pass it on to every other audience in it.
const MAX: usize = 8;
/// The longest audience, in bytes.
const MAX_LENGTH: usize = 512;

/// One to eight audiences, in order and none of them twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Audiences(Vec<String>);

/// Why texts are no audiences.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAudiences {
    /// There is none, or an empty one.
    #[error("audience must be specified")]
    Missing,
    /// There are too many.
    #[error("{0} audiences, where at most {MAX} are allowed")]
    TooMany(usize),
    /// One is too long.
    #[error("an audience is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// One holds what nobody can read.
    #[error("an audience holds a control character")]
    Character,
}

impl Audiences {
    /// Takes audiences as they were asked for.
    ///
    /// # Errors
    /// When there is none, or one that nobody would honestly ask for.
    pub fn new(mut audiences: Vec<String>) -> Result<Self, InvalidAudiences> {
        if audiences.is_empty() || audiences.iter().any(String::is_empty) {
            return Err(InvalidAudiences::Missing);
        }
        audiences.sort_unstable();
        audiences.dedup();
        if audiences.len() > MAX {
            return Err(InvalidAudiences::TooMany(audiences.len()));
        }
        if audiences.iter().any(|audience| audience.len() > MAX_LENGTH) {
            return Err(InvalidAudiences::TooLong);
        }
        if audiences.iter().any(|audience| audience.chars().any(char::is_control)) {
            return Err(InvalidAudiences::Character);
        }
        Ok(Self(audiences))
    }

    /// In order; at least one.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }

    /// True if these are the same, in whatever order.
    #[must_use]
    pub fn are(&self, others: &[String]) -> bool {
        Self::new(others.to_vec()).is_ok_and(|others| others == *self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(audiences: &[&str]) -> Result<Audiences, InvalidAudiences> {
        Audiences::new(audiences.iter().map(|&one| one.to_owned()).collect())
    }

    #[test]
    fn order_and_repetition_make_no_difference() {
        let two = read(&["b", "a", "b"]).unwrap();
        assert_eq!(two.as_slice(), ["a", "b"]);
        assert!(two.are(&["b".to_owned(), "a".to_owned()]));
        assert!(!two.are(&["a".to_owned()]) && !two.are(&[]));
    }

    #[test]
    fn what_nobody_would_ask_for_is_refused() {
        let long = "x".repeat(MAX_LENGTH + 1);
        let many: Vec<String> = (0..=MAX).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(read(&[]), Err(InvalidAudiences::Missing));
        assert_eq!(read(&["a", ""]), Err(InvalidAudiences::Missing));
        assert_eq!(read(&[&long]), Err(InvalidAudiences::TooLong));
        assert_eq!(read(&["a\nb"]), Err(InvalidAudiences::Character));
        assert_eq!(read(&many), Err(InvalidAudiences::TooMany(MAX + 1)));
        assert!(read(&many[1..]).is_ok() && read(&["spiffe://demo.mesh/ns/shop/sa/a"]).is_ok());
    }
}
