//! What stands in each secret.
//!
//! | name | content |
//! | --- | --- |
//! | `default`, the workload's SPIFFE ID | chain and private key, in one secret |
//! | `ROOTCA` | the roots of the own trust domain as a plain trusted CA, to be combined with SAN matchers |
//! | `spiffe://<trust domain>` | the roots of that trust domain, own or foreign, for Envoy's SPIFFE validator |
//! | `ALL` | the roots of every trust domain, each under its name, for Envoy's SPIFFE validator |
//!
//! A foreign root is never part of a plain trusted CA: there it would vouch for any name. No secret here holds SAN
//! matchers: combined with those of a listener, Envoy would take a peer that fits either.

use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::{DataSource, TypedExtensionConfig};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::spiffe_cert_validator_config::TrustDomain as Entry;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, SpiffeCertValidatorConfig, TlsCertificate,
};
use envoy_types::pb::google::protobuf::Any;
use prost::{Message as _, Name as _};
use zeroize::{Zeroize as _, Zeroizing};

use super::crl::Crl;
use crate::identity::{TrustBundle, TrustDomain, WorkloadIdentity};
use crate::mesh::{ALL_ROOTS, OWN_CERTIFICATE, ROOTS};
use crate::xds::{SECRET_TYPE, Table};

/// The name under which Envoy knows its SPIFFE validator.
const SPIFFE_VALIDATOR: &str = "envoy.tls.cert_validator.spiffe";

/// The secrets of one identity. The roots of its own trust domain vouch for `aliases` too, the other names of the
/// mesh. A `crl` is checked for every chain that ends in those roots.
#[must_use]
pub fn secrets(identity: &WorkloadIdentity, aliases: &[TrustDomain], crl: Option<&Crl>) -> Table {
    let mut table = Table::new(SECRET_TYPE);
    for name in [OWN_CERTIFICATE, identity.svid.id().as_str()] {
        table.insert(name, certificate(name, identity));
    }
    let bundles = &identity.bundles;
    table.insert(ROOTS, validation(ROOTS, plain(bundles.own(), crl)));
    // An alias that is a trust domain of its own has roots of its own.
    let aliases = aliases.iter().filter(|alias| bundles.of(alias).is_none());
    let own = std::iter::once(bundles.own().domain()).chain(aliases);
    let own = own.map(|name| entry(name, bundles.own(), crl));
    // The list is of the own trust domain's authorities and says nothing of others.
    let foreign = bundles.foreign().map(|bundle| entry(bundle.domain(), bundle, None));
    let entries: Vec<Entry> = own.chain(foreign).collect();
    for entry in &entries {
        let name = format!("spiffe://{}", entry.name);
        table.insert(name.as_str(), validation(&name, spiffe(vec![entry.clone()])));
    }
    table.insert(ALL_ROOTS, validation(ALL_ROOTS, spiffe(entries)));
    table
}

/// Chain and key travel together: apart, Envoy would see a pair that does not match while they change.
fn certificate(name: &str, identity: &WorkloadIdentity) -> Zeroizing<Vec<u8>> {
    let mut secret = Secret {
        name: name.to_owned(),
        r#type: Some(Type::TlsCertificate(TlsCertificate {
            certificate_chain: Some(inline(identity.svid.chain_pem().into_bytes())),
            private_key: Some(inline(identity.svid.key().to_pem().as_bytes().to_vec())),
            ..TlsCertificate::default()
        })),
    };
    let encoded = Zeroizing::new(secret.encode_to_vec());
    if let Some(Type::TlsCertificate(TlsCertificate {
        private_key: Some(DataSource { specifier: Some(Specifier::InlineBytes(key)), .. }),
        ..
    })) = &mut secret.r#type
    {
        key.zeroize();
    }
    encoded
}

fn validation(name: &str, context: CertificateValidationContext) -> Zeroizing<Vec<u8>> {
    let secret = Secret { name: name.to_owned(), r#type: Some(Type::ValidationContext(context)) };
    Zeroizing::new(secret.encode_to_vec())
}

/// Any certificate of these roots. A `TrustBundle` holds at least one root, so this is never empty.
fn plain(bundle: &TrustBundle, crl: Option<&Crl>) -> CertificateValidationContext {
    CertificateValidationContext {
        trusted_ca: Some(inline(bundle.to_pem().into_bytes())),
        crl: crl.map(|crl| inline(crl.pem().as_bytes().to_vec())),
        ..CertificateValidationContext::default()
    }
}

/// Certificates whose trust domain is among the entries, each by the roots of that entry alone.
fn spiffe(trust_domains: Vec<Entry>) -> CertificateValidationContext {
    let config =
        SpiffeCertValidatorConfig { trust_domains, ..SpiffeCertValidatorConfig::default() };
    CertificateValidationContext {
        custom_validator_config: Some(TypedExtensionConfig {
            name: SPIFFE_VALIDATOR.to_owned(),
            typed_config: Some(Any {
                type_url: SpiffeCertValidatorConfig::type_url(),
                value: config.encode_to_vec(),
            }),
        }),
        ..CertificateValidationContext::default()
    }
}

/// The validator reads revocation lists from the same text as the roots.
fn entry(name: &TrustDomain, bundle: &TrustBundle, crl: Option<&Crl>) -> Entry {
    let mut pem = bundle.to_pem();
    pem.push_str(crl.map_or("", Crl::pem));
    Entry {
        name: name.to_string(),
        trust_bundle: Some(inline(pem.into_bytes())),
        ..Entry::default()
    }
}

fn inline(bytes: Vec<u8>) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineBytes(bytes)), ..DataSource::default() }
}
