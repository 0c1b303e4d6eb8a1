//! The places of all providers, compiled: each place once, with the providers whose credentials may stand there.

use crate::policy::{Choose, Csrf, IdentityProvider, Place, PrincipalKind, When};

/// The places of all providers.
#[derive(Debug, Default)]
pub(in crate::authn) struct PlaceTable {
    slots: Vec<Slot>,
    headers: Vec<HeaderPlace>,
    cookies: Vec<(usize, String)>,
    queries: Vec<(usize, String)>,
    /// The slots of each provider that says which comes first, in its order.
    orders: Vec<(PrincipalKind, Vec<usize>)>,
}

/// One place, and whose credentials may stand there.
#[derive(Debug)]
pub(in crate::authn) struct Slot {
    /// Its place among all.
    pub(in crate::authn) number: usize,
    place: Place,
    kind: PrincipalKind,
    /// Providers of JWTs, by their place among all.
    pub(in crate::authn) tokens: Vec<usize>,
    /// Providers of API keys with a prefix.
    pub(in crate::authn) prefixed: Vec<(String, usize)>,
    /// The one that takes what is no JWT.
    pub(in crate::authn) opaque: Option<usize>,
    /// The one that takes whatever no other takes.
    pub(in crate::authn) anything: Option<usize>,
}

/// One header, with the schemes that may stand in it.
#[derive(Debug)]
pub(super) struct HeaderPlace {
    pub(super) name: String,
    pub(super) schemes: Vec<SchemeSlot>,
    /// Where the whole value is the credential.
    pub(super) whole: Option<usize>,
}

#[derive(Debug)]
pub(super) struct SchemeSlot {
    pub(super) scheme: String,
    pub(super) slot: usize,
}

/// Why credentials in a place could be taken for another provider's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlaces {
    /// One place, two kinds of principal.
    #[error("{0} and {1} share a place, and one is for users, the other for clients")]
    Kinds(String, String),
    /// Two providers of opaque credentials in one place.
    #[error(
        "{0} and {1} share a place, and an opaque credential there could be either's: give them different places, or API keys a prefix"
    )]
    Opaque(String, String),
    /// Two key files with overlapping prefixes in one place.
    #[error("{0} and {1} share a place, and one's API key prefix begins the other's")]
    Prefixes(String, String),
    /// One cookie, two ways to show where a request comes from.
    #[error("{0} and {1} share a cookie and have different `csrf`")]
    Csrf(String, String),
    /// A header with a scheme for one provider and without for another.
    #[error("{0} and {1} share a header, one with a scheme and one without")]
    Schemes(String, String),
}

/// Which credentials of a provider a place has to tell from others'.
enum Taken {
    Tokens,
    Prefixed(String),
    Opaque,
    Anything,
}

impl PlaceTable {
    /// Compiles the places of these providers. `Authorization` is always looked at: a token that nobody verifies must not
    /// pass for none.
    pub(in crate::authn) fn compile(all: &[IdentityProvider]) -> Result<Self, InvalidPlaces> {
        let mut table = Self::default();
        let name =
            |index: usize| all.get(index).map(|p| p.metadata.name.clone()).unwrap_or_default();
        for (index, provider) in all.iter().enumerate() {
            let spec = &provider.spec;
            let mut order = Vec::with_capacity(spec.places.list.len());
            for place in &spec.places.list {
                let slot = table.slot(place, spec.principal, index, &name)?;
                for taken in taken(provider) {
                    table.take(slot, index, taken, &name)?;
                }
                order.push(slot);
            }
            if spec.places.choose == Choose::First {
                table.orders.push((spec.principal, order));
            }
        }
        if !table.headers.iter().any(|header| header.name == "authorization") {
            table.add(&Place::bearer(), PrincipalKind::User);
        }
        Ok(table)
    }

    pub(super) fn headers(&self) -> &[HeaderPlace] {
        &self.headers
    }

    pub(super) fn cookies(&self) -> impl Iterator<Item = (usize, &str)> {
        self.cookies.iter().map(|(slot, name)| (*slot, name.as_str()))
    }

    pub(super) fn queries(&self) -> impl Iterator<Item = (usize, &str)> {
        self.queries.iter().map(|(slot, name)| (*slot, name.as_str()))
    }

    pub(in crate::authn) fn slot_at(&self, slot: usize) -> Option<&Slot> {
        self.slots.get(slot)
    }

    pub(super) fn kind(&self, slot: usize) -> PrincipalKind {
        self.slots.get(slot).map_or(PrincipalKind::User, |slot| slot.kind)
    }

    pub(super) fn csrf(&self, slot: usize) -> Option<&Csrf> {
        match &self.slots.get(slot)?.place {
            Place::Cookie { csrf, name: _ } => Some(csrf),
            Place::Header { .. } | Place::Query { .. } => None,
        }
    }

    /// The one that comes first, where one provider orders all of these.
    pub(super) fn first(&self, kind: PrincipalKind, found: &[usize]) -> Option<usize> {
        let orders = self.orders.iter().filter(|(of, _)| *of == kind).map(|(_, order)| order);
        let all_in = |order: &&Vec<usize>| found.iter().all(|slot| order.contains(slot));
        let order = orders.into_iter().find(all_in)?;
        order.iter().copied().find(|slot| found.contains(slot))
    }

    /// The headers, cookies and parameters in which credentials stand.
    pub(in crate::authn) fn names(&self) -> (Vec<String>, Vec<String>, Vec<String>) {
        let headers = self.headers.iter().map(|header| header.name.clone()).collect();
        let names = |list: &[(usize, String)]| list.iter().map(|(_, name)| name.clone()).collect();
        (headers, names(&self.cookies), names(&self.queries))
    }

    /// The slot of a place, made where it is new.
    fn slot(
        &mut self,
        place: &Place,
        kind: PrincipalKind,
        index: usize,
        name: &impl Fn(usize) -> String,
    ) -> Result<usize, InvalidPlaces> {
        if let Some(there) = self.slots.iter().find(|slot| is_twin(&slot.place, place)) {
            return Err(InvalidPlaces::Csrf(there.somebody(name), name(index)));
        }
        let same = |slot: &Slot| same_place(&slot.place, place);
        if let Some(found) = self.slots.iter().position(same) {
            let there = self.slots.get(found);
            return match there {
                Some(slot) if slot.kind != kind => {
                    Err(InvalidPlaces::Kinds(slot.somebody(name), name(index)))
                }
                Some(_) | None => Ok(found),
            };
        }
        if let Place::Header { name: header, scheme } = place
            && let Some(there) = self.headers.iter().find(|there| there.name == *header)
            && there.whole.is_some() != scheme.is_none()
        {
            let slot = there.whole.or(there.schemes.first().map(|s| s.slot));
            let other = slot.and_then(|slot| self.slots.get(slot)).map(|slot| slot.somebody(name));
            return Err(InvalidPlaces::Schemes(other.unwrap_or_default(), name(index)));
        }
        Ok(self.add(place, kind))
    }

    fn add(&mut self, place: &Place, kind: PrincipalKind) -> usize {
        let slot = self.slots.len();
        match place {
            Place::Header { name, scheme } => {
                let known = self.headers.iter().position(|header| header.name == *name);
                let known = known.unwrap_or_else(|| {
                    let name = name.clone();
                    self.headers.push(HeaderPlace { name, schemes: Vec::new(), whole: None });
                    self.headers.len() - 1
                });
                if let Some(header) = self.headers.get_mut(known) {
                    match scheme {
                        Some(scheme) => {
                            header.schemes.push(SchemeSlot { scheme: scheme.clone(), slot });
                        }
                        None => header.whole = Some(slot),
                    }
                }
            }
            Place::Cookie { name, csrf: _ } => self.cookies.push((slot, name.clone())),
            Place::Query { name } => self.queries.push((slot, name.clone())),
        }
        self.slots.push(Slot {
            number: slot,
            place: place.clone(),
            kind,
            tokens: Vec::new(),
            prefixed: Vec::new(),
            opaque: None,
            anything: None,
        });
        slot
    }

    fn take(
        &mut self,
        slot: usize,
        index: usize,
        taken: Taken,
        name: &impl Fn(usize) -> String,
    ) -> Result<(), InvalidPlaces> {
        let Some(slot) = self.slots.get_mut(slot) else { return Ok(()) };
        match taken {
            Taken::Tokens => slot.tokens.push(index),
            Taken::Prefixed(prefix) => {
                let overlaps = |(other, _): &&(String, usize)| {
                    other.starts_with(&prefix) || prefix.starts_with(other.as_str())
                };
                if let Some((_, other)) = slot.prefixed.iter().find(overlaps) {
                    return Err(InvalidPlaces::Prefixes(name(*other), name(index)));
                }
                slot.prefixed.push((prefix, index));
            }
            Taken::Opaque | Taken::Anything => {
                if let Some(other) = slot.opaque.or(slot.anything) {
                    return Err(InvalidPlaces::Opaque(name(other), name(index)));
                }
                match taken {
                    Taken::Anything => slot.anything = Some(index),
                    Taken::Tokens | Taken::Prefixed(_) | Taken::Opaque => slot.opaque = Some(index),
                }
            }
        }
        Ok(())
    }
}

impl Slot {
    /// Whether credentials of this provider may stand here.
    pub(in crate::authn) fn takes(&self, provider: usize) -> bool {
        self.tokens.contains(&provider)
            || self.opaque == Some(provider)
            || self.anything == Some(provider)
            || self.prefixed.iter().any(|(_, index)| *index == provider)
    }

    /// One of the providers here.
    fn somebody(&self, name: &impl Fn(usize) -> String) -> String {
        let prefixed = self.prefixed.iter().map(|(_, index)| *index);
        let mut all = self.tokens.iter().copied().chain(prefixed);
        all.next().or(self.opaque).or(self.anything).map(name).unwrap_or_default()
    }
}

/// What stands in a place of this provider.
fn taken(provider: &IdentityProvider) -> Vec<Taken> {
    let spec = &provider.spec;
    let mut taken = Vec::with_capacity(2);
    if spec.tokens.is_some() {
        taken.push(Taken::Tokens);
    }
    if let Some(online) = &spec.online {
        match (online.when, &spec.tokens) {
            // Without an issuer of its own it is asked about every JWT that is no other provider's.
            (When::Always, None) => taken.push(Taken::Anything),
            (When::Opaque, _) | (When::Always, Some(_)) => taken.push(Taken::Opaque),
        }
    }
    if let Some(keys) = &spec.api_keys {
        taken.push(match &keys.prefix {
            Some(prefix) => Taken::Prefixed(prefix.clone()),
            None => Taken::Anything,
        });
    }
    taken
}

/// The same cookie under other rules.
fn is_twin(left: &Place, right: &Place) -> bool {
    match (left, right) {
        (Place::Cookie { name: left, csrf: one }, Place::Cookie { name: right, csrf: other }) => {
            left == right && one != other
        }
        (Place::Header { .. } | Place::Cookie { .. } | Place::Query { .. }, _) => false,
    }
}

fn same_place(left: &Place, right: &Place) -> bool {
    match (left, right) {
        (
            Place::Header { name: left, scheme: one },
            Place::Header { name: right, scheme: other },
        ) => {
            left == right
                && match (one, other) {
                    (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
                    (None, None) => true,
                    (Some(_), None) | (None, Some(_)) => false,
                }
        }
        (Place::Cookie { name: left, csrf: one }, Place::Cookie { name: right, csrf: other }) => {
            left == right && one == other
        }
        (Place::Query { name: left }, Place::Query { name: right }) => left == right,
        (Place::Header { .. } | Place::Cookie { .. } | Place::Query { .. }, _) => false,
    }
}
