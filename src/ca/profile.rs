//! What stands in each kind of certificate. Pure: time is an argument.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType, SerialNumber,
};
use time::OffsetDateTime;

use crate::identity::{SpiffeId, TrustDomain};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// A leaf starts this long before it is made, for peers whose clock is behind.
const BACKDATE: Duration = Duration::from_secs(120);
/// Authorities start earlier still, so that they never cut a leaf's backdating.
const AUTHORITY_BACKDATE: Duration = Duration::from_secs(600);
const ROOT_LIFETIME: Duration = Duration::from_secs(3650 * 24 * 3600);
const ISSUING_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// How long a leaf lives: one minute to 24 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lifetime(Duration);

/// A lifetime is outside the bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a certificate lifetime of {0:?} is outside 1m to 24h")]
pub struct InvalidLifetime(Duration);

/// A certificate cannot be drawn up.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The clock stands before the authority's certificates.
    #[error("the authority's certificates are not valid yet; is the clock right?")]
    NotYetValid,
    /// The authority's own certificates end too soon for a leaf of one minute.
    #[error("the authority's certificates end in less than a minute")]
    ChainEnds,
    /// A date does not fit.
    #[error("a date is out of range")]
    Date,
    /// A name cannot stand in a certificate.
    #[error("{0:?} cannot stand in a certificate")]
    Name(String),
    /// The system gives no random numbers.
    #[error("no random numbers")]
    Random,
}

/// First and last second of validity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

impl Lifetime {
    /// The default: one hour.
    pub const DEFAULT: Self = Self(Duration::from_secs(3600));
    /// The longest there is: 24 hours.
    pub const LONGEST: Self = Self(DAY);

    /// Takes a duration of one minute to 24 hours.
    ///
    /// # Errors
    /// When it is outside.
    pub fn new(duration: Duration) -> Result<Self, InvalidLifetime> {
        if (MINUTE..=DAY).contains(&duration) {
            Ok(Self(duration))
        } else {
            Err(InvalidLifetime(duration))
        }
    }

    /// As a duration.
    #[must_use]
    pub fn as_duration(self) -> Duration {
        self.0
    }

    /// What a caller gets who asks for `requested`: never more than this, never less than a minute.
    #[must_use]
    pub fn at_most(self, requested: Duration) -> Self {
        Self(requested.clamp(MINUTE, self.0))
    }
}

impl Window {
    /// The time in which both are valid.
    pub(super) fn intersect(self, other: Self) -> Self {
        Self {
            not_before: self.not_before.max(other.not_before),
            not_after: self.not_after.min(other.not_after),
        }
    }

    /// A leaf's validity: backdated, and inside that of its chain.
    fn leaf(lifetime: Lifetime, chain: Self, now: SystemTime) -> Result<Self, ProfileError> {
        if now < chain.not_before {
            return Err(ProfileError::NotYetValid);
        }
        let end = now.checked_add(lifetime.0).ok_or(ProfileError::Date)?.min(chain.not_after);
        if end < now.checked_add(MINUTE).ok_or(ProfileError::Date)? {
            return Err(ProfileError::ChainEnds);
        }
        let start = now.checked_sub(BACKDATE).ok_or(ProfileError::Date)?.max(chain.not_before);
        Ok(Self { not_before: start, not_after: end })
    }
}

/// A root: may sign one level of authorities and revocation lists, lives ten years.
pub(super) fn root(
    domain: &TrustDomain,
    now: SystemTime,
) -> Result<CertificateParams, ProfileError> {
    let window = authority_window(ROOT_LIFETIME, now)?;
    authority(domain, ("root", 1), window)
}

/// An issuing authority: may sign leaves only, lives a year and never longer than its root.
pub(super) fn issuing(
    domain: &TrustDomain,
    root: Window,
    now: SystemTime,
) -> Result<CertificateParams, ProfileError> {
    if now < root.not_before {
        return Err(ProfileError::NotYetValid);
    }
    if root.not_after < now.checked_add(MINUTE).ok_or(ProfileError::Date)? {
        return Err(ProfileError::ChainEnds);
    }
    authority(domain, ("issuing", 0), authority_window(ISSUING_LIFETIME, now)?.intersect(root))
}

/// A workload's leaf: its SPIFFE ID is the only name in it.
pub(super) fn leaf(
    id: &SpiffeId,
    lifetime: Lifetime,
    chain: Window,
    now: SystemTime,
) -> Result<CertificateParams, ProfileError> {
    let mut params = blank(Window::leaf(lifetime, chain, now)?)?;
    params.subject_alt_names = vec![uri(id.as_str())?];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

/// A certificate that is never shown to anybody: what its issuer puts in shows in it.
pub(super) fn probe(chain: Window) -> Result<CertificateParams, ProfileError> {
    blank(chain)
}

/// The control plane's own leaf: also carries the names under which sidecars call it.
pub(super) fn server(
    mut params: CertificateParams,
    names: &[String],
) -> Result<CertificateParams, ProfileError> {
    for name in names {
        let san = match name.parse::<IpAddr>() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) => SanType::DnsName(
                name.as_str().try_into().map_err(|_| ProfileError::Name(name.clone()))?,
            ),
        };
        params.subject_alt_names.push(san);
    }
    Ok(params)
}

fn authority(
    domain: &TrustDomain,
    (role, path_length): (&str, u8),
    window: Window,
) -> Result<CertificateParams, ProfileError> {
    let mut params = blank(window)?;
    // Two roots of one trust domain must differ by name, or a verifier could take one for the other.
    let mark: String = random::<4>()?.iter().map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name.push(DnType::CommonName, format!("hopgate {role} {mark}"));
    params.subject_alt_names = vec![uri(&format!("spiffe://{domain}"))?];
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn authority_window(lifetime: Duration, now: SystemTime) -> Result<Window, ProfileError> {
    Ok(Window {
        not_before: now.checked_sub(AUTHORITY_BACKDATE).ok_or(ProfileError::Date)?,
        not_after: now.checked_add(lifetime).ok_or(ProfileError::Date)?,
    })
}

/// An empty subject (which makes the SAN critical), a random serial and dates of whole seconds.
fn blank(window: Window) -> Result<CertificateParams, ProfileError> {
    let mut params = CertificateParams::default();
    params.not_before = date(window.not_before)?;
    params.not_after = date(window.not_after)?;
    params.serial_number = Some(serial()?);
    params.distinguished_name = DistinguishedName::new();
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn uri(text: &str) -> Result<SanType, ProfileError> {
    text.try_into().map(SanType::URI).map_err(|_| ProfileError::Name(text.to_owned()))
}

fn date(time: SystemTime) -> Result<OffsetDateTime, ProfileError> {
    let since =
        time.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| ProfileError::Date)?.as_secs();
    let seconds = i64::try_from(since).map_err(|_| ProfileError::Date)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| ProfileError::Date)
}

/// 128 random bits. A leading zero byte would shorten the number, so it is drawn again.
fn serial() -> Result<SerialNumber, ProfileError> {
    loop {
        let bytes = random::<16>()?;
        if bytes.first().is_some_and(|byte| *byte != 0) {
            return Ok(SerialNumber::from_slice(&bytes));
        }
    }
}

fn random<const N: usize>() -> Result<[u8; N], ProfileError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| ProfileError::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000 + seconds)
    }

    #[test]
    fn lifetimes_are_bounded() {
        assert_eq!(Lifetime::new(MINUTE).unwrap().as_duration(), MINUTE);
        assert!(Lifetime::new(DAY).is_ok());
        assert!(Lifetime::new(MINUTE - Duration::from_secs(1)).is_err());
        assert!(Lifetime::new(DAY + Duration::from_secs(1)).is_err());
        let hour = Lifetime::DEFAULT;
        assert_eq!(hour.at_most(DAY), hour, "a caller cannot ask for more");
        assert_eq!(hour.at_most(Duration::from_secs(1)).as_duration(), MINUTE);
    }

    #[test]
    fn a_leaf_stays_inside_its_chain() {
        let chain = Window { not_before: at(0), not_after: at(4000) };
        let hour = Lifetime::DEFAULT;
        let plain = Window::leaf(hour, chain, at(300)).unwrap();
        assert_eq!((plain.not_before, plain.not_after), (at(180), at(3900)));
        let early = Window::leaf(hour, chain, at(30)).unwrap();
        assert_eq!(early.not_before, at(0));
        let late = Window::leaf(hour, chain, at(3900)).unwrap();
        assert_eq!(late.not_after, at(4000));
        assert!(matches!(Window::leaf(hour, chain, at(3941)), Err(ProfileError::ChainEnds)));
        let before = at(0) - Duration::from_secs(1);
        assert!(matches!(Window::leaf(hour, chain, before), Err(ProfileError::NotYetValid)));
    }

    #[test]
    fn an_issuing_authority_never_outlives_its_root() {
        let domain = TrustDomain::parse("demo.mesh").unwrap();
        let root = Window { not_before: at(0), not_after: at(1000) };
        let params = issuing(&domain, root, at(10)).unwrap();
        assert_eq!(params.not_after, date(at(1000)).unwrap());
        assert_eq!(params.not_before, date(at(0)).unwrap());
        assert!(matches!(issuing(&domain, root, at(999)), Err(ProfileError::ChainEnds)));
    }

    #[test]
    fn serials_are_of_128_bits_and_differ() {
        let (one, two) = (serial().unwrap(), serial().unwrap());
        assert_eq!(one.len(), 16);
        assert_ne!(one, two);
    }
}
