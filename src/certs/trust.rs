//! Whom a workload trusts: what the control plane told last, or, before it told anything, the roots in `caFile`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use tokio::sync::{mpsc, oneshot, watch};

use crate::identity::{Bundles, SpiffeId, TrustBundle};
use crate::runtime::read_limited;

use super::renewal::RenewalError;

const MAX_ROOTS: u64 = 1024 * 1024;

/// Bundles that the control plane told in an earlier run.
#[derive(Debug, Clone)]
pub struct Told {
    /// What it told.
    pub bundles: Bundles,
    /// [`Trusted::bootstrap`] of then. When `caFile` has other roots now, the operator has spoken since.
    pub bootstrap: String,
}

/// Whom the workload trusts now.
#[derive(Debug, Clone, PartialEq)]
pub struct Trusted {
    /// The bundles.
    pub bundles: Bundles,
    /// The roots in `caFile`.
    pub roots: TrustBundle,
    /// Names the content of `caFile`: when it changes, what was told before counts no more.
    pub bootstrap: String,
}

/// Why bundles are not taken; the old ones stay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustRefused {
    /// They are of another trust domain.
    #[error("the bundle is not of this workload's trust domain")]
    OtherDomain,
    /// Peers would refuse the workload, and it would lose its certificate.
    #[error("the workload's own certificate does not chain to these roots: {0}")]
    HeldForeign(String),
    /// The certificate and its roots come from files.
    #[error("this workload takes its roots from files")]
    Files,
    /// Nobody renews any more.
    #[error("the sidecar is ending")]
    Ending,
}

/// Bundles on their way to the task that renews.
pub(super) struct Offer {
    pub(super) bundles: Bundles,
    pub(super) answer: oneshot::Sender<Result<(), TrustRefused>>,
}

/// The state of trust, kept by the task that renews.
pub(super) struct Trust {
    workload: SpiffeId,
    ca_file: PathBuf,
    state: watch::Sender<Arc<Trusted>>,
}

impl Trust {
    /// Reads `caFile`, and takes what was told before unless the file has other roots than then.
    pub(super) fn new(
        ca_file: &Path,
        workload: &SpiffeId,
        told: Option<Told>,
    ) -> Result<Self, RenewalError> {
        let roots = read_bundle(ca_file, workload)?;
        let bootstrap = digest(&roots);
        let told = told.filter(|told| {
            let domain = told.bundles.own().domain();
            let good = told.bootstrap == bootstrap && domain == roots.domain();
            if !good {
                tracing::warn!(
                    "caFile has other roots than when bundles were last told: they are forgotten"
                );
            }
            good
        });
        let bundles = told.map_or_else(|| Bundles::new(roots.clone()), |told| told.bundles);
        let state = watch::Sender::new(Arc::new(Trusted { bundles, roots, bootstrap }));
        Ok(Self { workload: workload.clone(), ca_file: ca_file.to_path_buf(), state })
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Trusted>> {
        self.state.subscribe()
    }

    pub(super) fn bundles(&self) -> Bundles {
        self.state.borrow().bundles.clone()
    }

    /// Trusts these from now on.
    pub(super) fn take(&mut self, bundles: Bundles) {
        let Trusted { bundles: _, roots, bootstrap } = Trusted::clone(&self.state.borrow());
        self.state.send_replace(Arc::new(Trusted { bundles, roots, bootstrap }));
    }

    /// Reads `caFile` again. Other roots in it are the operator's word: they are trusted, and what was told before is
    /// forgotten, until the control plane tells again. `None`: nothing changed.
    pub(super) fn reload(&mut self) -> Result<Option<Bundles>, RenewalError> {
        let roots = read_bundle(&self.ca_file, &self.workload)?;
        if roots == self.state.borrow().roots {
            return Ok(None);
        }
        tracing::info!(roots = roots.roots().len(), "the roots in caFile changed");
        let bundles = Bundles::new(roots.clone());
        let bootstrap = digest(&roots);
        self.state.send_replace(Arc::new(Trusted { bundles: bundles.clone(), roots, bootstrap }));
        Ok(Some(bundles))
    }
}

/// The handle's end.
#[derive(Debug, Clone)]
pub(super) struct TrustHandle {
    pub(super) offers: mpsc::Sender<Offer>,
    pub(super) state: watch::Receiver<Arc<Trusted>>,
}

impl TrustHandle {
    pub(super) async fn offer(&self, bundles: Bundles) -> Result<(), TrustRefused> {
        let (answer, answered) = oneshot::channel();
        let offer = Offer { bundles, answer };
        self.offers.send(offer).await.map_err(|_| TrustRefused::Ending)?;
        answered.await.map_err(|_| TrustRefused::Ending)?
    }
}

fn read_bundle(path: &Path, workload: &SpiffeId) -> Result<TrustBundle, RenewalError> {
    let text = read_limited(path, MAX_ROOTS)?;
    Ok(TrustBundle::from_pem(workload.trust_domain(), &text)?)
}

fn digest(bundle: &TrustBundle) -> String {
    let mut context = Context::new(&SHA256);
    bundle.roots().iter().for_each(|root| context.update(root));
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
