//! A certificate from a Workload API: that of a SPIRE agent, or of another hopgate.
//!
//! Whoever serves the API renews; this listens. Every answer is verified as a whole before it takes the place of what is
//! held. A connection that ends is made again, with back-off; what is held stays meanwhile, to its end. Only when the
//! API takes an identity back, on the stream on which it gave it, is it not served any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tonic::{Code, Status, Streaming};

use crate::identity::{
    Bundles, InvalidSvid, JwtBundle, PrivateKey, SpiffeId, WorkloadIdentity, X509Svid,
};
use crate::proto::workload::{
    JwtBundlesRequest, JwtBundlesResponse, X509svidRequest, X509svidResponse,
};
use crate::runtime::{Address, Clock, Drain};

use super::config::WorkloadApiSource;
use super::renewal::draw;
use super::schedule::{Next, Retry, next};
use super::shelf::Shelf;
use super::upstream::{self, Client, InvalidAnswer, Received};

/// The clock is looked at at least this often.
const TICK: Duration = Duration::from_secs(2);

/// No identity could be had of a Workload API.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadApiError {
    /// Nobody answers on the socket.
    #[error("the Workload API at {socket} cannot be reached")]
    Connect {
        /// Where.
        socket: Address,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
    /// It refuses, or the stream broke.
    #[error("the Workload API refuses ({code:?}): {message}")]
    Refused {
        /// The gRPC code.
        code: Code,
        /// Its words.
        message: String,
    },
    /// The stream ended without a word.
    #[error("the Workload API ended the stream")]
    Ended,
    /// The answer cannot be used.
    #[error(transparent)]
    Answer(#[from] InvalidAnswer),
    /// The answer does not verify.
    #[error("the answer is refused")]
    Svid(#[from] InvalidSvid),
    /// The answer is another workload's.
    #[error("the certificate in the answer is {found}'s, not {expected}'s")]
    OtherWorkload {
        /// Whom it names.
        found: SpiffeId,
        /// Who this is.
        expected: SpiffeId,
    },
}

pub(super) struct WorkloadApiTask {
    socket: Address,
    workload: SpiffeId,
    clock: Clock,
    retry: Option<Retry>,
    /// The JWT keys that were told last; they come on a stream of their own.
    keys: Vec<JwtBundle>,
}

/// What the task listens to.
struct Streams {
    svids: Streaming<X509svidResponse>,
    /// Not every Workload API has tokens.
    keys: Option<Streaming<JwtBundlesResponse>>,
}

/// What came of listening.
enum Heard {
    Svid(X509svidResponse),
    Keys(JwtBundlesResponse),
    KeysEnded,
    Broken(Status),
    Ended,
}

/// Why listening stopped.
enum Stopped {
    Draining,
    /// Asked to by hand.
    Again,
    Failed(WorkloadApiError),
}

impl WorkloadApiTask {
    pub(super) fn new(source: &WorkloadApiSource, workload: SpiffeId, clock: Clock) -> Self {
        let WorkloadApiSource { socket } = source.clone();
        Self { socket, workload, clock, retry: None, keys: Vec::new() }
    }

    pub(super) async fn run(&mut self, shelf: &Shelf, trigger: &Notify, drain: &Drain) {
        while !drain.has_begun() {
            let now = self.clock.now();
            shelf.clear_if_expired(now);
            shelf.checked(now);
            if let Next::Wait(wait) = next(None, self.retry.as_ref(), now) {
                tokio::select! {
                    () = drain.begun() => return,
                    () = trigger.notified() => {}
                    () = tokio::time::sleep(wait.min(TICK)) => continue,
                }
            }
            let stopped = tokio::select! {
                () = drain.begun() => return,
                stopped = self.listen(shelf, trigger, drain) => stopped,
            };
            match stopped {
                Stopped::Draining => return,
                Stopped::Again => self.retry = None,
                Stopped::Failed(error) => {
                    let now = self.clock.now();
                    self.retry = Some(Retry::after(self.retry.as_ref(), now, draw()));
                    shelf.failed("no certificate from the Workload API", &error);
                }
            }
        }
    }

    /// Connects and takes what comes until the connection ends.
    async fn listen(&mut self, shelf: &Shelf, trigger: &Notify, drain: &Drain) -> Stopped {
        let mut streams = match self.open().await {
            Ok(streams) => streams,
            Err(error) => return Stopped::Failed(error),
        };
        let mut given = false;
        loop {
            let now = self.clock.now();
            shelf.clear_if_expired(now);
            shelf.checked(now);
            let heard = tokio::select! {
                () = drain.begun() => return Stopped::Draining,
                () = trigger.notified() => return Stopped::Again,
                () = tokio::time::sleep(TICK) => continue,
                heard = streams.next() => heard,
            };
            match heard {
                Heard::Svid(answer) => match self.take(answer, shelf) {
                    Ok(()) => {
                        given = true;
                        self.retry = None;
                    }
                    // The next answer may be better; what is held stays.
                    Err(error) => shelf.failed("an answer of the Workload API is refused", &error),
                },
                Heard::Keys(answer) => {
                    self.keys = upstream::jwt_bundles(&answer);
                    self.rekey(shelf);
                }
                Heard::KeysEnded => streams.keys = None,
                Heard::Broken(status) => {
                    if given && status.code() == Code::PermissionDenied {
                        shelf.clear("the Workload API took the identity back");
                    }
                    return Stopped::Failed(refused(&status));
                }
                Heard::Ended => return Stopped::Failed(WorkloadApiError::Ended),
            }
        }
    }

    async fn open(&self) -> Result<Streams, WorkloadApiError> {
        let socket = self.socket.clone();
        let mut client: Client = upstream::connect(&self.socket)
            .await
            .map_err(|source| WorkloadApiError::Connect { socket, source })?;
        let keys = client.fetch_jwt_bundles(upstream::dressed(JwtBundlesRequest {})).await;
        let svids = client.fetch_x509svid(upstream::dressed(X509svidRequest {})).await;
        let svids = svids.map_err(|status| refused(&status))?.into_inner();
        Ok(Streams { svids, keys: keys.ok().map(tonic::Response::into_inner) })
    }

    /// Serves what an answer holds, if it is this workload's, verifies, and is new.
    fn take(&self, answer: X509svidResponse, shelf: &Shelf) -> Result<(), WorkloadApiError> {
        let Received { chain, key, bundles } = Received::read(answer, &self.workload)?;
        let svid = X509Svid::new(chain, key, bundles.own(), self.clock.now())?;
        if *svid.id() != self.workload {
            let (found, expected) = (svid.id().clone(), self.workload.clone());
            return Err(WorkloadApiError::OtherWorkload { found, expected });
        }
        let bundles = self.with_keys(bundles);
        let same = shelf
            .current()
            .is_some_and(|held| held.svid.chain() == svid.chain() && held.bundles == bundles);
        if same {
            shelf.well();
        } else {
            shelf.show(&Arc::new(WorkloadIdentity { svid, bundles }), None);
        }
        Ok(())
    }

    /// Serves what is held with the JWT keys of now.
    fn rekey(&self, shelf: &Shelf) {
        let Some(held) = shelf.current() else { return };
        let foreign = held.bundles.foreign().cloned();
        let bare = foreign.fold(Bundles::new(held.bundles.own().clone()), Bundles::with_foreign);
        let bundles = self.with_keys(bare);
        if bundles == held.bundles {
            return;
        }
        match again(&held.svid, &bundles, &self.clock) {
            Ok(svid) => shelf.show(&Arc::new(WorkloadIdentity { svid, bundles }), None),
            // It is over; the next look at the clock says so.
            Err(error) => shelf.failed("JWT keys of the Workload API are not taken", &error),
        }
    }

    /// Keys of trust domains whose roots are trusted, too, and of no other.
    fn with_keys(&self, bundles: Bundles) -> Bundles {
        let known = self.keys.iter().filter(|keys| bundles.of(keys.domain()).is_some());
        let known: Vec<JwtBundle> = known.cloned().collect();
        known.into_iter().fold(bundles, Bundles::with_jwt)
    }
}

impl Streams {
    async fn next(&mut self) -> Heard {
        let Self { svids, keys } = self;
        let keys = async {
            match keys {
                Some(keys) => keys.message().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            answer = svids.message() => match answer {
                Ok(Some(answer)) => Heard::Svid(answer),
                Ok(None) => Heard::Ended,
                Err(status) => Heard::Broken(status),
            },
            answer = keys => match answer {
                Ok(Some(answer)) => Heard::Keys(answer),
                Ok(None) | Err(_) => Heard::KeysEnded,
            },
        }
    }
}

pub(super) fn refused(status: &Status) -> WorkloadApiError {
    WorkloadApiError::Refused { code: status.code(), message: status.message().to_owned() }
}

/// The same certificate, verified anew.
fn again(svid: &X509Svid, bundles: &Bundles, clock: &Clock) -> Result<X509Svid, InvalidSvid> {
    let key = PrivateKey::from_pkcs8(&svid.key().to_pkcs8())?;
    X509Svid::new(svid.chain().to_vec(), key, bundles.own(), clock.now())
}
