//! JWT-SVIDs of this workload: asked of whoever gives its certificate, and worth nothing before they verify.

use std::time::{Duration, SystemTime};

use tonic::Code;
use zeroize::Zeroizing;

use crate::identity::{Audiences, InvalidJwtSvid, JwtSvid, SpiffeId, WorkloadIdentity};
use crate::proto::identity::jwt_svid_service_client::JwtSvidServiceClient;
use crate::proto::identity::{MintRequest, MintResponse};
use crate::proto::workload::{JwtsvidRequest, JwtsvidResponse};
use crate::runtime::{Address, Clock};

use super::config::{Source, WorkloadApiSource};
use super::retry_after::RetryAfter;
use super::server::{ConnectError, ControlServer, InvalidServer};
use super::upstream;

/// One question, from the first packet to the answer.
const ATTEMPT: Duration = Duration::from_secs(5);
const MAX_ANSWER: usize = 64 * 1024;

/// Where this workload's JWT-SVIDs come from.
#[derive(Debug, Clone)]
pub struct JwtSource {
    workload: SpiffeId,
    from: Giver,
    clock: Clock,
}

#[derive(Debug, Clone)]
enum Giver {
    Control(ControlServer),
    WorkloadApi(Address),
    /// Files hold no tokens.
    Nobody,
}

/// No token could be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JwtError {
    /// Whoever gives the certificate gives no tokens.
    #[error("{0}")]
    NotOffered(&'static str),
    /// There is no connection.
    #[error("{0}")]
    Connect(String),
    /// No answer in time.
    #[error("no answer within {ATTEMPT:?}")]
    TimedOut,
    /// It was refused.
    #[error("it is refused ({code:?}): {message}")]
    Refused {
        /// The gRPC code.
        code: Code,
        /// The words of whoever refuses.
        message: String,
        /// When it says to come again.
        retry_after: Option<RetryAfter>,
    },
    /// The answer of a Workload API holds no token of this workload.
    #[error("the answer holds no token of {0}")]
    Absent(SpiffeId),
}

/// A token that came is not this workload's, or not what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum JwtRefused {
    /// It does not verify by the keys that this workload knows.
    #[error("the token that came is refused: {0}")]
    Invalid(#[from] InvalidJwtSvid),
    /// It names another workload.
    #[error("the token that came is of {found}, not of {expected}")]
    OtherWorkload {
        /// Whom it names.
        found: SpiffeId,
        /// Who asked.
        expected: SpiffeId,
    },
    /// It is for others.
    #[error("the token that came is for other audiences")]
    OtherAudiences,
}

impl JwtRefused {
    /// True if the key may only be on its way: the bundles that hold it are told by another stream.
    #[must_use]
    pub fn is_unknown_key(&self) -> bool {
        match self {
            Self::Invalid(invalid) => matches!(
                invalid,
                InvalidJwtSvid::UnknownDomain(_) | InvalidJwtSvid::UnknownKey { .. }
            ),
            Self::OtherWorkload { .. } | Self::OtherAudiences => false,
        }
    }
}

impl JwtSource {
    /// Whoever gives the certificate of `workload`.
    ///
    /// # Errors
    /// When the address of the control plane is none.
    pub fn new(source: &Source, workload: SpiffeId, clock: Clock) -> Result<Self, InvalidServer> {
        let from = match source {
            Source::Control(control) => Giver::Control(ControlServer::parse(&control.server)?),
            Source::WorkloadApi(WorkloadApiSource { socket }) => Giver::WorkloadApi(socket.clone()),
            Source::Files(_) => Giver::Nobody,
        };
        Ok(Self { workload, from, clock })
    }

    /// Asks for a token. `held` proves who asks, and is verified by.
    ///
    /// # Errors
    /// When none comes.
    pub async fn fetch(
        &self,
        audiences: &Audiences,
        held: &WorkloadIdentity,
    ) -> Result<Zeroizing<String>, JwtError> {
        let answer = async {
            match &self.from {
                Giver::Control(server) => self.mint(server, audiences, held).await,
                Giver::WorkloadApi(socket) => self.pass_on(socket, audiences).await,
                Giver::Nobody => Err(JwtError::NotOffered(
                    "the certificate comes from files, which hold no JWT-SVIDs",
                )),
            }
        };
        tokio::time::timeout(ATTEMPT, answer).await.map_err(|_| JwtError::TimedOut)?
    }

    /// Believes a token that came, if it is good by what `held` trusts, names this workload, and is for exactly these.
    ///
    /// # Errors
    /// When it is not.
    pub fn verify(
        &self,
        token: &str,
        (audiences, held): (&Audiences, &WorkloadIdentity),
        now: SystemTime,
    ) -> Result<JwtSvid, JwtRefused> {
        let first = audiences.as_slice().first().map(String::as_str).unwrap_or_default();
        let svid = JwtSvid::verify(token, &held.bundles, first, now)?;
        if *svid.id() != self.workload {
            let (found, expected) = (svid.id().clone(), self.workload.clone());
            return Err(JwtRefused::OtherWorkload { found, expected });
        }
        if !audiences.are(svid.audiences()) {
            return Err(JwtRefused::OtherAudiences);
        }
        Ok(svid)
    }

    async fn mint(
        &self,
        server: &ControlServer,
        audiences: &Audiences,
        held: &WorkloadIdentity,
    ) -> Result<Zeroizing<String>, JwtError> {
        let channel = server.connect(Some(held), held.bundles.own(), &self.clock).await?;
        let mut client = JwtSvidServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER);
        let request = MintRequest { audience: audiences.as_slice().to_vec() };
        let answer = client.mint(request).await.map_err(|status| match status.code() {
            // Istio's, or an older one.
            Code::Unimplemented => JwtError::NotOffered(
                "the control plane that gives the certificate signs no JWT-SVIDs",
            ),
            code => JwtError::Refused {
                code,
                message: status.message().to_owned(),
                retry_after: RetryAfter::read(status.metadata()),
            },
        })?;
        let MintResponse { svid } = answer.into_inner();
        Ok(Zeroizing::new(svid))
    }

    /// Asks the Workload API that gives the certificate, for this workload alone.
    async fn pass_on(
        &self,
        socket: &Address,
        audiences: &Audiences,
    ) -> Result<Zeroizing<String>, JwtError> {
        let connected = upstream::connect(socket).await;
        let mut client = connected.map_err(|error| JwtError::Connect(error.to_string()))?;
        let (audience, spiffe_id) = (audiences.as_slice().to_vec(), self.workload.to_string());
        let request = upstream::dressed(JwtsvidRequest { audience, spiffe_id });
        let answer = client.fetch_jwtsvid(request).await.map_err(|status| match status.code() {
            Code::Unimplemented => JwtError::NotOffered(
                "the Workload API that gives the certificate gives no JWT-SVIDs",
            ),
            code => {
                let message = status.message().to_owned();
                JwtError::Refused { code, message, retry_after: None }
            }
        })?;
        let JwtsvidResponse { svids } = answer.into_inner();
        let mut own = None;
        for svid in svids {
            let token = Zeroizing::new(svid.svid);
            if own.is_none() && svid.spiffe_id == self.workload.as_str() {
                own = Some(token);
            }
        }
        own.ok_or_else(|| JwtError::Absent(self.workload.clone()))
    }
}

impl From<ConnectError> for JwtError {
    fn from(error: ConnectError) -> Self {
        Self::Connect(crate::runtime::with_causes(&error))
    }
}
