//! SPIFFE IDs and trust domains, parsed strictly (SPIFFE-ID specification, section 2).

use std::fmt;
use std::sync::Arc;

/// The longest SPIFFE ID that is accepted, in bytes (SPIFFE-ID specification, section 2.3).
const MAX_LENGTH: usize = 2048;
const SCHEME: &str = "spiffe://";
/// Namespace and service account of the control plane.
const CONTROL_PLANE: (&str, &str) = ("hopgate-system", "hopgate-control");

/// A trust domain such as `mesh.example`: lower-case letters, digits, dots, dashes and underscores.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

/// A SPIFFE ID such as `spiffe://mesh.example/ns/shop/sa/orders`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    text: Arc<str>,
    /// Bytes of the trust domain, after the scheme.
    domain_length: usize,
}

/// Why a text is no SPIFFE ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpiffeId {
    /// It does not start with `spiffe://` in lower case.
    #[error("does not start with \"spiffe://\"")]
    Scheme,
    /// It is longer than 2048 bytes.
    #[error("is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// The trust domain is empty or longer than 255 bytes.
    #[error("has no trust domain of 1 to 255 characters")]
    TrustDomainLength,
    /// The trust domain holds a character other than `a-z 0-9 . - _`.
    #[error("has {0:?} in its trust domain; allowed are a-z, 0-9, '.', '-' and '_'")]
    TrustDomainCharacter(char),
    /// The path is empty, ends in a slash, or has an empty, `.` or `..` segment.
    #[error("has an empty or relative path segment")]
    PathSegment,
    /// The path holds a character other than `a-z A-Z 0-9 . - _`.
    #[error("has {0:?} in its path; allowed are letters, digits, '.', '-' and '_'")]
    PathCharacter(char),
    /// A trust domain stands alone where a workload is expected.
    #[error("names a trust domain, not a workload")]
    NoPath,
}

impl TrustDomain {
    /// Parses a bare trust domain name, without scheme.
    ///
    /// # Errors
    /// When it is empty, too long or holds a character outside the specification.
    pub fn parse(name: &str) -> Result<Self, InvalidSpiffeId> {
        check_trust_domain(name)?;
        Ok(Self(name.into()))
    }

    /// The name, for example `mesh.example`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SpiffeId {
    /// Parses a full SPIFFE ID of a workload.
    ///
    /// # Errors
    /// When any part of it is outside the specification. Nothing is normalised: an upper-case
    /// scheme or trust domain is an error, because two spellings of one identity invite a bypass.
    pub fn parse(text: &str) -> Result<Self, InvalidSpiffeId> {
        if text.len() > MAX_LENGTH {
            return Err(InvalidSpiffeId::TooLong);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(InvalidSpiffeId::Scheme)?;
        let (domain, path) = rest.split_once('/').ok_or(InvalidSpiffeId::NoPath)?;
        check_trust_domain(domain)?;
        for segment in path.split('/') {
            check_segment(segment)?;
        }
        Ok(Self { text: text.into(), domain_length: domain.len() })
    }

    /// The identity of a Kubernetes style workload: `spiffe://<domain>/ns/<namespace>/sa/<account>`.
    ///
    /// # Errors
    /// When the namespace or the account cannot stand in a SPIFFE ID.
    pub fn for_service_account(
        domain: &TrustDomain,
        namespace: &str,
        account: &str,
    ) -> Result<Self, InvalidSpiffeId> {
        for part in [namespace, account] {
            check_segment(part)?;
        }
        Self::parse(&format!("{SCHEME}{}/ns/{namespace}/sa/{account}", domain.as_str()))
    }

    /// The whole ID as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> TrustDomain {
        TrustDomain(self.domain().into())
    }

    /// True when the ID belongs to this trust domain.
    #[must_use]
    pub fn is_member_of(&self, domain: &TrustDomain) -> bool {
        self.domain() == domain.as_str()
    }

    /// The path with its leading slash, for example `/ns/shop/sa/orders`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.text.get(SCHEME.len() + self.domain_length..).unwrap_or_default()
    }

    /// Namespace and service account, where the path has the form `/ns/<namespace>/sa/<account>`.
    #[must_use]
    pub fn service_account(&self) -> Option<(&str, &str)> {
        let mut parts = self.path().split('/').skip(1);
        let (Some("ns"), Some(namespace), Some("sa"), Some(account), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        Some((namespace, account))
    }

    /// True for the control plane's own identity, which nobody else gets.
    #[must_use]
    pub fn is_control_plane(&self) -> bool {
        self.service_account() == Some(CONTROL_PLANE)
    }

    /// The control plane's own identity in `domain`.
    ///
    /// # Errors
    /// When it would be too long.
    pub fn control_plane(domain: &TrustDomain) -> Result<Self, InvalidSpiffeId> {
        Self::for_service_account(domain, CONTROL_PLANE.0, CONTROL_PLANE.1)
    }

    fn domain(&self) -> &str {
        self.text.get(SCHEME.len()..SCHEME.len() + self.domain_length).unwrap_or_default()
    }
}

fn check_trust_domain(name: &str) -> Result<(), InvalidSpiffeId> {
    if name.is_empty() || name.len() > 255 {
        return Err(InvalidSpiffeId::TrustDomainLength);
    }
    match name.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_')) {
        Some(bad) => Err(InvalidSpiffeId::TrustDomainCharacter(bad)),
        None => Ok(()),
    }
}

fn check_segment(segment: &str) -> Result<(), InvalidSpiffeId> {
    if matches!(segment, "" | "." | "..") {
        return Err(InvalidSpiffeId::PathSegment);
    }
    match segment
        .chars()
        .find(|c| !matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' | '_'))
    {
        Some(bad) => Err(InvalidSpiffeId::PathCharacter(bad)),
        None => Ok(()),
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_read_and_its_parts_are_named() {
        let id = SpiffeId::parse("spiffe://mesh.example/ns/shop/sa/orders").unwrap();
        assert_eq!(id.trust_domain(), TrustDomain::parse("mesh.example").unwrap());
        assert_eq!(id.path(), "/ns/shop/sa/orders");
        assert_eq!(id.service_account(), Some(("shop", "orders")));
        assert!(id.is_member_of(&TrustDomain::parse("mesh.example").unwrap()));
        assert!(!id.is_member_of(&TrustDomain::parse("mesh.exampl").unwrap()));
    }

    #[test]
    fn every_other_spelling_is_refused() {
        for (text, why) in [
            ("", InvalidSpiffeId::Scheme),
            ("SPIFFE://mesh.example/a", InvalidSpiffeId::Scheme),
            ("https://mesh.example/a", InvalidSpiffeId::Scheme),
            ("spiffe://mesh.example", InvalidSpiffeId::NoPath),
            ("spiffe:///a", InvalidSpiffeId::TrustDomainLength),
            ("spiffe://Mesh.example/a", InvalidSpiffeId::TrustDomainCharacter('M')),
            ("spiffe://mesh.example:80/a", InvalidSpiffeId::TrustDomainCharacter(':')),
            ("spiffe://u@mesh.example/a", InvalidSpiffeId::TrustDomainCharacter('@')),
            ("spiffe://mesh.example/", InvalidSpiffeId::PathSegment),
            ("spiffe://mesh.example/a//b", InvalidSpiffeId::PathSegment),
            ("spiffe://mesh.example/a/../b", InvalidSpiffeId::PathSegment),
            ("spiffe://mesh.example/a/", InvalidSpiffeId::PathSegment),
            ("spiffe://mesh.example/a%2fb", InvalidSpiffeId::PathCharacter('%')),
            ("spiffe://mesh.example/a,b", InvalidSpiffeId::PathCharacter(',')),
            ("spiffe://mesh.example/a?x", InvalidSpiffeId::PathCharacter('?')),
            ("spiffe://mesh.example/a#x", InvalidSpiffeId::PathCharacter('#')),
        ] {
            assert_eq!(SpiffeId::parse(text), Err(why), "{text}");
        }
        let long = format!("spiffe://mesh.example/{}", "a".repeat(2048));
        assert_eq!(SpiffeId::parse(&long), Err(InvalidSpiffeId::TooLong));
    }

    #[test]
    fn a_service_account_cannot_smuggle_a_path() {
        let domain = TrustDomain::parse("mesh.example").unwrap();
        assert!(SpiffeId::for_service_account(&domain, "shop", "orders").is_ok());
        assert!(SpiffeId::for_service_account(&domain, "shop/sa/x", "orders").is_err());
        assert!(SpiffeId::for_service_account(&domain, "shop", "..").is_err());
    }
}
