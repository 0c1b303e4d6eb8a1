//! Why a server did not judge a credential: always our failure or its own, never the credential's.

use crate::authn::http::HttpError;
use crate::authn::json::InvalidJson;
use crate::runtime::Health;

/// There is no judgement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OnlineFault {
    /// It took longer than the request may wait.
    #[error("the server did not answer in time")]
    Timeout,
    /// Too many questions are out.
    #[error("too many questions to servers are out")]
    Overloaded,
    /// The server failed again and again and is left alone for a while.
    #[error("the server failed again and again and is not asked for a while")]
    Resting,
    /// The provider's metadata document did not name the endpoint, or was not read yet.
    #[error("the provider's metadata document does not name the endpoint, or was not read yet")]
    NoEndpoint,
    /// The request was refused before a server was asked.
    #[error("the server was not asked")]
    NotAsked,
    /// The question did not arrive, or no answer came.
    #[error("the server was not reached: {0}")]
    Http(HttpError),
    /// It refuses us, not the credential.
    #[error("the server refuses our own credentials ({0}): see the provider's auth")]
    ClientRefused(u16),
    /// Another status than those that mean something.
    #[error("the server answered with status {0}")]
    Status(u16),
    /// The answer is longer than any may be, or leads elsewhere.
    #[error("the server was reached, but {0}")]
    Unreadable(HttpError),
    /// The answer is a JWT, which is not read: TLS vouches for answers.
    #[error("the server's answer is a JWT; have it answer with plain JSON")]
    Signed,
    /// The answer is no JSON object.
    #[error("the server's answer {0}")]
    Json(InvalidJson),
    /// The answer does not say what it must.
    #[error("the server's answer has no usable {0:?}")]
    Member(&'static str),
    /// The API server did not confirm one of the audiences.
    #[error("the API server confirmed none of the audiences")]
    Audience,
    /// We could not say who asks.
    #[error("{0}")]
    Auth(String),
}

impl OnlineFault {
    /// A stable name, for logs and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Timeout => "server_timeout",
            Self::Overloaded => "server_overloaded",
            Self::Resting => "server_resting",
            Self::NoEndpoint => "server_unknown",
            Self::NotAsked => "server_not_asked",
            Self::Http(_) => "server_unreachable",
            Self::ClientRefused(_) => "server_refuses_us",
            Self::Status(_)
            | Self::Unreadable(_)
            | Self::Signed
            | Self::Json(_)
            | Self::Member(_) => "server_answer_unusable",
            Self::Audience => "server_audience_unconfirmed",
            Self::Auth(_) => "server_auth_failed",
        }
    }

    /// Whether the endpoint is down, for all credentials. What may be due to the one that was asked about is no
    /// sign of that: a stranger chooses it, and a filter in front of the endpoint may well answer it with 403.
    pub(super) fn health(&self) -> Health {
        match self {
            Self::Timeout
            | Self::Http(_)
            | Self::ClientRefused(401)
            | Self::Status(429 | 502..=504) => Health::Down,
            Self::ClientRefused(_)
            | Self::Status(_)
            | Self::Unreadable(_)
            | Self::Signed
            | Self::Json(_)
            | Self::Member(_)
            | Self::Audience
            | Self::Overloaded
            | Self::Resting
            | Self::NoEndpoint
            | Self::NotAsked
            | Self::Auth(_) => Health::Up,
        }
    }
}

impl From<HttpError> for OnlineFault {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Timeout(_) => Self::Timeout,
            HttpError::TooLarge(_) | HttpError::Encoded | HttpError::Redirect(_) => {
                Self::Unreadable(error)
            }
            HttpError::Url(_)
            | HttpError::Insecure(_)
            | HttpError::ForbiddenAddress(_)
            | HttpError::NoRoots(_)
            | HttpError::Ca(_)
            | HttpError::Identity(_)
            | HttpError::Proxy
            | HttpError::Unreachable(_)
            | HttpError::Internal(_) => Self::Http(error),
        }
    }
}
