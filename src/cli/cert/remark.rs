//! What keeps a certificate from being an SVID, or is not well with it, each with the rule that says so.

use std::time::SystemTime;

use super::facts::Facts;
use crate::identity::SpiffeId;

/// What is not well with a certificate.
pub(super) fn remarks(facts: &Facts, now: SystemTime) -> Vec<String> {
    let mut remarks = Vec::new();
    if now < facts.not_before {
        remarks.push("it is not valid yet".to_owned());
    }
    if now > facts.not_after {
        remarks.push("it has expired".to_owned());
    }
    if facts.signature.contains("SHA-1") {
        remarks.push("it is signed with SHA-1, which proves nothing any more".to_owned());
    }
    if facts.is_authority() {
        remarks.extend(authority(facts));
    } else {
        remarks.extend(leaf(facts).into_iter().map(|why| format!("no X509-SVID: {why}")));
    }
    remarks
}

/// X509-SVID, sections 3.2 and 4.
fn authority(facts: &Facts) -> Vec<String> {
    let mut remarks = Vec::new();
    match &facts.usages {
        Some((usages, _)) if usages.contains(&"keyCertSign") => {}
        Some(_) => remarks
            .push("an authority without keyCertSign signs nothing (X509-SVID 4.3)".to_owned()),
        None => remarks.push("it has no key usage (X509-SVID 4.3)".to_owned()),
    }
    if facts.uris().iter().any(|uri| SpiffeId::parse(uri).is_ok()) {
        let text =
            "an authority whose SPIFFE ID has a path is named like a workload (X509-SVID 3.2)";
        remarks.push(text.to_owned());
    }
    remarks
}

/// X509-SVID, sections 2 to 5. Empty for an SVID.
pub(super) fn leaf(facts: &Facts) -> Vec<String> {
    let mut why = Vec::new();
    match facts.uris().as_slice() {
        [] => why.push("it has no URI name, so no SPIFFE ID (X509-SVID 2)".to_owned()),
        [uri] => {
            if let Err(error) = SpiffeId::parse(uri) {
                why.push(format!("its URI name {error} (SPIFFE-ID 2)"));
            }
        }
        uris => {
            why.push(format!("it has {} URI names, and one is allowed (X509-SVID 2)", uris.len()))
        }
    }
    if facts.is_authority() {
        why.push("it is an authority (X509-SVID 4.1)".to_owned());
    }
    match &facts.usages {
        None => why.push("it has no key usage (X509-SVID 4.3)".to_owned()),
        Some((usages, critical)) => {
            if !usages.contains(&"digitalSignature") {
                why.push("its key usage lacks digitalSignature (X509-SVID 4.3)".to_owned());
            }
            for wrong in ["keyCertSign", "cRLSign"] {
                if usages.contains(&wrong) {
                    why.push(format!("its key usage has {wrong} (X509-SVID 4.3)"));
                }
            }
            if !critical {
                why.push("its key usage is not critical (X509-SVID 4.3)".to_owned());
            }
        }
    }
    if let Some(purposes) = &facts.purposes {
        for needed in ["serverAuth", "clientAuth"] {
            if !purposes.iter().any(|purpose| purpose == needed) {
                why.push(format!("its extended key usage lacks {needed} (X509-SVID 4.4)"));
            }
        }
    }
    if facts.subject.is_empty() && !facts.names.is_empty() && !facts.names_critical {
        why.push("it has no subject, and its names are not critical (X509-SVID 3.1)".to_owned());
    }
    why
}
