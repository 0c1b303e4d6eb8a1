//! `requestPrincipals`: users, named there by issuer and subject in one text, `<iss>/<sub>`.

use super::super::bound::Bound;
use super::super::out::{Asked, Matcher};
use super::draft::{Draft, Unsayable};
use super::source::deduplicated;
use super::text::Text;

pub(super) const NO_PROVIDER: &str = "no RequestAuthentication among the files surely holds for these workloads, so no user is verified \
                           there; give its file too";

/// Some users.
pub(super) struct Principals<'a> {
    texts: Vec<Text<'a>>,
}

impl<'a> Principals<'a> {
    pub(super) fn of(list: &'a [String]) -> Self {
        Self { texts: list.iter().map(|text| Text::parse(text)).collect() }
    }
}

/// There must be a user, one of these.
pub(super) fn positive(
    draft: &mut Draft<'_>,
    field: &str,
    principals: &Principals<'_>,
    all: &mut Vec<Matcher>,
) {
    if principals.texts.is_empty() {
        return;
    }
    let asked = match draft.bound {
        Bound::Inside => inside(draft, field, &principals.texts),
        // A rule about users of whom none is ever verified would never refuse.
        Bound::Around if draft.providers.all().is_empty() => Vec::new(),
        Bound::Around => vec![around(draft, field, &principals.texts)],
    };
    if asked.is_empty() {
        if draft.unsayable(field, NO_PROVIDER) == Unsayable::Drop {
            all.clear();
        }
        return;
    }
    let mut joined = Vec::with_capacity(all.len() * asked.len());
    for matcher in all.iter() {
        joined.extend(asked.iter().filter_map(|asked| matcher.clone().with_users(asked)));
    }
    if joined.is_empty() && !all.is_empty() {
        // The user is asked for twice, and the two cannot be joined in one rule.
        if draft.unsayable(field, "users are asked for twice") == Unsayable::Ignore {
            return;
        }
    }
    *all = joined;
}

/// There must be no such user. Nobody is none.
pub(super) fn negative(
    draft: &mut Draft<'_>,
    field: &str,
    principals: &Principals<'_>,
    all: &mut Vec<Matcher>,
) {
    if principals.texts.is_empty() {
        return;
    }
    let asked = match draft.bound.negated() {
        Bound::Around => Some(around(draft, field, &principals.texts)),
        Bound::Inside => {
            let mut asked = inside(draft, field, &principals.texts).into_iter();
            let first = asked.next();
            if asked.next().is_some() {
                draft.narrower(
                    field,
                    "users of several issuers cannot be excepted in one rule; only the first is",
                );
            }
            first
        }
    };
    let Some(asked) = asked else {
        if draft.unsayable(field, NO_PROVIDER) == Unsayable::Drop {
            all.clear();
        }
        return;
    };
    if all.iter().any(|matcher| matcher.not_users.is_some()) {
        if draft.unsayable(field, "users are excepted twice") == Unsayable::Drop {
            all.clear();
        }
        return;
    }
    for matcher in all {
        matcher.not_users = Some(asked.clone());
    }
}

/// Nobody but these: verified by a provider that surely verifies there.
fn inside(draft: &mut Draft<'_>, field: &str, texts: &[Text<'_>]) -> Vec<Asked> {
    let providers = draft.providers.all();
    let mut everybody = Vec::new();
    let mut named: Vec<(String, Vec<String>)> = Vec::new();
    for text in texts {
        let mut found = false;
        for (provider, issuer) in &providers {
            let subject = |text: &str| {
                text.strip_prefix(issuer.as_str())?.strip_prefix('/').map(str::to_owned)
            };
            match text {
                Text::Present => everybody.push(provider.clone()),
                Text::Exactly(text) => match subject(text).filter(|subject| !subject.is_empty()) {
                    Some(subject) => match named.iter_mut().find(|(name, _)| name == provider) {
                        Some((_, subjects)) => subjects.push(subject),
                        None => named.push((provider.clone(), vec![subject])),
                    },
                    None => continue,
                },
                Text::Prefix(text) if format!("{issuer}/").starts_with(text) => {
                    everybody.push(provider.clone());
                }
                Text::Prefix(_) | Text::Suffix(_) => continue,
            }
            found = true;
        }
        if !found {
            let text = shown(text);
            draft.narrower(field, &format!("`{text}` is left out: no issuer among the RequestAuthentications that surely hold here makes it"));
        }
    }
    let mut all = Vec::new();
    if !everybody.is_empty() {
        let providers = Some(deduplicated(everybody));
        all.push(Asked { providers, ..Asked::default() });
    }
    all.extend(named.into_iter().map(|(provider, subjects)| Asked {
        providers: Some(vec![provider]),
        subjects: Some(deduplicated(subjects)),
        ..Asked::default()
    }));
    all
}

/// These and perhaps others: every subject that the text may mean, whoever issued it.
fn around(draft: &mut Draft<'_>, field: &str, texts: &[Text<'_>]) -> Asked {
    let mut subjects = Vec::new();
    for text in texts {
        match text {
            Text::Present => return Asked::default(),
            // The issuer may hold slashes, and the subject too.
            Text::Exactly(text) => subjects.extend(
                text.match_indices('/').filter_map(|(at, _)| text.get(at + 1..)).map(str::to_owned),
            ),
            Text::Prefix(_) | Text::Suffix(_) => {
                let text = shown(text);
                draft.narrower(field, &format!("`{text}` is read as every user"));
                return Asked::default();
            }
        }
    }
    let subjects: Vec<String> =
        subjects.into_iter().filter(|subject| !subject.trim().is_empty()).collect();
    if subjects.is_empty() {
        return Asked::default();
    }
    draft.narrower(field, "the subject counts, whoever issued the token");
    Asked { subjects: Some(deduplicated(subjects)), ..Asked::default() }
}

fn shown(text: &Text<'_>) -> String {
    match text {
        Text::Present => "*".to_owned(),
        Text::Exactly(text) => (*text).to_owned(),
        Text::Prefix(text) => format!("{text}*"),
        Text::Suffix(text) => format!("*{text}"),
    }
}

impl Matcher {
    /// Asks for this too. Nothing where the same list is asked for twice.
    pub(super) fn with_users(mut self, more: &Asked) -> Option<Self> {
        let users = self.users.get_or_insert_default();
        let Asked { anonymous: _, providers, subjects, scopes, claims } = more.clone();
        // A user has one provider and one subject: what is in both lists is what both ask for.
        for (held, more) in [(&mut users.providers, providers), (&mut users.subjects, subjects)] {
            let Some(more) = more else { continue };
            let both: Vec<String> = match held.take() {
                Some(held) => held.into_iter().filter(|name| more.contains(name)).collect(),
                None => more,
            };
            if both.is_empty() {
                return None;
            }
            *held = Some(both);
        }
        match (&users.scopes, scopes) {
            (_, None) => {}
            (None, more @ Some(_)) => users.scopes = more,
            (Some(_), Some(_)) => return None,
        }
        for (name, values) in claims {
            if users.claims.insert(name, values).is_some() {
                return None;
            }
        }
        Some(self)
    }
}
