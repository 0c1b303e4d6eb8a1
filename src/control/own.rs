//! The control plane's own certificate: issued by its authority to itself, replaced without a restart.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::ca::{Authority, Lifetime, Upkeep};
use crate::certs::{Jitter, Next, Retry, Schedule, next};

use super::ControlError;

/// What the TLS server shows. Handshakes read it without a lock.
pub(super) struct OwnCertificate {
    authority: Arc<Authority>,
    names: Vec<String>,
    lifetime: Lifetime,
    current: ArcSwap<CertifiedKey>,
    plan: Mutex<Plan>,
}

struct Plan {
    schedule: Schedule,
    /// Which issuing key signed it.
    signed_by: String,
    retry: Option<Retry>,
}

impl OwnCertificate {
    pub(super) fn new(
        authority: Arc<Authority>,
        (names, lifetime): (Vec<String>, Lifetime),
        now: SystemTime,
    ) -> Result<Self, ControlError> {
        let signed_by = authority.own_key_id();
        let (key, schedule) = issue(&authority, &names, lifetime, now)?;
        Ok(Self {
            authority,
            names,
            lifetime,
            current: ArcSwap::from_pointee(key),
            plan: Mutex::new(Plan { schedule, signed_by, retry: None }),
        })
    }

    /// Replaces the certificate when it is due, or when another issuing key signs by now. On failure the old one stays
    /// and the next tick tries again. True if it was replaced.
    pub(super) fn renew_if_due(&self, now: SystemTime) -> bool {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let signed_by = self.authority.own_key_id();
        let due = next(Some(&plan.schedule), plan.retry.as_ref(), now) == Next::Attempt;
        if !due && plan.signed_by == signed_by {
            return false;
        }
        match issue(&self.authority, &self.names, self.lifetime, now) {
            Ok((key, schedule)) => {
                self.current.store(Arc::new(key));
                *plan = Plan { schedule, signed_by, retry: None };
                tracing::info!("renewed the control plane's own certificate");
                true
            }
            Err(error) => {
                plan.retry = Some(Retry::after(plan.retry.as_ref(), now, Jitter::new(1.0)));
                tracing::error!(%error, "cannot renew the control plane's own certificate");
                false
            }
        }
    }
}

/// Lets the authority replace its issuing certificate.
pub(super) fn look_after(authority: &Authority, now: SystemTime) {
    match authority.upkeep(now) {
        // Another task asks.
        Ok(Upkeep::NothingDue | Upkeep::OtherMustSign) => {}
        Ok(Upkeep::Replaced) => tracing::info!("replaced the issuing certificate"),
        Ok(Upkeep::OperatorMustReplace) => {
            tracing::warn!("the issuing certificate comes near its end; replace its files");
        }
        Err(error) => tracing::error!(%error, "cannot replace the issuing certificate"),
    }
}

/// Lets the authority read again what the operator supplies.
pub(super) fn refresh(authority: &Authority, now: SystemTime) {
    match authority.refresh(now) {
        Ok(false) => {}
        Ok(true) => tracing::warn!("the files of the authority changed, and are in force"),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(
                error,
                "the files of the authority do not fit; the old ones stay in force"
            );
        }
    }
}

/// The vault may be written for it, which blocks.
pub(super) async fn certificate(
    authority: &Arc<Authority>,
    (names, lifetime): (&[String], Lifetime),
    now: SystemTime,
) -> Result<Arc<OwnCertificate>, ControlError> {
    let (authority, names) = (Arc::clone(authority), names.to_vec());
    let made = move || OwnCertificate::new(authority, (names, lifetime), now);
    let made = tokio::task::spawn_blocking(made).await;
    made.map_err(|_| ControlError::Panicked("making the control plane's own certificate"))?
        .map(Arc::new)
}

fn issue(
    authority: &Authority,
    names: &[String],
    lifetime: Lifetime,
    now: SystemTime,
) -> Result<(CertifiedKey, Schedule), ControlError> {
    let svid = authority.own_certificate(names, lifetime, now)?;
    let leaf = svid.leaf();
    let middle = Jitter::new(0.5);
    let schedule = Schedule::new((leaf.not_before(), leaf.not_after()), now, middle);
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = CertifiedKey::from_der(svid.chain().to_vec(), svid.key().to_rustls(), &provider)
        .map_err(ControlError::Tls)?;
    Ok((key, schedule))
}

impl ResolvesServerCert for OwnCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl fmt::Debug for OwnCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnCertificate").field("names", &self.names).finish_non_exhaustive()
    }
}
