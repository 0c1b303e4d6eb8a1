//! Whose key a token is bound to (RFC 7800): a DPoP key (RFC 9449) or a client certificate (RFC 8705).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::authn::refused::TokenFault;

/// The `cnf` of a token: it counts only together with a proof of each key that stands here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cnf {
    jkt: Option<[u8; 32]>,
    certificate: Option<[u8; 32]>,
}

impl Cnf {
    /// The SHA-256 thumbprint of the DPoP key (`jkt`, RFC 7638).
    #[must_use]
    pub fn jkt(&self) -> Option<&[u8; 32]> {
        self.jkt.as_ref()
    }

    /// The SHA-256 of the client certificate (`x5t#S256`).
    #[must_use]
    pub fn certificate(&self) -> Option<&[u8; 32]> {
        self.certificate.as_ref()
    }

    /// Reads `cnf`. A method that is not known here could not be checked, so it refuses the token.
    pub(super) fn read(claims: &Map<String, Value>) -> Result<Option<Self>, TokenFault> {
        let Some(value) = claims.get("cnf") else { return Ok(None) };
        let Value::Object(members) = value else { return Err(TokenFault::ConfirmationUnknown) };
        let mut found = Self { jkt: None, certificate: None };
        for (method, value) in members {
            let print = Some(thumbprint(value).ok_or(TokenFault::ConfirmationUnknown)?);
            match method.as_str() {
                "jkt" => found.jkt = print,
                "x5t#S256" => found.certificate = print,
                _ => return Err(TokenFault::ConfirmationUnknown),
            }
        }
        if found.jkt.is_none() && found.certificate.is_none() {
            return Err(TokenFault::ConfirmationUnknown);
        }
        Ok(Some(found))
    }
}

fn thumbprint(value: &Value) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(value.as_str()?).ok()?.try_into().ok()
}
