//! An identity in the words of the Workload API.

use std::collections::BTreeMap;

use prost_types::value::Kind;
use serde_json::{Map, Value};

use crate::identity::{JwtBundle, SpiffeId, TrustBundle, TrustDomain, WorkloadIdentity};
use crate::proto::workload::{
    JwtBundlesResponse, Jwtsvid, JwtsvidResponse, X509BundlesResponse, X509svid, X509svidResponse,
};

/// The certificate with key and roots. Revocation lists are not part of it: a revoked workload is refused by its peers'
/// gates, and its short-lived certificate is not renewed.
pub(super) fn x509_svids(identity: &WorkloadIdentity) -> X509svidResponse {
    let WorkloadIdentity { svid, bundles } = identity;
    let chain = svid.chain().iter().flat_map(|certificate| certificate.to_vec()).collect();
    let own = X509svid {
        spiffe_id: svid.id().to_string(),
        x509_svid: chain,
        x509_svid_key: svid.key().to_pkcs8().to_vec(),
        bundle: roots(bundles.own()),
        hint: String::new(),
    };
    let federated = bundles.foreign().map(|bundle| (key(bundle.domain()), roots(bundle)));
    X509svidResponse { svids: vec![own], crl: Vec::new(), federated_bundles: federated.collect() }
}

/// The roots of the own trust domain and of foreign ones.
pub(super) fn x509_bundles(identity: &WorkloadIdentity) -> X509BundlesResponse {
    let bundles = &identity.bundles;
    let all = std::iter::once(bundles.own()).chain(bundles.foreign());
    let bundles = all.map(|bundle| (key(bundle.domain()), roots(bundle))).collect();
    X509BundlesResponse { crl: Vec::new(), bundles }
}

/// One token of the workload.
pub(super) fn jwt_svid(id: &SpiffeId, token: String) -> JwtsvidResponse {
    let svid = Jwtsvid { spiffe_id: id.to_string(), svid: token, hint: String::new() };
    JwtsvidResponse { svids: vec![svid] }
}

/// The keys of the own trust domain, which may be none, and of foreign ones.
///
/// # Errors
/// When keys cannot be written as JSON.
pub(super) fn jwt_bundles(
    identity: &WorkloadIdentity,
) -> Result<JwtBundlesResponse, serde_json::Error> {
    let own = identity.bundles.own().domain();
    let none = JwtBundle::empty(own.clone());
    let mut bundles = BTreeMap::from([(key(own), none.to_jwks()?.into_bytes())]);
    for bundle in identity.bundles.jwt() {
        bundles.insert(key(bundle.domain()), bundle.to_jwks()?.into_bytes());
    }
    Ok(JwtBundlesResponse { bundles })
}

/// Claims as a `google.protobuf.Struct`, whose numbers are all floating point.
pub(super) fn claims(claims: &Map<String, Value>) -> prost_types::Struct {
    let fields = claims.iter().map(|(name, value)| (name.clone(), to_value(value))).collect();
    prost_types::Struct { fields }
}

fn to_value(value: &Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(items) => {
            Kind::ListValue(prost_types::ListValue { values: items.iter().map(to_value).collect() })
        }
        Value::Object(members) => Kind::StructValue(claims(members)),
    };
    prost_types::Value { kind: Some(kind) }
}

fn roots(bundle: &TrustBundle) -> Vec<u8> {
    bundle.roots().iter().flat_map(|root| root.to_vec()).collect()
}

/// A trust domain as the clients key it: its SPIFFE ID.
fn key(domain: &TrustDomain) -> String {
    format!("spiffe://{domain}")
}
