//! Whom an Envoy calls, for whoever has to know when one of them is trusted no longer.

use crate::identity::{SpiffeId, TrustDomain};

use super::config::{Config, Name};
use super::fault::{Fault, InvalidMesh};

/// A door to another workload, and who may answer there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callee {
    /// The name of the outbound listener.
    pub name: Name,
    /// The identities that may answer.
    pub identities: Vec<SpiffeId>,
}

impl Config {
    /// Whom the outbound listeners call.
    ///
    /// # Errors
    /// When an identity is unreadable.
    pub fn callees(&self, domain: &TrustDomain) -> Result<Vec<Callee>, InvalidMesh> {
        let mut callees = Vec::with_capacity(self.outbound.len());
        let mut faults = Vec::new();
        for (index, one) in self.outbound.iter().enumerate() {
            let mut identities = Vec::with_capacity(one.identities.len());
            for (position, text) in one.identities.iter().enumerate() {
                let short = text.starts_with("ns/").then(|| format!("spiffe://{domain}/{text}"));
                match SpiffeId::parse(short.as_deref().unwrap_or(text)) {
                    Ok(id) => identities.push(id),
                    Err(source) => {
                        let field = format!("envoy.outbound[{index}].identities[{position}]");
                        faults.push((field, Fault::Identity { text: text.clone(), source }));
                    }
                }
            }
            callees.push(Callee { name: one.name.clone(), identities });
        }
        if faults.is_empty() { Ok(callees) } else { Err(InvalidMesh { faults }) }
    }
}
