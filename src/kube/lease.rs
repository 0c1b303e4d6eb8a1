//! Leases (`coordination.k8s.io/v1`): who holds one, and taking or renewing it in one step that only one of many wins.

use std::time::{Duration, SystemTime};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};

use super::object::{ObjectError, ObjectVersion};
use super::retry::{NoAnswer, Patience, until_answered};
use super::{Cluster, ObjectName};

/// A lease is renewed every few seconds: what is not answered soon is better asked anew.
const PATIENCE: Patience =
    Patience { attempt: Duration::from_secs(3), whole: Duration::from_secs(4) };

/// A lease as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldLease {
    /// Who holds it; nobody after it was given back.
    pub holder: Option<String>,
    /// For how long after the last renewal nobody else may take it.
    pub term: Duration,
    /// How often it changed hands.
    pub transitions: i32,
    /// Which state of it this is.
    pub version: ObjectVersion,
}

/// What a lease is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLease {
    /// Who holds it; `None` gives it back.
    pub holder: Option<String>,
    /// For how long nobody else may take it.
    pub term: Duration,
    /// How often it changed hands.
    pub transitions: i32,
    /// Now, for people: nobody may decide by another machine's clock.
    pub renewed: SystemTime,
    /// A label, to find such leases by.
    pub label: Option<(String, String)>,
    /// An annotation.
    pub annotation: Option<(String, String)>,
}

/// The leases of one namespace. Cloning shares the connections.
#[derive(Clone)]
pub struct Leases {
    pub(super) api: Api<Lease>,
    namespace: String,
}

impl Leases {
    /// The leases in the namespace of `beside`. Nothing is asked yet.
    #[must_use]
    pub fn new(cluster: &Cluster, beside: &ObjectName) -> Self {
        let client = cluster.client();
        let namespace = beside.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
        Self { api: Api::namespaced(client, &namespace), namespace }
    }

    /// The lease of that name. `None`: there is none.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn read(&self, name: &str) -> Result<Option<HeldLease>, ObjectError> {
        let found = until_answered(PATIENCE, || self.api.get_opt(name)).await;
        let found = found.map_err(|error| self.failed("show", name, error))?;
        found.map(|lease| self.held(name, lease)).transpose()
    }

    /// Makes the lease, or puts this in place of what `over` is the version of.
    ///
    /// # Errors
    /// [`ObjectError::Conflict`] when somebody else was first, [`ObjectError::Gone`] when it is not there any more, and as
    /// [`Leases::read`]. After a lost answer it may be in force all the same: it is read before anything is said of it.
    pub async fn write(
        &self,
        name: &str,
        new: &NewLease,
        over: Option<&ObjectVersion>,
    ) -> Result<ObjectVersion, ObjectError> {
        let lease = lease(name, new, over);
        let post = PostParams::default();
        let written = match over {
            None => until_answered(PATIENCE, || self.api.create(&post, &lease)).await,
            Some(_) => until_answered(PATIENCE, || self.api.replace(name, &post, &lease)).await,
        };
        match written {
            Ok(lease) => Ok(self.held(name, lease)?.version),
            Err(NoAnswer::Refused(kube::Error::Api(status))) if status.code == 409 => {
                Err(ObjectError::Conflict(self.place(name)))
            }
            Err(NoAnswer::Refused(kube::Error::Api(status)))
                if status.code == 404 && over.is_some() =>
            {
                Err(ObjectError::Gone(self.place(name)))
            }
            Err(error) => Err(self.failed("write", name, error)),
        }
    }

    /// Deletes the lease, if it is still the one of `version`.
    ///
    /// # Errors
    /// As [`Leases::write`].
    pub async fn delete(&self, name: &str, version: &ObjectVersion) -> Result<(), ObjectError> {
        let (uid, resource_version) = version.parts();
        let only = Preconditions { uid: Some(uid), resource_version: Some(resource_version) };
        let delete = DeleteParams { preconditions: Some(only), ..DeleteParams::default() };
        let deleted = until_answered(PATIENCE, || self.api.delete(name, &delete)).await;
        match deleted {
            Ok(_) => Ok(()),
            Err(NoAnswer::Refused(kube::Error::Api(status))) if status.code == 404 => Ok(()),
            Err(NoAnswer::Refused(kube::Error::Api(status))) if status.code == 409 => {
                Err(ObjectError::Conflict(self.place(name)))
            }
            Err(error) => Err(self.failed("delete", name, error)),
        }
    }

    fn held(&self, name: &str, lease: Lease) -> Result<HeldLease, ObjectError> {
        let version = ObjectVersion::read(&lease.metadata)
            .ok_or_else(|| ObjectError::NoVersion(self.place(name)))?;
        let spec = lease.spec.unwrap_or_default();
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        Ok(HeldLease {
            holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
            term: Duration::from_secs(seconds.unwrap_or_default()),
            transitions: spec.lease_transitions.unwrap_or_default(),
            version,
        })
    }

    fn place(&self, name: &str) -> String {
        format!("Lease {}/{name}", self.namespace)
    }

    fn failed(&self, action: &'static str, name: &str, error: NoAnswer) -> ObjectError {
        ObjectError::of(action, self.place(name), error)
    }
}

fn lease(name: &str, new: &NewLease, over: Option<&ObjectVersion>) -> Lease {
    let NewLease { holder, term, transitions, renewed, label, annotation } = new;
    let (uid, resource_version) = over.map(ObjectVersion::parts).unzip();
    Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            uid,
            resource_version,
            labels: label.clone().map(|label| [label].into()),
            annotations: annotation.clone().map(|annotation| [annotation].into()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.clone().unwrap_or_default()),
            lease_duration_seconds: i32::try_from(term.as_secs()).ok(),
            lease_transitions: Some(*transitions),
            renew_time: Timestamp::try_from(*renewed).ok().map(MicroTime),
            ..LeaseSpec::default()
        }),
    }
}
