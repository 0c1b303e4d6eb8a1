//! Why a CheckRequest cannot be judged.

use crate::authz::ambiguity::Ambiguity;
use crate::authz::door::DoorFault;
use crate::authz::path::AmbiguousPath;
use crate::proto::WireError;

/// Why a CheckRequest cannot be judged. Each is a denial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The bytes are no CheckRequest.
    #[error("the CheckRequest cannot be decoded: {0}")]
    Wire(#[from] WireError),
    /// It is compressed, which was not agreed on.
    #[error("the CheckRequest is compressed")]
    Compressed,
    /// It is larger than it may be, or found no room beside the other calls on its connection.
    #[error(
        "the CheckRequest is larger than extAuthz.maxRequestBytes, or the calls on its connection hold too much"
    )]
    TooLarge,
    /// The call holds no message, more than one, or half of one.
    #[error("the call does not hold exactly one message")]
    Framing,
    /// It holds no attributes.
    #[error("the CheckRequest holds no attributes")]
    NoAttributes,
    /// The method is empty or holds a character outside RFC 9110's token.
    #[error("the method is no token")]
    Method,
    /// The method holds a lower-case letter. Methods are case-sensitive, but some applications fold them: `delete` would
    /// get past a rule for `DELETE`.
    #[error("the method has lower-case letters")]
    LowerCaseMethod,
    /// The authority is empty, has user info, a list, blanks, control characters, an empty label, a bad port or an IP
    /// address in an odd spelling.
    #[error("the authority is not a single host")]
    Authority,
    /// Two programs could read the path differently.
    #[error("{0}")]
    Path(#[from] AmbiguousPath),
    /// A header name is empty or not in lower case.
    #[error("the headers are not as Envoy sends them")]
    Headers,
    /// There are too many header lines.
    #[error("there are more header lines than the mesh allows")]
    HeaderLines,
    /// A header of which there may be one line came in several.
    #[error("a header of which there may be one came more than once")]
    DuplicateHeader,
    /// A header name has an underscore, and to many applications it is the same as one with a dash.
    #[error("a header name has an underscore")]
    UnderscoreHeader,
    /// A `host` line or the target itself names another authority than the request.
    #[error("the request names more than one authority")]
    MixedAuthority,
    /// A header names another method, host or path than the request, and some frameworks would obey it.
    #[error("a header overrides the method, the host or the path")]
    Override,
    /// A pseudo header says something else than the field it was made from.
    #[error("a pseudo header contradicts its field")]
    PseudoHeader,
    /// It came through an HTTP door, and not as that door's proxy asks.
    #[error("{0}")]
    Door(#[from] DoorFault),
}

impl Malformed {
    /// The stable code for logs and metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Wire(_) => "request_undecodable",
            Self::Compressed => "request_compressed",
            Self::TooLarge => "request_too_large",
            Self::Framing => "request_framing",
            Self::NoAttributes => "request_empty",
            Self::Method => "request_method",
            Self::Authority => "request_authority",
            Self::Path(path) => path.code(),
            Self::LowerCaseMethod => "request_method_lower_case",
            Self::Headers => "request_headers",
            Self::HeaderLines => "request_too_many_headers",
            Self::DuplicateHeader => "request_duplicate_header",
            Self::UnderscoreHeader => "request_underscore_header",
            Self::MixedAuthority => "request_mixed_authority",
            Self::Override => "request_override",
            Self::PseudoHeader => "request_pseudo_header",
            Self::Door(fault) => fault.code(),
        }
    }

    /// The class of ambiguous requests that it belongs to; nothing for what is plainly broken or too large.
    #[must_use]
    pub fn ambiguity(self) -> Option<Ambiguity> {
        match self {
            Self::LowerCaseMethod => Some(Ambiguity::LowerCaseMethod),
            Self::DuplicateHeader => Some(Ambiguity::DuplicateHeader),
            Self::UnderscoreHeader => Some(Ambiguity::UnderscoreHeader),
            Self::MixedAuthority | Self::PseudoHeader => Some(Ambiguity::MixedAuthority),
            Self::Override => Some(Ambiguity::OverrideHeader),
            Self::Path(path) => path.ambiguity(),
            Self::Wire(_)
            | Self::Compressed
            | Self::TooLarge
            | Self::Framing
            | Self::NoAttributes
            | Self::Method
            | Self::Authority
            | Self::Headers
            | Self::HeaderLines
            | Self::Door(_) => None,
        }
    }
}
