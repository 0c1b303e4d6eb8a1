//! The four ways in which Istio compares texts.

/// What a text of a policy stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Text<'a> {
    /// `*`: anything, as long as it is there.
    Present,
    /// `abc`
    Exactly(&'a str),
    /// `abc*`
    Prefix(&'a str),
    /// `*abc`
    Suffix(&'a str),
}

impl<'a> Text<'a> {
    /// Reads a text as Istio does: a star at the beginning wins over one at the end.
    pub(super) fn parse(text: &'a str) -> Self {
        if text == "*" {
            Self::Present
        } else if let Some(rest) = text.strip_prefix('*') {
            Self::Suffix(rest)
        } else if let Some(rest) = text.strip_suffix('*') {
            Self::Prefix(rest)
        } else {
            Self::Exactly(text)
        }
    }
}
