//! The request that is decided about, again and again.

use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

use hopgate::identity::SpiffeId;
use hopgate::policy::{
    Connection, Decision, Facts, HeaderValue, Headers, NoBody, PolicySet, RequestFacts, UserFacts,
    UserParts,
};

pub struct Asking {
    peer: SpiffeId,
    user: UserFacts,
    segments: Vec<Cow<'static, str>>,
}

struct NoHeaders;

impl Headers for NoHeaders {
    fn value(&self, _: &str) -> HeaderValue<'_> {
        HeaderValue::Absent
    }
}

impl Asking {
    pub fn new() -> Self {
        Self {
            peer: SpiffeId::parse("spiffe://demo.mesh/ns/shop/sa/web").unwrap(),
            user: UserFacts::new(UserParts {
                roles: vec!["customer".to_owned()],
                ..UserParts::of("sso", "alice")
            }),
            segments: ["customers", "alice", "orders", "7"].map(Cow::Borrowed).to_vec(),
        }
    }

    pub fn decide<'s>(&self, set: &'s PolicySet) -> Decision<'s> {
        set.decide(&self.facts())
    }

    /// The same by a walk over all rules; how many match.
    pub fn walk(&self, set: &PolicySet) -> usize {
        let examined = set.examine(&self.facts());
        examined.iter().filter(|rule| rule.fate == hopgate::policy::Fate::Matched).count()
    }

    pub fn facts(&self) -> Facts<'_> {
        Facts {
            peer: Some(&self.peer),
            user: Some(&self.user),
            request: Some(RequestFacts {
                method: "GET",
                host: "orders.shop",
                path: "/customers/alice/orders/7",
                segments: &self.segments,
                query: None,
                headers: &NoHeaders,
                body: &NoBody,
            }),
            connection: Connection { source: Some([10, 0, 0, 7].into()), ..Connection::default() },
            ..Facts::at(UNIX_EPOCH + Duration::from_secs(1_790_000_000))
        }
    }
}
