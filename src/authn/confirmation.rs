//! Whether whoever shows a credential is the one it is bound to (RFC 9449, RFC 8705).
//!
//! A credential that names a binding is accepted only with the proof of it, whatever a provider's rules say; the rules
//! say whether one without a binding is accepted at all.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use std::time::SystemTime;

use super::claims::{Cnf, User};
use super::dpop::{DpopGuard, DpopRules, ProofInput};
use super::evidence::HttpEvidence;
use super::place::{Credential, Scheme};
use super::unproven::ConfirmationFault;
use crate::policy::{ConfirmationRules, Demand};

/// What a proof of possession is held against.
pub(super) struct Possession<'a> {
    pub(super) guard: &'a DpopGuard,
    pub(super) rules: &'a ConfirmationRules,
    pub(super) dpop: &'a DpopRules,
    pub(super) http: &'a HttpEvidence<'a>,
    /// SHA-256 of the client certificate on the wire.
    pub(super) certificate: Option<&'a [u8; 32]>,
    pub(super) now: SystemTime,
}

impl Possession<'_> {
    /// Accepts a credential from whoever holds the key that it is bound to. A proof counts once, so this comes last.
    pub(super) fn check(
        &self,
        user: &User,
        credential: &Credential<'_>,
    ) -> Result<(), ConfirmationFault> {
        let cnf = user.cnf();
        let jkt = cnf.and_then(Cnf::jkt);
        let certificate = cnf.and_then(Cnf::certificate);
        self.demand(jkt.is_some(), certificate.is_some())?;
        match (jkt, credential.scheme) {
            (Some(_), Scheme::Bearer) => return Err(ConfirmationFault::Scheme),
            (None, Scheme::Dpop) => return Err(ConfirmationFault::NotBound),
            (Some(_), Scheme::Dpop | Scheme::None) | (None, Scheme::Bearer | Scheme::None) => {}
        }
        if let Some(wanted) = certificate {
            let shown = self.certificate.ok_or(ConfirmationFault::CertificateMissing)?;
            verify_slices_are_equal(wanted, shown)
                .map_err(|_| ConfirmationFault::CertificateMismatch)?;
        }
        match jkt {
            Some(jkt) => self.prove(jkt, credential),
            None => Ok(()),
        }
    }

    fn demand(&self, by_dpop: bool, by_certificate: bool) -> Result<(), ConfirmationFault> {
        let enough = match (self.rules.dpop, self.rules.certificate) {
            (Demand::Accepted, Demand::Accepted) => true,
            (Demand::Required, Demand::Accepted) => by_dpop,
            (Demand::Accepted, Demand::Required) => by_certificate,
            (Demand::Required, Demand::Required) => by_dpop || by_certificate,
        };
        if enough { Ok(()) } else { Err(ConfirmationFault::Demanded) }
    }

    fn prove(&self, jkt: &[u8; 32], credential: &Credential<'_>) -> Result<(), ConfirmationFault> {
        let values: Vec<&[u8]> = self.http.lines("dpop").collect();
        let input = ProofInput {
            values: &values,
            method: self.http.method,
            // Who ended TLS before us does not say it in a way that can be believed.
            schemes: &[super::dpop::Scheme::Http, super::dpop::Scheme::Https],
            host: self.http.authority,
            path: self.http.path,
            access_token: &credential.text,
            jkt: &URL_SAFE_NO_PAD.encode(jkt),
        };
        Ok(self.guard.check(&input, self.dpop, self.now)?)
    }
}
