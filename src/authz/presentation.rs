//! What the application sees of the identities, and what is taken away from the request first.

use crate::policy;
use crate::proto::answer;

/// The header names of one snapshot, with the removals encoded once.
///
/// Envoy removes after it sets, so a name that is set must not be removed as well; setting overwrites every
/// copy. Every look-alike (an underscore for a dash, which many servers read as the same name) is always
/// removed, and so is a name that is not set because that identity is absent. The removals do not depend on which
/// headers the client sent: Envoy may have been told to hide some from us.
#[derive(Debug)]
pub(super) struct Presentation {
    pub(super) user_header: String,
    pub(super) peer_header: String,
    /// By `[user present][peer present]`.
    removed: [[Vec<u8>; 2]; 2],
}

impl Presentation {
    pub(super) fn new(policy: &policy::Presentation) -> Self {
        let removal = |user: bool, peer: bool| {
            let mut names = Vec::new();
            for (header, present) in [(&policy.user_header, user), (&policy.peer_header, peer)] {
                names.extend(
                    look_alikes(header).into_iter().filter(|name| !(present && name == header)),
                );
            }
            match policy.credentials {
                policy::Credentials::Strip => names.push("authorization".to_owned()),
                policy::Credentials::Keep => {}
            }
            answer::removals(names.iter().map(String::as_str))
        };
        Self {
            user_header: policy.user_header.clone(),
            peer_header: policy.peer_header.clone(),
            removed: [
                [removal(false, false), removal(false, true)],
                [removal(true, false), removal(true, true)],
            ],
        }
    }

    pub(super) fn removed(&self, user: bool, peer: bool) -> &[u8] {
        let [[neither, only_peer], [only_user, both]] = &self.removed;
        match (user, peer) {
            (false, false) => neither,
            (false, true) => only_peer,
            (true, false) => only_user,
            (true, true) => both,
        }
    }
}

/// The name itself and every variant with underscores for dashes. A name has at most five dashes, so 32 at most.
fn look_alikes(name: &str) -> Vec<String> {
    let mut variants = vec![String::new()];
    for c in name.chars() {
        let choices: &[char] = if c == '-' { &['-', '_'] } else { &[c] };
        variants = variants
            .iter()
            .flat_map(|variant| choices.iter().map(move |choice| format!("{variant}{choice}")))
            .collect();
    }
    variants
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_underscore_variant_is_named() {
        assert_eq!(look_alikes("x-a-b"), ["x-a-b", "x-a_b", "x_a-b", "x_a_b"].map(String::from));
    }
}
