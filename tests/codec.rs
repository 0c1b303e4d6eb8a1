//! Our CheckRequest decoder and CheckResponse encoder against the generated types, which serve as the oracle.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3::address::Address as OneAddress;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{
    Address, EnvoyInternalAddress, HeaderMap, HeaderValue, Pipe, SocketAddress,
};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{
    HttpRequest, Peer, Request, TlsSession,
};
use envoy_types::pb::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse, check_response::HttpResponse,
};
use envoy_types::pb::google::protobuf::{Timestamp, value::Kind};
use hopgate::proto::WireError;
use hopgate::proto::answer::{self, HeaderText, Mutations, Present, RefusalStatus};
use hopgate::proto::check;
use proptest::collection::{hash_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use prost::Message as _;

use crate::support::vectors;

#[test]
fn every_recorded_request_decodes_as_the_oracle_does() {
    let Some(directory) = vectors("checkrequests") else { return };
    let mut seen = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "pb") {
            let bytes = std::fs::read(&path).unwrap();
            let oracle = CheckRequest::decode(bytes.as_slice()).unwrap();
            agrees(&oracle, &bytes);
            seen += 1;
        }
    }
    println!("{seen} recorded requests compared");
    assert!(seen > 30, "{seen} recordings found");
}

#[test]
fn truncated_and_bent_messages_fail_like_the_oracle() {
    let Some(directory) = vectors("checkrequests") else { return };
    let bytes = std::fs::read(directory.join("mtls-set-frontend.pb")).unwrap();
    for end in 0..bytes.len() {
        let ours = check::Check::decode(&bytes[..end]).is_ok();
        let oracle = CheckRequest::decode(&bytes[..end]).is_ok();
        assert_eq!(ours, oracle, "cut at {end}");
    }
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bent = bytes.clone();
            bent[at] ^= 1 << bit;
            let oracle = CheckRequest::decode(bent.as_slice());
            match (check::Check::decode(&bent), oracle) {
                (Ok(_), Ok(oracle)) => agrees(&oracle, &bent),
                (Err(_), Err(_)) => {}
                // Groups, which prost skips and we refuse.
                (Err(WireError::Tag), Ok(_)) => {}
                // Metadata stays encoded here.
                (Ok(_), Err(error)) if error.to_string().contains("metadata_context") => {}
                (ours, oracle) => {
                    panic!("byte {at} bit {bit}: {:?} / {:?}", ours.err(), oracle.err())
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn generated_requests_decode_as_the_oracle_does(request in request()) {
        agrees(&request, &request.encode_to_vec());
    }

    #[test]
    fn messages_sent_in_two_parts_merge_as_the_oracle_does(a in request(), b in request()) {
        let bytes = [a.encode_to_vec(), b.encode_to_vec()].concat();
        let oracle = CheckRequest::decode(bytes.as_slice()).unwrap();
        let ours = check::Check::decode(&bytes).unwrap();
        let attributes = oracle.attributes.unwrap_or_default();
        prop_assert_eq!(ours.source.map(|p| p.principal.to_owned()),
            attributes.source.map(|p| p.principal));
        let http = attributes.request.unwrap_or_default().http;
        prop_assert_eq!(ours.http.as_ref().map(|h| h.path.to_owned()), http.map(|h| h.path));
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        let _ours = check::Check::decode(&bytes);
    }

    #[test]
    fn answers_read_as_they_were_meant(
        user in ".{0,40}", body in ".{0,300}", request_id in "[a-z0-9-]{0,300}",
    ) {
        let removed = answer::removals(["authorization", "x_hopgate_user"]);
        let set = vec![("x-hopgate-user", HeaderText::encode(&user))];
        let response = answer::response_headers(&[("x-a", HeaderText::encode("a"), Present::Replace)]);
        let response_too = vec![("x-user", HeaderText::encode(&user), Present::Keep)];
        let removed_too = vec!["cookie"];
        let mutations = Mutations { set, removed: &removed, removed_too, response: &response, response_too };
        let bytes = answer::allow(&mutations, &[("request_id", &request_id)]);
        let allowed = CheckResponse::decode(bytes.as_bytes()).unwrap();
        prop_assert_eq!(allowed.status.as_ref().unwrap().code, 0);
        metadata_is(&allowed, "request_id", &request_id);
        let Some(HttpResponse::OkResponse(ok)) = allowed.http_response else { panic!("ok_response") };
        prop_assert_eq!(&ok.headers_to_remove, &["authorization", "x_hopgate_user", "cookie"]);
        let header = ok.headers[0].header.as_ref().unwrap();
        prop_assert_eq!(&header.key, "x-hopgate-user");
        let safe = HeaderText::encode(&user);
        prop_assert_eq!(header.value.as_str(), safe.as_str());
        prop_assert!(header.value.bytes().all(|b| (0x20..0x7f).contains(&b)));
        #[allow(deprecated, reason = "Envoy 1.40 obeys this one")]
        let append = ok.headers[0].append.as_ref().unwrap().value;
        prop_assert!(!append);
        prop_assert_eq!(ok.headers[0].append_action, 2);
        let [added, kept] = ok.response_headers_to_add.as_slice() else { panic!("two headers") };
        prop_assert_eq!((added.append_action, kept.append_action), (2, 1));
        prop_assert_eq!(&added.header.as_ref().unwrap().key, "x-a");
        prop_assert_eq!(kept.header.as_ref().unwrap().value.as_str(), safe.as_str());

        let headers = [("x-request-id", HeaderText::encode(&request_id))];
        let bytes = answer::deny(RefusalStatus::Unauthorized, &headers, &body, &[("code", "x")]);
        let denied = CheckResponse::decode(bytes.as_bytes()).unwrap();
        prop_assert_eq!(denied.status.as_ref().unwrap().code, 16);
        metadata_is(&denied, "code", "x");
        let Some(HttpResponse::DeniedResponse(denied)) = denied.http_response else { panic!("denied") };
        prop_assert_eq!(denied.status.unwrap().code, 401);
        prop_assert_eq!(denied.body, body);
    }
}

fn metadata_is(response: &CheckResponse, name: &str, value: &str) {
    let field = &response.dynamic_metadata.as_ref().unwrap().fields[name];
    assert_eq!(field.kind, Some(Kind::StringValue(value.to_owned())));
}

fn agrees(oracle: &CheckRequest, bytes: &[u8]) {
    let ours = check::Check::decode(bytes).unwrap();
    let Some(attributes) = &oracle.attributes else {
        assert!(!ours.has_attributes);
        return;
    };
    assert!(ours.has_attributes);
    same_peer(ours.source.as_ref(), attributes.source.as_ref());
    same_peer(ours.destination.as_ref(), attributes.destination.as_ref());
    assert_eq!(ours.sni, attributes.tls_session.as_ref().map(|t| t.sni.as_str()));
    let extensions: HashMap<_, _> =
        ours.context_extensions.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    assert_eq!(extensions, attributes.context_extensions);
    assert_eq!(ours.metadata_context.is_some(), attributes.metadata_context.is_some());
    assert_eq!(ours.route_metadata_context.is_some(), attributes.route_metadata_context.is_some());
    let request = attributes.request.clone().unwrap_or_default();
    assert_eq!(ours.time, request.time.map(|t| (t.seconds, t.nanos)));
    match (&ours.http, &request.http) {
        (None, None) => {}
        (Some(ours), Some(oracle)) => same_http(ours, oracle),
        (ours, oracle) => panic!("http: {ours:?} / {oracle:?}"),
    }
}

fn same_http(ours: &check::Http<'_>, oracle: &HttpRequest) {
    assert_eq!(ours.id, oracle.id);
    assert_eq!(ours.method, oracle.method);
    assert_eq!(ours.path, oracle.path);
    assert_eq!(ours.host, oracle.host);
    assert_eq!(ours.scheme, oracle.scheme);
    assert_eq!(ours.query, oracle.query);
    assert_eq!(ours.fragment, oracle.fragment);
    assert_eq!(ours.size, oracle.size);
    assert_eq!(ours.protocol, oracle.protocol);
    assert_eq!(ours.body, oracle.body);
    assert_eq!(ours.raw_body, oracle.raw_body);
    let mut expected: Vec<(String, Vec<u8>)> =
        oracle.headers.iter().map(|(k, v)| (k.clone(), v.clone().into_bytes())).collect();
    for header in oracle.header_map.iter().flat_map(|map| &map.headers) {
        let value = if header.raw_value.is_empty() {
            header.value.clone().into_bytes()
        } else {
            header.raw_value.clone()
        };
        expected.push((header.key.clone(), value));
    }
    let mut found: Vec<(String, Vec<u8>)> =
        ours.headers.iter().map(|(k, v)| ((*k).to_owned(), v.to_vec())).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

fn same_peer(ours: Option<&check::Peer<'_>>, oracle: Option<&Peer>) {
    let (Some(ours), Some(oracle)) = (ours, oracle) else {
        assert_eq!(ours.is_some(), oracle.is_some());
        return;
    };
    assert_eq!(ours.principal, oracle.principal);
    assert_eq!(ours.certificate, oracle.certificate);
    assert_eq!(ours.service, oracle.service);
    let address = oracle.address.as_ref().and_then(|a| a.address.as_ref());
    match (ours.address, address) {
        (None, None) => {}
        (
            Some(check::Address::Socket { address, port }),
            Some(OneAddress::SocketAddress(oracle)),
        ) => {
            assert_eq!(address, oracle.address);
            let expected = match oracle.port_specifier {
                Some(PortSpecifier::PortValue(port)) => Some(port),
                _ => None,
            };
            assert_eq!(port, expected);
        }
        (Some(check::Address::Pipe(path)), Some(OneAddress::Pipe(oracle))) => {
            assert_eq!(path, oracle.path);
        }
        (Some(check::Address::Internal(name)), Some(OneAddress::EnvoyInternalAddress(oracle))) => {
            let expected = match &oracle.address_name_specifier {
                Some(envoy_types::pb::envoy::config::core::v3::envoy_internal_address::AddressNameSpecifier::ServerListenerName(name)) => name.as_str(),
                None => "",
            };
            assert_eq!(name, expected);
        }
        (ours, oracle) => panic!("address: {ours:?} / {oracle:?}"),
    }
}

fn request() -> impl Strategy<Value = CheckRequest> {
    of(attributes()).prop_map(|attributes| CheckRequest { attributes })
}

fn attributes() -> impl Strategy<Value = AttributeContext> {
    (of(peer()), of(peer()), of(http()), of((any::<i64>(), any::<i32>())), of(".{0,9}"), strings())
        .prop_map(|(source, destination, http, time, sni, context_extensions)| AttributeContext {
            source,
            destination,
            request: Some(Request {
                time: time.map(|(seconds, nanos)| Timestamp { seconds, nanos }),
                http,
            }),
            context_extensions,
            metadata_context: None,
            route_metadata_context: None,
            tls_session: sni.map(|sni| TlsSession { sni }),
        })
}

fn peer() -> impl Strategy<Value = Peer> {
    (of(address()), ".{0,20}", ".{0,20}", ".{0,200}", strings()).prop_map(
        |(address, service, principal, certificate, labels)| Peer {
            address,
            service,
            labels,
            principal,
            certificate,
        },
    )
}

fn address() -> impl Strategy<Value = Address> {
    let socket = ("[0-9.]{0,15}", of(any::<u32>())).prop_map(|(address, port)| {
        OneAddress::SocketAddress(SocketAddress {
            address,
            port_specifier: port.map(PortSpecifier::PortValue),
            ..SocketAddress::default()
        })
    });
    let pipe = ".{0,20}".prop_map(|path| OneAddress::Pipe(Pipe { path, mode: 0 }));
    let internal = Just(OneAddress::EnvoyInternalAddress(EnvoyInternalAddress::default())).boxed();
    of(prop_oneof![socket.boxed(), pipe.boxed(), internal]).prop_map(|address| Address { address })
}

fn http() -> impl Strategy<Value = HttpRequest> {
    let texts = (".{0,9}", "[A-Z]{0,7}", ".{0,40}", ".{0,20}", ".{0,5}", ".{0,9}");
    let bodies = (any::<i64>(), ".{0,50}", vec(any::<u8>(), 0..50));
    let raw = of(vec((".{0,9}", ".{0,9}", vec(any::<u8>(), 0..9)), 0..5));
    (texts, bodies, strings(), raw).prop_map(|(texts, bodies, headers, raw)| {
        let (id, method, path, host, scheme, protocol) = texts;
        let (size, body, raw_body) = bodies;
        let header_map = raw.map(|lines| HeaderMap {
            headers: lines
                .into_iter()
                .map(|(key, value, raw_value)| HeaderValue { key, value, raw_value })
                .collect(),
        });
        HttpRequest {
            id,
            method,
            headers,
            path,
            host,
            scheme,
            query: String::new(),
            fragment: String::new(),
            size,
            protocol,
            body,
            raw_body,
            header_map,
        }
    })
}

fn strings() -> impl Strategy<Value = HashMap<String, String>> {
    hash_map(".{0,9}", ".{0,30}", 0..6)
}
