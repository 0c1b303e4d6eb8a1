//! TLS between a sidecar and its control plane: version 1.3, no resumption, our clock.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use crate::identity::{TrustBundle, WorkloadIdentity};
use crate::runtime::Clock;

#[derive(Debug)]
struct OurClock(Clock);

impl TimeProvider for OurClock {
    fn current_time(&self) -> Option<UnixTime> {
        let since: Option<Duration> = self.0.now().duration_since(SystemTime::UNIX_EPOCH).ok();
        since.map(UnixTime::since_unix_epoch)
    }
}

/// The process's clock, for TLS configurations.
#[must_use]
pub fn time_provider(clock: &Clock) -> Arc<dyn TimeProvider> {
    Arc::new(OurClock(clock.clone()))
}

/// Verifies the server against `bundle`; presents `current`, if there is one.
pub(super) fn client_config(
    bundle: &TrustBundle,
    current: Option<&WorkloadIdentity>,
    clock: &Clock,
) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_details(provider, time_provider(clock))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(bundle.to_root_store());
    let mut config = match current {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let svid = &identity.svid;
            builder.with_client_auth_cert(svid.chain().to_vec(), svid.key().to_rustls())?
        }
    };
    // A resumed session would carry a certificate past its end.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
