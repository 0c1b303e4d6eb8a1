//! Where the control plane keeps what must outlive it: a directory of its own, or objects of the Kubernetes API that all
//! its replicas share.
//!
//! The objects are named after the Secret of the authority, and made before it. So where the Secret is, they must be: one
//! that is missing was lost, and with it who is revoked.

use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use crate::ca::{Authority, AuthorityError, StoreError, TokenStore};
use crate::kube::{Cluster, Holds, Object, ObjectError, ObjectName, Patience, Values};
use crate::revocation::{RevocationError, RevocationStore};
use crate::runtime::{Clock, with_causes};

use super::authority::{AuthorityConfig, blocking};
use super::federation::{self, DirectoryShelf, FederationError, MapShelf, Shelf};
use super::map_revocations::MapRevocations;
use super::replicas::{Companions, Confirm, Replicas, Seen};
use super::secret_tokens::SecretTokens;
use super::secret_vault::SecretVault;
use super::{Config, ControlError};

/// A list in which nobody is revoked.
const NOBODY: (&str, &str) = ("revocations.json", "{\"version\":1,\"revocations\":[]}\n");

/// Where it is kept.
pub(super) enum Place {
    /// A directory that belongs to one process.
    Directory(PathBuf),
    /// Objects of the Kubernetes API.
    Objects(Objects),
}

/// The objects beside one Secret.
#[derive(Clone)]
pub(super) struct Objects {
    pub(super) cluster: Cluster,
    pub(super) secret: ObjectName,
    runtime: Handle,
}

impl Place {
    /// The place that the configuration names. Objects that are not there yet are made.
    pub(super) async fn of(config: &Config, clock: &Clock) -> Result<Self, ControlError> {
        let secret = match &config.authority {
            Some(AuthorityConfig::Secret(secret) | AuthorityConfig::CertManager(secret, _)) => {
                secret
            }
            None | Some(AuthorityConfig::Supplied(_)) => {
                return Ok(Self::Directory(config.directory()?.to_path_buf()));
            }
        };
        let cluster = Cluster::connect(&config.kubernetes, clock).await?;
        let objects = Objects { cluster, secret: secret.clone(), runtime: Handle::current() };
        objects.prepare().await?;
        Ok(Self::Objects(objects))
    }

    /// What one of several replicas knows of the others; of a directory there is one user only.
    pub(super) fn replicas(&self, clock: &Clock) -> Replicas {
        match self {
            Self::Directory(_) => Replicas::alone(),
            Self::Objects(_) => Replicas::one_of_several(clock),
        }
    }

    /// The join tokens.
    pub(super) fn tokens(&self) -> Result<TokenStore, ControlError> {
        Ok(match self {
            Self::Directory(directory) => TokenStore::open(directory)?,
            Self::Objects(objects) => {
                let secret = objects.object(&objects.tokens());
                TokenStore::on(Box::new(SecretTokens::new(objects.runtime.clone(), secret)))
            }
        })
    }

    /// The revocations.
    pub(super) async fn revocations(&self) -> Result<RevocationStore, ControlError> {
        match self {
            Self::Directory(directory) => Ok(RevocationStore::open(directory)?),
            Self::Objects(objects) => {
                let map = objects.object(&objects.revocations());
                let shelf = MapRevocations::new(objects.runtime.clone(), map);
                blocking(move || RevocationStore::open_on(Box::new(shelf))).await
            }
        }
    }
}

impl Place {
    /// What federation keeps.
    pub(super) fn federation(&self) -> Result<Arc<dyn Shelf>, ControlError> {
        let shelf: Arc<dyn Shelf> = match self {
            Self::Directory(directory) => {
                let directory = directory.join(federation::DIRECTORY);
                Arc::new(DirectoryShelf::open(&directory).map_err(FederationError::from)?)
            }
            Self::Objects(objects) => {
                let map = objects.object(&objects.beside("federation"));
                Arc::new(MapShelf::new(objects.runtime.clone(), map))
            }
        };
        Ok(shelf)
    }

    /// What keeps one of several replicas in touch with the others.
    pub(super) fn companions(
        &self,
        replicas: &Replicas,
        authority: &Arc<Authority>,
        revocations: &Arc<RevocationStore>,
        clock: &Clock,
    ) -> Option<Companions> {
        let Self::Objects(objects) = self else { return None };
        let (authority, revocations) = (Arc::clone(authority), Arc::clone(revocations));
        let clock = clock.clone();
        let confirm: Confirm = Arc::new(move || {
            let mut seen = Seen::Whole;
            match authority.reload(clock.now()) {
                Ok(true) => tracing::info!("followed what another replica did with the authority"),
                Ok(false) => {}
                Err(error @ AuthorityError::Store(StoreError::Remote { .. })) => {
                    return Err(with_causes(&error));
                }
                Err(error) => seen = Seen::Broken(with_causes(&error)),
            }
            match revocations.reload() {
                Ok(()) => Ok(seen),
                Err(error @ RevocationError::Remote { .. }) => Err(with_causes(&error)),
                Err(error) => Ok(Seen::Broken(with_causes(&error))),
            }
        });
        let followed = (&objects.secret, &objects.revocations());
        Companions::new(replicas, &objects.cluster, followed, confirm)
    }
}

impl Objects {
    /// The authority.
    pub(super) fn vault(&self, replicas: &Replicas) -> SecretVault {
        SecretVault::new(&self.cluster, &self.secret, replicas.clone())
    }

    /// The ConfigMap of the revocations.
    pub(super) fn revocations(&self) -> ObjectName {
        self.beside("revocations")
    }

    fn tokens(&self) -> ObjectName {
        self.beside("join-tokens")
    }

    fn beside(&self, what: &str) -> ObjectName {
        let name = format!("{}-{what}", self.secret.name);
        ObjectName { namespace: self.secret.namespace.clone(), name }
    }

    fn object<K: Holds>(&self, name: &ObjectName) -> Object<K> {
        Object::new(&self.cluster, name, Patience::default())
    }

    async fn prepare(&self) -> Result<(), ControlError> {
        let tokens: Object<Secret> = self.object(&self.tokens());
        made(&tokens, &Values::new()).await?;
        let revocations: Object<ConfigMap> = self.object(&self.revocations());
        if revocations.read().await?.is_some() {
            return Ok(());
        }
        let authority: Object<Secret> = self.object(&self.secret);
        // Read once more: another replica may have made both in between.
        if authority.read().await?.is_some() && revocations.read().await?.is_none() {
            let (object, known_by) = (revocations.place().to_owned(), authority.place().to_owned());
            return Err(ControlError::Forgotten { object, known_by });
        }
        let (name, text) = NOBODY;
        let nobody = [(name.to_owned(), Zeroizing::new(text.to_owned()))].into();
        made(&revocations, &nobody).await
    }
}

/// Makes an object that is not there.
async fn made<K: Holds>(object: &Object<K>, values: &Values) -> Result<(), ControlError> {
    if object.read().await?.is_some() {
        return Ok(());
    }
    match object.create(values).await {
        Ok(_) | Err(ObjectError::Exists(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
