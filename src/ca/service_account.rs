//! Kubernetes service-account tokens: whether what an API server says of one proves a workload. Pure.

use crate::identity::{InvalidSpiffeId, SpiffeId, TrustDomain};

/// What an API server said of one token, and of the pod that the token is bound to, at about the same moment. Facts
/// without a judgement: what the answer left out is absent here as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFacts {
    /// It knows whose token it is.
    pub authenticated: bool,
    /// For which of the audiences that were asked for the token is good.
    pub audiences: Vec<String>,
    /// The service account whose token it is.
    pub account: Option<AccountName>,
    /// The pod that it is bound to.
    pub bound: Option<BoundTo>,
    /// The pod of that name as it is now.
    pub pod: Option<PodNow>,
}

/// A service account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The pod that a token names, in the namespace of the service account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundTo {
    /// Its name.
    pub pod: String,
    /// Which of all pods that ever had this name.
    pub uid: String,
}

/// A pod as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodNow {
    /// Which pod it is.
    pub uid: String,
    /// The service account that it runs as.
    pub service_account: String,
    /// It is being deleted, or all its containers have ended.
    pub ending: bool,
}

/// Why a service-account token proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceAccountRefused {
    /// The configuration names no audience: no such token is taken.
    #[error("service-account tokens are not taken here")]
    NotTaken,
    /// The API server does not know the token: forged, expired, of another cluster, or its pod is gone.
    #[error("service-account token refused by the API server")]
    Unauthenticated,
    /// It is good for somebody else.
    #[error("service-account token of another audience")]
    Audience,
    /// It is a user's.
    #[error("the token is no service account's")]
    NoAccount,
    /// It is not bound to a pod: it may have been copied from anywhere.
    #[error("service-account token not bound to a pod")]
    NotBound,
    /// The pod is gone.
    #[error("the pod of the service-account token does not exist")]
    NoPod,
    /// The pod was replaced by another one of the same name.
    #[error("the pod of the service-account token was replaced by another")]
    OtherPod,
    /// The pod is about to go.
    #[error("the pod of the service-account token is ending")]
    Ending,
    /// The pod runs as somebody else.
    #[error("the pod of the service-account token runs as another service account")]
    OtherAccount,
    /// Namespace or name cannot stand in a SPIFFE ID.
    #[error("the service account's SPIFFE ID {0}")]
    SpiffeId(#[source] InvalidSpiffeId),
}

/// The workload that a token proves, if each thing about it is as it must be.
pub(super) fn judge(
    facts: &TokenFacts,
    audience: &str,
    domain: &TrustDomain,
) -> Result<SpiffeId, ServiceAccountRefused> {
    let TokenFacts { authenticated, audiences, account, bound, pod } = facts;
    if !authenticated {
        return Err(ServiceAccountRefused::Unauthenticated);
    }
    // An API server that knows no audiences leaves them out, and has checked none.
    if !audiences.iter().any(|found| found == audience) {
        return Err(ServiceAccountRefused::Audience);
    }
    let account = account.as_ref().ok_or(ServiceAccountRefused::NoAccount)?;
    let bound = bound.as_ref().ok_or(ServiceAccountRefused::NotBound)?;
    let pod = pod.as_ref().ok_or(ServiceAccountRefused::NoPod)?;
    if pod.uid.is_empty() || pod.uid != bound.uid {
        return Err(ServiceAccountRefused::OtherPod);
    }
    if pod.ending {
        return Err(ServiceAccountRefused::Ending);
    }
    if pod.service_account != account.name {
        return Err(ServiceAccountRefused::OtherAccount);
    }
    SpiffeId::for_service_account(domain, &account.namespace, &account.name)
        .map_err(ServiceAccountRefused::SpiffeId)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> TokenFacts {
        TokenFacts {
            authenticated: true,
            audiences: vec!["hopgate".to_owned()],
            account: Some(AccountName { namespace: "shop".to_owned(), name: "orders".to_owned() }),
            bound: Some(BoundTo { pod: "orders-1".to_owned(), uid: "u-1".to_owned() }),
            pod: Some(PodNow {
                uid: "u-1".to_owned(),
                service_account: "orders".to_owned(),
                ending: false,
            }),
        }
    }

    fn judged(change: impl FnOnce(&mut TokenFacts)) -> Result<String, ServiceAccountRefused> {
        let mut facts = good();
        change(&mut facts);
        let domain = TrustDomain::parse("demo.mesh").unwrap();
        judge(&facts, "hopgate", &domain).map(|id| id.to_string())
    }

    #[test]
    fn everything_must_fit() {
        assert_eq!(judged(|_| {}).unwrap(), "spiffe://demo.mesh/ns/shop/sa/orders");
        let more = |f: &mut TokenFacts| f.audiences.insert(0, "other".to_owned());
        assert!(judged(more).is_ok());
        type Change = fn(&mut TokenFacts);
        let table: [(Change, ServiceAccountRefused); 12] = [
            (|f| f.authenticated = false, ServiceAccountRefused::Unauthenticated),
            (|f| f.audiences.clear(), ServiceAccountRefused::Audience),
            (|f| f.audiences = vec!["hopgate2".to_owned()], ServiceAccountRefused::Audience),
            (|f| f.account = None, ServiceAccountRefused::NoAccount),
            (|f| f.bound = None, ServiceAccountRefused::NotBound),
            (|f| f.pod = None, ServiceAccountRefused::NoPod),
            (|f| f.pod.as_mut().unwrap().uid = "u-2".to_owned(), ServiceAccountRefused::OtherPod),
            (
                |f| {
                    f.pod.as_mut().unwrap().uid.clear();
                    f.bound.as_mut().unwrap().uid.clear();
                },
                ServiceAccountRefused::OtherPod,
            ),
            (|f| f.pod.as_mut().unwrap().ending = true, ServiceAccountRefused::Ending),
            (
                |f| f.pod.as_mut().unwrap().service_account = "payments".to_owned(),
                ServiceAccountRefused::OtherAccount,
            ),
            (
                |f| f.pod.as_mut().unwrap().service_account.clear(),
                ServiceAccountRefused::OtherAccount,
            ),
            (
                // What is wrong first is said first, whatever else is good.
                |f| {
                    f.authenticated = false;
                    f.pod = None;
                },
                ServiceAccountRefused::Unauthenticated,
            ),
        ];
        for (n, (change, refusal)) in table.into_iter().enumerate() {
            assert_eq!(judged(change), Err(refusal), "row {n}");
        }
        let odd = judged(|f| f.account.as_mut().unwrap().namespace = "a/b".to_owned());
        assert!(matches!(odd, Err(ServiceAccountRefused::SpiffeId(_))), "{odd:?}");
    }
}
