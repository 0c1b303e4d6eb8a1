//! What a rule asks of users and clients, each list by itself.

use super::held;
use super::known::{Fact, Known};
use super::parts::{Field, Part, State};
use super::wording;
use crate::policy::access::{UserPattern, Users};
use crate::policy::decide::{Difference, Mismatch};
use crate::policy::facts::UserFacts;

/// Each thing that is asked of the user or the client.
pub(super) fn parts(
    field: Field,
    pattern: Option<&UserPattern>,
    held: Option<&UserFacts>,
    known: &Known,
) -> Vec<Part> {
    let Some(pattern) = pattern else { return Vec::new() };
    let part = |pattern: &UserPattern, wanted: String, shown: String| {
        Part::new(field, pattern.matches(held, differs(field)), wanted, shown)
    };
    let users = match (pattern, held) {
        (UserPattern::Anonymous, _) => {
            return vec![part(pattern, "nobody is signed in".to_owned(), held::somebody(held))];
        }
        (UserPattern::Verified(users), None) => {
            let wanted = wording::users(users);
            return vec![Part {
                field,
                state: State::Unmet,
                wanted,
                held: "nobody is signed in".to_owned(),
            }];
        }
        (UserPattern::Verified(users), Some(_)) => users,
    };
    let single = each(users);
    if single.is_empty() {
        return vec![part(pattern, "anybody who is signed in".to_owned(), held::somebody(held))];
    }
    single
        .into_iter()
        .map(|(users, fact)| {
            let wanted = wording::users(&users);
            let shown = held.map(|held| held::attribute(&users, held)).unwrap_or_default();
            let part = part(&UserPattern::Verified(Box::new(users)), wanted, shown);
            match fact {
                Some(fact) => part.unless_missing(known, fact),
                None => part,
            }
        })
        .collect()
}

fn differs(field: Field) -> fn(Mismatch) -> Difference {
    match field {
        Field::Client => Difference::Client,
        _ => Difference::User,
    }
}

/// One for each list, with the kind of fact it is compared with; nothing for what is always known.
fn each(users: &Users) -> Vec<(Users, Option<Fact>)> {
    let Users { providers, subjects, roles, groups, scopes, tenants, emails, claims, bound_by } =
        users;
    let nothing = || Users {
        providers: None,
        subjects: None,
        roles: None,
        groups: None,
        scopes: None,
        tenants: None,
        emails: None,
        claims: Vec::new(),
        bound_by: None,
    };
    let mut all = Vec::new();
    if providers.is_some() {
        all.push((Users { providers: providers.clone(), ..nothing() }, None));
    }
    if subjects.is_some() {
        all.push((Users { subjects: subjects.clone(), ..nothing() }, None));
    }
    if roles.is_some() {
        all.push((Users { roles: roles.clone(), ..nothing() }, Some(Fact::Roles)));
    }
    if groups.is_some() {
        all.push((Users { groups: groups.clone(), ..nothing() }, Some(Fact::Groups)));
    }
    if scopes.is_some() {
        all.push((Users { scopes: scopes.clone(), ..nothing() }, Some(Fact::Scopes)));
    }
    if tenants.is_some() {
        all.push((Users { tenants: tenants.clone(), ..nothing() }, Some(Fact::Tenant)));
    }
    if emails.is_some() {
        all.push((Users { emails: emails.clone(), ..nothing() }, Some(Fact::Email)));
    }
    for claim in claims {
        all.push((Users { claims: vec![claim.clone()], ..nothing() }, Some(Fact::Claims)));
    }
    if bound_by.is_some() {
        all.push((Users { bound_by: bound_by.clone(), ..nothing() }, Some(Fact::Binding)));
    }
    all
}
