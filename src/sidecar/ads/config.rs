//! The section `capture` of a sidecar's configuration: what it needs of the others.

use crate::certs;
use crate::mesh::Endpoint;
use crate::mesh::captured::ServicesFrom;
use crate::runtime::Address;
use crate::sidecar::config::{Config, InvalidConfig, invalid};
use crate::sidecar::discovery::Wanted;

impl Config {
    /// What the control plane is asked for besides what every sidecar needs.
    pub(in crate::sidecar) fn wanted(&self) -> Wanted {
        match self.capture.as_ref().and_then(|capture| capture.services.as_ref()) {
            Some(ServicesFrom::Control(_)) => Wanted::Services,
            Some(ServicesFrom::File(_)) | None => Wanted::Nothing,
        }
    }

    /// Checks what the section `capture` needs of the others.
    pub(in crate::sidecar) fn check_capture(&self) -> Result<(), InvalidConfig> {
        let Some(capture) = &self.capture else { return Ok(()) };
        if self.envoy.is_some() {
            let problem =
                "cannot be had together with `envoy`: an Envoy has its listeners from one of them";
            return Err(invalid("capture", problem));
        }
        if self.sds.is_none() {
            let problem = "is needed when capture is there: the Envoy gets its configuration and its certificate from there";
            return Err(invalid("sds", problem));
        }
        if !self.ext_authz.listen.iter().any(Address::is_local) {
            let problem = "needs a unix socket or a loopback address when capture is there";
            return Err(invalid("extAuthz.listen", problem));
        }
        if capture.addresses.is_empty() {
            let problem = "needs the addresses of the pod: write them, or set HOPGATE_SIDECAR_POD_IPS to them";
            return Err(invalid("capture.addresses", problem));
        }
        let certified = self.certificates.as_ref().map(|certificates| &certificates.source);
        if self.wanted() == Wanted::Services
            && !matches!(certified, Some(certs::Source::Control(_)))
        {
            let problem = "control needs certificates.control: the control plane tells services to whom it certified";
            return Err(invalid("capture.services", problem));
        }
        if let Endpoint::Tcp(_) = capture.admin {
            let problem =
                "must be a unix socket (unix:/path): in a pod every process reaches every port";
            return Err(invalid("capture.admin", problem));
        }
        Ok(())
    }
}
