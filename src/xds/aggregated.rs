//! The aggregated discovery service, incremental only, for resources that many subscribers share.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use futures_util::stream::{Stream, unfold};
use http::{Extensions, HeaderMap, HeaderValue, header};
use hyper::body::{Body as HttpBody, Frame};
use tokio::sync::watch;
use tonic::body::Body;
use tonic::codec::{Codec as _, Streaming};
use tonic::server::NamedService;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use crate::runtime::Drain;

use super::answer::Answer;
use super::feed::{Feed, Heard};
use super::{Catalogue, Kind};

const SERVICE: &str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
const METHOD: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// The largest request: some thirty thousand names with their versions, when a subscriber comes back.
const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// Decides who may open a stream.
pub trait Door: Send + Sync + 'static {
    /// The types of which each subscriber gets resources of its own.
    const OWN: &'static [Kind];
    /// What it keeps of a stream that is open.
    type Session: Session;

    /// Judges a caller by what its connection proved.
    ///
    /// # Errors
    /// What the caller is told when it may not.
    fn admit(&self, connection: &Extensions) -> Result<Self::Session, Status>;
}

/// One open stream, as its server sees it. Dropped when the stream ends, however it does.
pub trait Session: Send + 'static {
    /// The first request came: what the subscriber says of itself, and a handle to see what it has.
    ///
    /// # Errors
    /// What the subscriber is told when the stream must end.
    fn begin(&mut self, node: Option<&Node>, feed: &SharedFeed) -> Result<(), Status>;

    /// A request was taken: the subscriber asked for something, or accepted or refused an answer.
    fn heard(&mut self, heard: &Heard);

    /// What only this subscriber gets, after what all get. A type that is not in it is not answered yet.
    fn own(&self) -> watch::Receiver<Arc<Catalogue>>;

    /// Waits until the stream must end, and says why.
    fn over(&mut self) -> impl Future<Output = Status> + Send;
}

/// The state of one stream, for others to look at.
#[derive(Debug, Clone)]
pub struct SharedFeed(Arc<Mutex<Feed>>);

impl SharedFeed {
    fn new(feed: Feed) -> Self {
        Self(Arc::new(Mutex::new(feed)))
    }

    /// The state, for a short look.
    pub fn lock(&self) -> MutexGuard<'_, Feed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves a catalogue that may be replaced at any time.
pub struct AggregatedService<D> {
    door: Arc<D>,
    catalogues: watch::Receiver<Arc<Catalogue>>,
    drain: Drain,
}

impl<D: Door> AggregatedService<D> {
    /// Serves what `catalogues` holds, to those whom `door` admits, until `drain` begins, which ends every stream.
    #[must_use]
    pub fn new(door: D, catalogues: watch::Receiver<Arc<Catalogue>>, drain: Drain) -> Self {
        Self { door: Arc::new(door), catalogues, drain }
    }

    fn open(&self, request: http::Request<Body>) -> Result<Answers, Status> {
        let (head, body) = request.into_parts();
        if head.uri.path() != METHOD {
            return Err(Status::unimplemented("only DeltaAggregatedResources is served"));
        }
        let session = self.door.admit(&head.extensions)?;
        let mut codec = ProstCodec::<DeltaDiscoveryResponse, DeltaDiscoveryRequest>::default();
        let requests = Streaming::new_request(codec.decoder(), body, None, Some(MAX_REQUEST_BYTES));
        let catalogues = self.catalogues.clone();
        let shared = Arc::clone(&catalogues.borrow());
        let kinds = shared.tables().iter().map(|(kind, _)| *kind).chain(D::OWN.iter().copied());
        let conversation = Conversation {
            feed: SharedFeed::new(Feed::new(kinds.collect())),
            begun: false,
            requests,
            catalogues,
            own: session.own(),
            session,
            drain: self.drain.clone(),
        };
        let steps = unfold(Some(conversation), |state| async {
            let mut conversation = state?;
            match conversation.step().await {
                Ok(answer) => Some((Ok(answer), Some(conversation))),
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Answers { steps: Box::pin(steps), frames: VecDeque::new(), ended: false })
    }
}

impl<D> Clone for AggregatedService<D> {
    fn clone(&self) -> Self {
        Self {
            door: Arc::clone(&self.door),
            catalogues: self.catalogues.clone(),
            drain: self.drain.clone(),
        }
    }
}

impl<D> NamedService for AggregatedService<D> {
    const NAME: &'static str = SERVICE;
}

impl<D: Door> tower::Service<http::Request<Body>> for AggregatedService<D> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        std::future::ready(Ok(match self.open(request) {
            Ok(answers) => {
                let mut response = http::Response::new(Body::new(answers));
                let kind = HeaderValue::from_static("application/grpc");
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                response
            }
            Err(status) => status.into_http(),
        }))
    }
}

/// One stream. It is polled only when the transport can take another answer: what is sent then is about what there is
/// then, and nothing is queued for a subscriber that does not read.
struct Conversation<S> {
    feed: SharedFeed,
    begun: bool,
    requests: Streaming<DeltaDiscoveryRequest>,
    catalogues: watch::Receiver<Arc<Catalogue>>,
    own: watch::Receiver<Arc<Catalogue>>,
    session: S,
    drain: Drain,
}

impl<S: Session> Conversation<S> {
    /// The next answer, or why there will be none.
    async fn step(&mut self) -> Result<Answer, Status> {
        loop {
            if self.drain.has_begun() {
                return Err(Status::unavailable("the server is going away"));
            }
            let catalogue = Arc::clone(&self.catalogues.borrow_and_update());
            let own = Arc::clone(&self.own.borrow_and_update());
            let answer = {
                let mut feed = self.feed.lock();
                feed.next(&catalogue).or_else(|| feed.next(&own))
            };
            if let Some(answer) = answer {
                return Ok(answer);
            }
            tokio::select! {
                biased;
                () = self.drain.begun() => {}
                status = self.session.over() => return Err(status),
                request = self.requests.message() => match request? {
                    Some(request) => self.receive(request)?,
                    None => return Err(Status::ok("")),
                },
                // Without its writer the catalogue can only grow old: let the subscribers look for another server.
                changed = self.catalogues.changed() => if changed.is_err() {
                    return Err(Status::unavailable("the server is going away"));
                },
                changed = self.own.changed() => if changed.is_err() {
                    return Err(Status::unavailable("the server is going away"));
                },
            }
        }
    }

    fn receive(&mut self, request: DeltaDiscoveryRequest) -> Result<(), Status> {
        if !self.begun {
            self.begun = true;
            self.session.begin(request.node.as_ref(), &self.feed)?;
        }
        let received = self.feed.lock().receive(request).map_err(|violation| {
            tracing::warn!(reason = %violation, "a discovery client broke the protocol");
            Status::invalid_argument(violation.to_string())
        })?;
        if let Some(heard) = received {
            self.session.heard(&heard);
        }
        Ok(())
    }
}

/// The body of a response: answers without a copy of what they share, then the status.
struct Answers {
    steps: Pin<Box<dyn Stream<Item = Result<Answer, Status>> + Send>>,
    frames: VecDeque<Bytes>,
    ended: bool,
}

impl HttpBody for Answers {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(frame) = self.frames.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let status = match self.steps.as_mut().poll_next(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(answer))) => {
                self.frames = answer.into_frames();
                return self.poll_frame(cx);
            }
            Poll::Ready(Some(Err(status))) => status,
            Poll::Ready(None) => Status::new(Code::Ok, ""),
        };
        self.ended = true;
        let mut trailers = HeaderMap::new();
        if let Err(status) = status.add_header(&mut trailers) {
            return Poll::Ready(Some(Err(status)));
        }
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}
