//! One answer of a [`super::Feed`]: a few bytes of its own, and bytes that are shared with other subscribers.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use prost::Message as _;

/// The head of a gRPC message: a byte that says it is not compressed, and its length in four bytes.
const GRPC_HEAD: usize = 5;

/// An encoded `DeltaDiscoveryResponse`.
#[derive(Debug)]
pub struct Answer {
    head: Bytes,
    shared: Vec<Bytes>,
}

impl Answer {
    pub(super) fn encode(
        (type_url, nonce): (&str, u64),
        revision: &str,
        (shared, removed): (Vec<Bytes>, Vec<Arc<str>>),
    ) -> Self {
        let head = DeltaDiscoveryResponse {
            system_version_info: revision.to_owned(),
            type_url: type_url.to_owned(),
            nonce: nonce.to_string(),
            removed_resources: removed.iter().map(ToString::to_string).collect(),
            ..DeltaDiscoveryResponse::default()
        };
        Self { head: head.encode_to_vec().into(), shared }
    }

    /// The length of the whole message in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.head.len() + self.shared.iter().map(Bytes::len).sum::<usize>()
    }

    /// The message as it goes over a gRPC stream, in pieces. Nothing shared is copied.
    pub(super) fn into_frames(self) -> VecDeque<Bytes> {
        let mut first = BytesMut::with_capacity(GRPC_HEAD + self.head.len());
        first.put_u8(0);
        first.put_u32(u32::try_from(self.size()).unwrap_or(u32::MAX));
        first.extend_from_slice(&self.head);
        std::iter::once(first.freeze()).chain(self.shared).collect()
    }

    /// The message, decoded.
    ///
    /// # Errors
    /// Never for an answer that was made here.
    pub fn decode(&self) -> Result<DeltaDiscoveryResponse, prost::DecodeError> {
        let mut whole = self.head.to_vec();
        self.shared.iter().for_each(|part| whole.extend_from_slice(part));
        DeltaDiscoveryResponse::decode(whole.as_slice())
    }
}
