//! Which of the things a rule asks of users it is filed under: the one that the fewest other rules ask for.

use std::collections::HashMap;

use super::access::{ClaimValue, Users};

/// One thing that an entry asks of users.
pub(super) enum Asked<'a> {
    Nothing,
    Provider(&'a [String]),
    Subject(&'a [String]),
    Tenant(&'a [String]),
    Role(&'a [String]),
    Group(&'a [String]),
    Scope(&'a [String]),
    Claim(&'a str, &'a [ClaimValue]),
}

/// How many entries ask for each single thing.
#[derive(Default)]
pub(super) struct Popularity<'a> {
    providers: HashMap<&'a str, usize>,
    subjects: HashMap<&'a str, usize>,
    tenants: HashMap<&'a str, usize>,
    roles: HashMap<&'a str, usize>,
    groups: HashMap<&'a str, usize>,
    scopes: HashMap<&'a str, usize>,
    claims: HashMap<(&'a str, &'a ClaimValue), usize>,
}

impl<'a> Popularity<'a> {
    pub(super) fn count(all: impl Iterator<Item = &'a Users>) -> Self {
        let mut popularity = Self::default();
        let add = |counts: &mut HashMap<&'a str, usize>, names: &'a Option<Vec<String>>| {
            for name in names.iter().flatten() {
                *counts.entry(name).or_default() += 1;
            }
        };
        for users in all {
            add(&mut popularity.providers, &users.providers);
            add(&mut popularity.subjects, &users.subjects);
            add(&mut popularity.tenants, &users.tenants);
            add(&mut popularity.roles, &users.roles);
            add(&mut popularity.groups, &users.groups);
            add(&mut popularity.scopes, &users.scopes);
            for (name, values) in &users.claims {
                for value in values {
                    *popularity.claims.entry((name, value)).or_default() += 1;
                }
            }
        }
        popularity
    }

    /// What an entry asks for that the fewest others ask for too.
    pub(super) fn rarest(&self, users: &'a Users) -> Asked<'a> {
        let sum = |counts: &HashMap<&str, usize>, names: &[String]| -> usize {
            names.iter().filter_map(|name| counts.get(name.as_str())).sum()
        };
        let mut options: Vec<(usize, Asked<'a>)> = Vec::new();
        if let Some(subjects) = &users.subjects {
            options.push((sum(&self.subjects, subjects), Asked::Subject(subjects)));
        }
        if let Some(tenants) = &users.tenants {
            options.push((sum(&self.tenants, tenants), Asked::Tenant(tenants)));
        }
        if let Some(roles) = &users.roles {
            options.push((sum(&self.roles, roles), Asked::Role(roles)));
        }
        if let Some(groups) = &users.groups {
            options.push((sum(&self.groups, groups), Asked::Group(groups)));
        }
        if let Some(scopes) = &users.scopes {
            options.push((sum(&self.scopes, scopes), Asked::Scope(scopes)));
        }
        for (name, values) in &users.claims {
            let count =
                values.iter().filter_map(|value| self.claims.get(&(name.as_str(), value))).sum();
            options.push((count, Asked::Claim(name, values)));
        }
        if let Some(providers) = &users.providers {
            options.push((sum(&self.providers, providers), Asked::Provider(providers)));
        }
        options
            .into_iter()
            .min_by_key(|(count, _)| *count)
            .map_or(Asked::Nothing, |(_, asked)| asked)
    }
}
