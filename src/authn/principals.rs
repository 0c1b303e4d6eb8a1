//! The one way from evidence to principals.

use std::sync::Arc;
use std::time::SystemTime;

use super::claims::User;
use super::confirmation::Possession;
use super::evidence::{Evidence, HttpEvidence};
use super::learned::Learned;
use super::memory::Proven;
use super::peer::{Caller, ForwardRules, OnTheWire, Peer, WireEvidence, WireRules, WorkloadRoots};
use super::place::Credential;
use super::provider::Providers;
use super::refused::{TokenFault, TokenRefused};
use super::unproven::{Unauthenticated, Unproven};
use super::verifier::{Context, Verifier};
use crate::identity::Members;
use crate::policy::{Headers, PrincipalKind};

/// Who is proven to be calling. Only [`authenticate`] makes one, so holding it is the proof.
#[derive(Debug)]
pub struct Principals {
    wire: Option<OnTheWire>,
    user: Option<Arc<User>>,
    client: Option<Arc<User>>,
}

impl Principals {
    /// The workload that calls; nothing without a client certificate of one.
    #[must_use]
    pub fn peer(&self) -> Option<&Peer> {
        self.wire.as_ref()?.workload().map(AsRef::as_ref)
    }

    /// The proxy that spoke for the peer, where one did.
    #[must_use]
    pub fn via(&self) -> Option<&Peer> {
        self.wire.as_ref()?.via.as_deref()
    }

    /// Whoever the user's credential speaks for; nothing without one.
    #[must_use]
    pub fn user(&self) -> Option<&User> {
        self.user.as_deref()
    }

    /// The program that calls for the user, where it proved itself.
    #[must_use]
    pub fn client(&self) -> Option<&User> {
        self.client.as_deref()
    }

    /// Every workload that has a part in the request, by its SPIFFE ID: the peer, the proxy that speaks for it, and those
    /// for which a credential speaks, such as a JWT-SVID. Beside each the serial number of its certificate in lower-case
    /// hexadecimal; nothing where no certificate of it is shown.
    pub fn workloads(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let shown =
            |peer| -> (&str, Option<&str>) { (Peer::id(peer).as_str(), Some(peer.serial())) };
        let on_the_wire = [self.peer(), self.via()].into_iter().flatten().map(shown);
        let users = [self.user(), self.client()].into_iter().flatten().flat_map(|user| {
            let facts = user.facts();
            // A mapping may take the subject from elsewhere; `sub` still says who got the token.
            let sub = facts.claims().get("sub").and_then(serde_json::Value::as_str);
            let sub = sub.filter(|sub| *sub != facts.subject());
            [Some(facts.subject()), sub].into_iter().flatten()
        });
        let spoken_for = users
            .filter(|subject| subject.starts_with("spiffe://"))
            .map(|subject| (subject, self.serial_of(subject)));
        on_the_wire.chain(spoken_for)
    }

    /// The serial number of the certificate on the wire, if it is this workload's.
    fn serial_of(&self, id: &str) -> Option<&str> {
        match &self.wire.as_ref()?.caller {
            Caller::Workload(peer) => (peer.id().as_str() == id).then(|| peer.serial()),
            Caller::Client(proven) => {
                (proven.client.subject() == id).then(|| proven.client.serial())
            }
        }
    }
}

/// What peers are judged by.
#[derive(Clone, Copy)]
pub struct PeerRules<'a> {
    /// Who belongs to this mesh.
    pub members: Members<'a>,
    /// The proxies that are believed about their clients.
    pub forward: &'a ForwardRules,
    /// The mesh's roots, for forwarded workload certificates.
    pub roots: Option<&'a WorkloadRoots>,
}

/// Proves peer, user and client of a request. Evidence that is absent proves nobody; evidence that cannot be proven is
/// refused, never taken as absent. The peer is judged first, the possession of keys last.
///
/// # Errors
/// When there is evidence that proves nothing, or that only the network can judge and that was not asked yet.
pub fn authenticate(
    verifier: &Verifier,
    providers: &Providers,
    evidence: &Evidence<'_>,
    rules: PeerRules<'_>,
    learned: &Learned,
    now: SystemTime,
) -> Result<Principals, Unproven> {
    let PeerRules { members, forward, roots } = rules;
    let wire = verifier.on_the_wire(
        &WireEvidence {
            peer: evidence.peer,
            headers: evidence.http.as_ref().map(|http| -> &dyn Headers { http }),
        },
        &WireRules { members, forward, roots, clients: providers.clients() },
        now,
    )?;
    let mut principals = Principals { wire, user: None, client: None };
    if let Some(http) = &evidence.http {
        // What a proven workload passes on is not its own fault, and its address is that of all for whom it calls.
        let source = evidence.source.filter(|_| principals.wire.is_none());
        let context = Context { providers, learned, source, now };
        principals.prove(verifier, http, &context)?;
    }
    principals.add_certificate(providers)?;
    Ok(principals)
}

/// A credential and what proved it.
type Shown<'a> = (Credential<'a>, Arc<Proven>);

impl Principals {
    /// By the credentials in the request.
    fn prove(
        &mut self,
        verifier: &Verifier,
        http: &HttpEvidence<'_>,
        context: &Context<'_>,
    ) -> Result<(), Unproven> {
        let places = context.providers.places();
        let found = places.find(http)?;
        if found.user.is_none() && found.client.is_none() {
            return Ok(());
        }
        let user = shown(verifier, found.user, context);
        let client = shown(verifier, found.client, context);
        let (user, client) = match (user, client) {
            (Ok(user), Ok(client)) => (user, client),
            (Err(Unproven::Unknown(mut needs)), Err(Unproven::Unknown(more))) => {
                needs.extend(more);
                return Err(Unproven::Unknown(needs));
            }
            // A refusal ends it, whatever could still be learned.
            (Err(refused @ Unproven::Refused(_)), _) | (_, Err(refused @ Unproven::Refused(_))) => {
                return Err(refused);
            }
            (Err(unknown), Ok(_)) | (Ok(_), Err(unknown)) => return Err(unknown),
        };
        for shown in [&user, &client].into_iter().flatten() {
            self.confirm(verifier, shown, http, context)?;
        }
        self.user = user.map(|(_, proven)| Arc::clone(&proven.user));
        self.client = client.map(|(_, proven)| Arc::clone(&proven.user));
        Ok(())
    }

    fn confirm(
        &self,
        verifier: &Verifier,
        (credential, proven): &Shown<'_>,
        http: &HttpEvidence<'_>,
        context: &Context<'_>,
    ) -> Result<(), Unproven> {
        let provider = context.providers.all().get(proven.provider);
        let provider = provider.ok_or(TokenRefused::from(TokenFault::Opaque))?;
        let possession = Possession {
            guard: verifier.dpop(),
            rules: &provider.rules.spec.confirmation,
            dpop: &provider.dpop,
            http,
            certificate: self.wire.as_ref().map(OnTheWire::thumbprint),
            now: context.now,
        };
        possession.check(&proven.user, credential).map_err(|fault| {
            let provider = Arc::clone(&provider.name);
            Unauthenticated::Confirmation { provider, fault }.into()
        })
    }

    /// By a client certificate that is no workload's.
    fn add_certificate(&mut self, providers: &Providers) -> Result<(), Unauthenticated> {
        let Some(Caller::Client(proven)) = self.wire.as_ref().map(|wire| &wire.caller) else {
            return Ok(());
        };
        let kind = providers.named(&proven.provider).map(|(_, p)| p.rules.spec.principal);
        let place = match kind {
            Some(PrincipalKind::User) => &mut self.user,
            Some(PrincipalKind::Client) | None => &mut self.client,
        };
        if place.is_some() {
            return Err(Unauthenticated::TwoClients);
        }
        *place = Some(Arc::new(User::of_certificate(proven)));
        Ok(())
    }
}

fn shown<'a>(
    verifier: &Verifier,
    credential: Option<Credential<'a>>,
    context: &Context<'_>,
) -> Result<Option<Shown<'a>>, Unproven> {
    let Some(credential) = credential else { return Ok(None) };
    let slot = context.providers.places().slot_at(credential.slot);
    let slot = slot.ok_or(TokenRefused::from(TokenFault::Opaque))?;
    let proven = verifier.credential(&credential.text, slot, context)?;
    Ok(Some((credential, proven)))
}
