//! The subscriber's end of an aggregated incremental stream, on the wire.

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use futures_util::stream::unfold;
use tokio::sync::mpsc;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// The largest answer that is read: the largest batch of a server, and the largest resource.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Requests on the way. A server that does not read them holds the subscriber back.
const MAX_REQUESTS: usize = 64;

/// One open stream. Dropping it closes it.
pub struct Subscription {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    answers: Streaming<DeltaDiscoveryResponse>,
}

impl Subscription {
    /// Opens a stream with its first requests.
    ///
    /// # Errors
    /// When the server refuses the stream.
    pub async fn open(channel: Channel, first: Vec<DeltaDiscoveryRequest>) -> Result<Self, Status> {
        let (requests, waiting) = mpsc::channel(MAX_REQUESTS.max(first.len()));
        for request in first {
            requests
                .try_send(request)
                .map_err(|_| Status::internal("the first requests do not fit"))?;
        }
        let sent = unfold(waiting, |mut waiting| async {
            let request = waiting.recv().await?;
            Some((request, waiting))
        });
        let mut client = AggregatedDiscoveryServiceClient::new(channel)
            .max_decoding_message_size(MAX_ANSWER_BYTES);
        let answers = client.delta_aggregated_resources(sent).await?.into_inner();
        Ok(Self { requests, answers })
    }

    /// The next answer; `None` when the server ended the stream. May be dropped and called again.
    ///
    /// # Errors
    /// When the stream broke or the server ended it for a reason.
    pub async fn next(&mut self) -> Result<Option<DeltaDiscoveryResponse>, Status> {
        self.answers.message().await
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When the stream is over.
    pub async fn say(&self, request: DeltaDiscoveryRequest) -> Result<(), Status> {
        let sent = self.requests.send(request).await;
        sent.map_err(|_| Status::unavailable("the stream is over"))
    }
}
