//! Every name of the condition language, once.
//!
//! From this table come the names and types that the checker knows, what both ways of evaluation read, and the
//! reference page.

use std::fmt;

/// Where a name begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    Peer,
    User,
    Client,
    Request,
    Path,
    Destination,
    Source,
    Forwarded,
    Now,
}

/// What stands behind a name. The field names of a user and of a client are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    PeerId,
    TrustDomain,
    Namespace,
    ServiceAccount,
    Subject,
    Provider,
    Roles,
    Scopes,
    Groups,
    Tenant,
    Email,
    BoundBy,
    Claims,
    Method,
    Host,
    Path,
    Query,
    Headers,
    Body,
    Port,
    ServerName,
    Address,
    Seconds,
    Hour,
    Weekday,
}

/// The type of a name, as the page shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Texts,
    Claims,
    Headers,
    Body,
    Address,
}

/// One root: what it is, and when there is none.
pub(super) struct Group {
    pub(super) root: Root,
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
    pub(super) none: Option<&'static str>,
    /// A field to name in its place, for those who use the root as a whole.
    pub(super) example: &'static str,
}

/// One name. `user` stands for `client` too.
pub(super) struct Row {
    root: Root,
    field: &'static str,
    pub(super) part: Part,
    pub(super) kind: Kind,
    meaning: &'static str,
    /// When it is absent although its root is there. `has()` asks such names only.
    absent: Option<&'static str>,
}

/// A name that was looked up.
#[derive(Clone, Copy)]
pub(super) struct Name {
    pub(super) root: Root,
    row: &'static Row,
}

const NO_PROXY_TELLS: &str = "the proxy does not tell it";

pub(super) const GROUPS: [Group; 9] = [
    Group {
        root: Root::Peer,
        name: "peer",
        meaning: "the workload on the wire, by its certificate",
        none: Some("the connection has no client certificate"),
        example: "peer.id",
    },
    Group {
        root: Root::User,
        name: "user",
        meaning: "whoever the verified credential speaks for",
        none: Some("the request carries no credential that was verified"),
        example: "user.sub",
    },
    Group {
        root: Root::Client,
        name: "client",
        meaning: "the program that calls for the user; it has the fields of `user`",
        none: Some("no program proved itself by a credential of its own"),
        example: "client.sub",
    },
    Group {
        root: Root::Request,
        name: "request",
        meaning: "the HTTP request",
        none: Some("it is a connection of another protocol"),
        example: "request.method",
    },
    Group {
        root: Root::Path,
        name: "path",
        meaning: "what the path templates of the rule captured",
        none: None,
        example: "path.id",
    },
    Group {
        root: Root::Destination,
        name: "destination",
        meaning: "the end of the connection on this side",
        none: None,
        example: "destination.port",
    },
    Group {
        root: Root::Source,
        name: "source",
        meaning: "the other end of the connection, as it is on the wire: often a proxy",
        none: None,
        example: "source.address",
    },
    Group {
        root: Root::Forwarded,
        name: "forwarded",
        meaning: "the client in front of the proxies that the mesh trusts",
        none: None,
        example: "forwarded.address",
    },
    Group {
        root: Root::Now,
        name: "now",
        meaning: "the time of the decision; a rule's `times` knows time zones",
        none: None,
        example: "now",
    },
];

#[rustfmt::skip]
const ROWS: [Row; 26] = [
    row(Root::Peer, "id", Part::PeerId, Kind::Text, "the SPIFFE ID, `spiffe://<trust domain>/<path>`"),
    row(Root::Peer, "trustDomain", Part::TrustDomain, Kind::Text, "the trust domain of the ID"),
    row(Root::Peer, "namespace", Part::Namespace, Kind::Text, "the namespace in the ID")
        .absent("the ID is not of the form `/ns/<namespace>/sa/<account>`"),
    row(Root::Peer, "serviceAccount", Part::ServiceAccount, Kind::Text, "the service account in the ID")
        .absent("the ID is not of the form `/ns/<namespace>/sa/<account>`"),
    row(Root::User, "sub", Part::Subject, Kind::Text, "the subject, unique within its provider"),
    row(Root::User, "provider", Part::Provider, Kind::Text, "the name of the `IdentityProvider`"),
    row(Root::User, "roles", Part::Roles, Kind::Texts, "the roles, and those that the policy's `roles` say they imply"),
    row(Root::User, "scopes", Part::Scopes, Kind::Texts, "the scopes"),
    row(Root::User, "groups", Part::Groups, Kind::Texts, "the groups").absent("the provider does not say which"),
    row(Root::User, "tenant", Part::Tenant, Kind::Text, "the tenant or organization").absent("there is none"),
    row(Root::User, "email", Part::Email, Kind::Text, "the mail address").absent("there is none"),
    row(Root::User, "boundBy", Part::BoundBy, Kind::Text, "`dpop` or `certificate`: the proof that the credential is its holder's own")
        .absent("the credential is bound to no key"),
    row(Root::User, "claims", Part::Claims, Kind::Claims, "all claims, by name; a claim is of any type"),
    row(Root::Request, "method", Part::Method, Kind::Text, "the method, as in `GET`"),
    row(Root::Request, "host", Part::Host, Kind::Text, "the host that the request names"),
    row(Root::Request, "path", Part::Path, Kind::Text, "the decoded path, without query"),
    row(Root::Request, "query", Part::Query, Kind::Text, "the query as it was sent, undecoded; `\"\"` where there is none"),
    row(Root::Request, "headers", Part::Headers, Kind::Headers, "one header at a time, named by a lower-case literal"),
    row(Root::Request, "body", Part::Body, Kind::Body, "the body as one JSON value, where the proxy hands it on whole")
        .absent("there is no body, or the proxy does not hand it on"),
    row(Root::Destination, "port", Part::Port, Kind::Integer, "the port of the connection").absent(NO_PROXY_TELLS),
    row(Root::Destination, "sni", Part::ServerName, Kind::Text, "the server name of the TLS handshake: the client's word, no proof")
        .absent("the connection has no TLS, or names no server"),
    row(Root::Source, "address", Part::Address, Kind::Address, "the address").absent("it is a unix socket, or the proxy does not tell it"),
    row(Root::Forwarded, "address", Part::Address, Kind::Address, "the address").absent("no trusted proxy tells it"),
    row(Root::Now, "", Part::Seconds, Kind::Integer, "seconds since 1970"),
    row(Root::Now, "hour", Part::Hour, Kind::Integer, "the hour in UTC, 0 to 23"),
    row(Root::Now, "weekday", Part::Weekday, Kind::Integer, "the day of the week in UTC, 1 (Monday) to 7"),
];

const fn row(
    root: Root,
    field: &'static str,
    part: Part,
    kind: Kind,
    meaning: &'static str,
) -> Row {
    Row { root, field, part, kind, meaning, absent: None }
}

impl Row {
    const fn absent(mut self, when: &'static str) -> Self {
        self.absent = Some(when);
        self
    }
}

impl Root {
    pub(super) fn parse(name: &str) -> Option<Self> {
        GROUPS.iter().find(|group| group.name == name).map(|group| group.root)
    }

    pub(super) fn group(self) -> Option<&'static Group> {
        GROUPS.iter().find(|group| group.root == self)
    }

    pub(super) fn as_str(self) -> &'static str {
        self.group().map_or("", |group| group.name)
    }

    /// The root whose rows tell the fields of this one.
    fn described(self) -> Self {
        if self == Self::Client { Self::User } else { self }
    }

    fn rows(self) -> impl Iterator<Item = &'static Row> {
        ROWS.iter().filter(move |row| row.root == self.described())
    }

    /// The names of its fields.
    pub(super) fn fields(self) -> Vec<&'static str> {
        self.rows().map(|row| row.field).filter(|field| !field.is_empty()).collect()
    }
}

impl Name {
    /// The name `root.field`; an empty field is the root itself.
    pub(super) fn of(root: Root, field: &str) -> Option<Self> {
        root.rows().find(|row| row.field == field).map(|row| Self { root, row })
    }

    pub(super) fn part(self) -> Part {
        self.row.part
    }

    pub(super) fn kind(self) -> Kind {
        self.row.kind
    }

    pub(super) fn may_be_absent(self) -> bool {
        self.row.absent.is_some()
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.root == other.root && self.row.field == other.row.field
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.root.as_str())?;
        if self.row.field.is_empty() { Ok(()) } else { write!(f, ".{}", self.row.field) }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "string",
            Self::Integer => "int",
            Self::Texts => "list of strings",
            Self::Claims => "map of anything",
            Self::Headers => "map of strings",
            Self::Body => "anything",
            Self::Address => "address",
        })
    }
}

/// The names as tables in Markdown: part of the page on conditions.
#[derive(Debug, Clone, Copy)]
pub struct ConditionNames;

impl fmt::Display for ConditionNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for group in &GROUPS {
            writeln!(f, "### `{}`\n", group.name)?;
            write!(f, "{}.", capitalized(group.meaning))?;
            if let Some(none) = group.none {
                write!(f, " There is none where {none}.")?;
            }
            f.write_str("\n\n")?;
            match group.root {
                // Its fields stand at `user`.
                Root::Client => continue,
                Root::Path => {
                    f.write_str("`path.<name>` is a string: the decoded segment that every path of the rule captures as `{name}`.\n\n")?;
                    continue;
                }
                Root::Peer
                | Root::User
                | Root::Request
                | Root::Destination
                | Root::Source
                | Root::Forwarded
                | Root::Now => {}
            }
            f.write_str(
                "| name | type | what it is | absent where |\n| --- | --- | --- | --- |\n",
            )?;
            for row in group.root.rows() {
                let name = Name { root: group.root, row };
                let absent = row.absent.unwrap_or_default();
                writeln!(f, "| `{name}` | {} | {} | {absent} |", row.kind, row.meaning)?;
            }
            f.write_str("\n")?;
        }
        Ok(())
    }
}

fn capitalized(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().into_iter().flat_map(char::to_uppercase).chain(rest).collect()
}
