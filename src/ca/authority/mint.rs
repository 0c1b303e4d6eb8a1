//! Tokens for proven workloads (SPIFFE JWT-SVID specification).

use std::time::SystemTime;

use serde::Serialize;
use zeroize::Zeroizing;

use crate::ca::attest::Holder;
use crate::ca::jwt::{JwtLifetime, JwtSignError};
use crate::ca::state::{at, unix};
use crate::identity::Audiences;

use super::{Authority, AuthorityError};

/// A JWT-SVID that was just signed.
pub struct MintedJwtSvid {
    token: Zeroizing<String>,
    kid: String,
    expires: SystemTime,
}

/// Why no token is signed.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The authority fails.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The key does not sign.
    #[error(transparent)]
    Sign(#[from] JwtSignError),
    /// The caller's certificate, or the authority's root, ends before any token could be used.
    #[error("the caller's certificate or the root ends within a second")]
    Ends,
}

/// Who, for whom, from when, until when (sections 3.1 to 3.3). Nothing else: whatever stands in a token is shown around.
#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    aud: &'a [String],
    iat: u64,
    exp: u64,
}

impl Authority {
    /// Signs a token that names the holder, with the key of the active generation: every connected sidecar has it before
    /// that generation becomes active. The token ends with the holder's certificate at the latest, and before its key goes
    /// out of the bundles: how long it lives is written down first, and a generation that goes waits for that.
    ///
    /// # Errors
    /// When it cannot be written down or signed, or would be over at once.
    pub fn mint(
        &self,
        holder: &Holder,
        audiences: &Audiences,
        lifetime: JwtLifetime,
        now: SystemTime,
    ) -> Result<MintedJwtSvid, MintError> {
        let current = self.remember_token(lifetime, now)?;
        let generation = &current.active;
        let end = now.checked_add(lifetime.as_duration()).ok_or(MintError::Ends)?;
        let end = end.min(holder.not_after()).min(generation.root.window.not_after);
        let (iat, exp) = (unix(now), unix(end));
        if exp <= iat {
            return Err(MintError::Ends);
        }
        let claims = Claims { sub: holder.id().as_str(), aud: audiences.as_slice(), iat, exp };
        let token = Zeroizing::new(generation.jwt.sign(&claims)?);
        Ok(MintedJwtSvid { token, kid: generation.jwt.kid().to_owned(), expires: at(exp) })
    }
}

impl MintedJwtSvid {
    /// The token in compact serialisation. Whoever holds it can be taken for the workload by its audience.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The name of the key that signed it.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// From when on it is refused.
    #[must_use]
    pub fn expires(&self) -> SystemTime {
        self.expires
    }
}
