//! The section `capture` of a sidecar's configuration: what it needs of the others.

use crate::mesh::Endpoint;
use crate::runtime::Address;
use crate::sidecar::config::{Config, InvalidConfig, invalid};

impl Config {
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
        if let Endpoint::Tcp(_) = capture.admin {
            let problem =
                "must be a unix socket (unix:/path): in a pod every process reaches every port";
            return Err(invalid("capture.admin", problem));
        }
        Ok(())
    }
}
