//! What of a request stands for a name of a Casbin model.

use casbin::rhai::Dynamic;

use crate::policy::engine::EngineFault;
use crate::policy::facts::{Facts, Groups, UserFacts};

/// What of a request stands for a name of a Casbin model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CasbinField {
    /// `user.sub`
    UserSub,
    /// `user.provider`
    UserProvider,
    /// `user.tenant`
    UserTenant,
    /// `user.email`
    UserEmail,
    /// `user.roles`, a list
    UserRoles,
    /// `user.groups`, a list
    UserGroups,
    /// `user.scopes`, a list
    UserScopes,
    /// `client.sub`
    ClientSub,
    /// `peer.id`
    PeerId,
    /// `peer.namespace`
    PeerNamespace,
    /// `peer.serviceAccount`
    PeerServiceAccount,
    /// `request.method`
    Method,
    /// `request.host`
    Host,
    /// `request.path`, decoded
    Path,
}

/// What a request holds of it.
pub(super) enum Held<'a> {
    Text(&'a str),
    List(&'a [String]),
}

const ALL: [(CasbinField, &str); 14] = [
    (CasbinField::UserSub, "user.sub"),
    (CasbinField::UserProvider, "user.provider"),
    (CasbinField::UserTenant, "user.tenant"),
    (CasbinField::UserEmail, "user.email"),
    (CasbinField::UserRoles, "user.roles"),
    (CasbinField::UserGroups, "user.groups"),
    (CasbinField::UserScopes, "user.scopes"),
    (CasbinField::ClientSub, "client.sub"),
    (CasbinField::PeerId, "peer.id"),
    (CasbinField::PeerNamespace, "peer.namespace"),
    (CasbinField::PeerServiceAccount, "peer.serviceAccount"),
    (CasbinField::Method, "request.method"),
    (CasbinField::Host, "request.host"),
    (CasbinField::Path, "request.path"),
];

impl CasbinField {
    /// Every name that can be written.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ALL.iter().map(|(_, name)| *name)
    }

    /// The field of this name.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        ALL.iter().find(|(_, name)| *name == text).map(|(field, _)| *field)
    }

    /// What a request holds of it; nothing when it holds none.
    pub(super) fn of<'a>(self, facts: &Facts<'a>) -> Result<Option<Held<'a>>, EngineFault> {
        let user = |of: fn(&'a UserFacts) -> Option<&'a str>| facts.user.and_then(of);
        let list = |of: fn(&'a UserFacts) -> &'a [String]| facts.user.map(of).map(Held::List);
        let account = || facts.peer.and_then(crate::identity::SpiffeId::service_account);
        let text = match self {
            Self::UserSub => user(|user| Some(user.subject())),
            Self::UserProvider => user(|user| Some(user.provider())),
            Self::UserTenant => user(UserFacts::tenant),
            Self::UserEmail => user(UserFacts::email),
            Self::UserRoles => return Ok(list(UserFacts::roles)),
            Self::UserScopes => return Ok(list(UserFacts::scopes)),
            Self::UserGroups => match facts.user.map(UserFacts::groups) {
                None => return Ok(None),
                Some(Groups::Known(groups)) => return Ok(Some(Held::List(groups))),
                Some(Groups::Unknown) => return Err(EngineFault::GroupsUnknown),
            },
            Self::ClientSub => facts.client.map(UserFacts::subject),
            Self::PeerId => facts.peer.map(crate::identity::SpiffeId::as_str),
            Self::PeerNamespace => account().map(|(namespace, _)| namespace),
            Self::PeerServiceAccount => account().map(|(_, account)| account),
            Self::Method => facts.request.map(|request| request.method),
            Self::Host => facts.request.map(|request| request.host),
            Self::Path => facts.request.map(|request| request.path),
        };
        Ok(text.map(Held::Text))
    }

    /// True for what somebody is called, which must not be what a role is called.
    pub(super) fn is_name(self) -> bool {
        match self {
            Self::UserSub
            | Self::UserEmail
            | Self::ClientSub
            | Self::PeerId
            | Self::PeerServiceAccount => true,
            Self::UserProvider
            | Self::UserTenant
            | Self::UserRoles
            | Self::UserGroups
            | Self::UserScopes
            | Self::PeerNamespace
            | Self::Method
            | Self::Host
            | Self::Path => false,
        }
    }

    /// A value of its kind.
    pub(super) fn sample(self) -> Dynamic {
        match self {
            Self::UserRoles | Self::UserGroups | Self::UserScopes => list(&["sample".to_owned()]),
            Self::Path => Dynamic::from("/sample".to_owned()),
            Self::UserSub
            | Self::UserProvider
            | Self::UserTenant
            | Self::UserEmail
            | Self::ClientSub
            | Self::PeerId
            | Self::PeerNamespace
            | Self::PeerServiceAccount
            | Self::Method
            | Self::Host => Dynamic::from("sample".to_owned()),
        }
    }
}

/// A list as Casbin's matchers take it.
pub(super) fn list(all: &[String]) -> Dynamic {
    Dynamic::from_array(all.iter().cloned().map(Dynamic::from).collect())
}
