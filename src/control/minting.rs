//! `hopgate.identity.v1.JwtSvidService`: wait for a turn, see whose certificate it is, sign a token for it, answer.
//!
//! Turns are those of certificates, so that neither can starve the process. A workload's tokens are counted by themselves:
//! an application that asks without end must not keep its own certificate from being renewed.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::ca::{Attestor, Authority, JwtLifetime, MintedJwtSvid};
use crate::identity::Audiences;
use crate::proto::identity::jwt_svid_service_server::{JwtSvidService, JwtSvidServiceServer};
use crate::proto::identity::{MintRequest, MintResponse};
use crate::runtime::Clock;

use super::rate::Rates;
use super::refused::Refused;
use super::replicas::Replicas;
use super::signing::{namespace_of_certificate, turn, unix};
use super::signing_metrics::{Answered, Outcome};
use super::tls::Peer;
use super::turns::{Lane, Turn, Turns};

/// The most audiences of the longest kind, and more.
const MAX_MESSAGE: usize = 16 * 1024;

/// The service of tokens.
pub(super) struct Minting {
    desk: Arc<Desk>,
    turns: Turns,
    replicas: Replicas,
    answered: Answered,
}

/// What one token needs. It blocks: the first one of a generation is written down.
pub(super) struct Desk {
    pub(super) authority: Arc<Authority>,
    pub(super) attestor: Arc<Attestor>,
    pub(super) rates: Rates,
    pub(super) lifetime: JwtLifetime,
    pub(super) clock: Clock,
}

impl Minting {
    pub(super) fn new(
        desk: Desk,
        (turns, replicas): (Turns, Replicas),
        answered: Answered,
    ) -> Self {
        Self { desk: Arc::new(desk), turns, replicas, answered }
    }

    pub(super) fn into_service(self) -> JwtSvidServiceServer<Self> {
        JwtSvidServiceServer::new(self)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }

    async fn serve(&self, request: Request<MintRequest>) -> Result<MintedJwtSvid, Refused> {
        if !self.replicas.is_in_touch() {
            return Err(Refused::OutOfTouch);
        }
        let peer = request.extensions().get::<Peer>().cloned();
        let (certificates, address) =
            peer.map_or((None, None), |Peer { certificates, address }| (certificates, address));
        let lane = certificates
            .as_deref()
            .and_then(namespace_of_certificate)
            .map_or(address.map_or(Lane::Local, Lane::Address), Lane::Namespace);
        let turn = turn(&self.turns, lane).await?;
        let MintRequest { audience } = request.into_inner();
        let desk = Arc::clone(&self.desk);
        let judged = tokio::task::spawn_blocking(move || {
            let _turn: Turn = turn;
            desk.mint(certificates.as_deref(), audience)
        });
        judged.await.map_err(|_| Refused::Panicked)?
    }
}

impl Desk {
    fn mint(
        &self,
        certificates: Option<&[CertificateDer<'static>]>,
        audience: Vec<String>,
    ) -> Result<MintedJwtSvid, Refused> {
        let now = self.clock.now();
        let holder = self.attestor.holder(certificates, now)?;
        let id = holder.id().clone();
        self.rates.take(&id, now).map_err(|after| Refused::TooOften { id: id.clone(), after })?;
        let audiences = Audiences::new(audience)?;
        let minted = self.authority.mint(&holder, &audiences, self.lifetime, now)?;
        let lifetime = minted.expires().duration_since(now).unwrap_or(Duration::ZERO);
        tracing::info!(
            workload.id = %id,
            token.audiences = ?audiences.as_slice(),
            token.kid = minted.kid(),
            token.lifetime_seconds = lifetime.as_secs(),
            token.expires_unix = unix(minted.expires()),
            "issued a JWT-SVID"
        );
        Ok(minted)
    }
}

#[tonic::async_trait]
impl JwtSvidService for Minting {
    async fn mint(&self, request: Request<MintRequest>) -> Result<Response<MintResponse>, Status> {
        let began = Instant::now();
        let answer = self.serve(request).await;
        let outcome = answer.as_ref().map_or_else(Refused::outcome, |_| Outcome::Issued);
        self.answered.count(outcome, began.elapsed());
        match answer {
            Ok(minted) => Ok(Response::new(MintResponse { svid: minted.token().to_owned() })),
            Err(refused) => Err(refused.into_status("refused to issue a JWT-SVID")),
        }
    }
}
