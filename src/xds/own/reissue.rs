//! The order to replace certificates.

use std::time::{Duration, SystemTime};

use prost::Message as _;

use crate::proto::discovery;

use super::Encoded;

/// Certificates issued before a moment must be replaced. There is at most one order, of the name [`ReissueOrder::NAME`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReissueOrder {
    /// A certificate issued before then is due. Whole seconds on the wire.
    pub issued_before: SystemTime,
    /// Over how long the sidecars spread their renewals. Whole seconds on the wire.
    pub within: Duration,
}

/// A message is no order.
#[derive(Debug, thiserror::Error)]
pub enum InvalidReissue {
    /// Another name than the one there is.
    #[error("the name {0:?} is not that of the order")]
    Name(String),
    /// The bytes are no such message.
    #[error("the order is no ReissueOrder message")]
    Unreadable(#[from] prost::DecodeError),
    /// The moment is missing or out of range.
    #[error("the order names no moment")]
    Moment,
}

impl ReissueOrder {
    /// The name of the resource.
    pub const NAME: &str = "reissue";

    /// Reads a resource.
    ///
    /// # Errors
    /// When name or message are not those of an order.
    pub fn decode(name: &str, content: &[u8]) -> Result<Self, InvalidReissue> {
        if name != Self::NAME {
            return Err(InvalidReissue::Name(name.chars().take(100).collect()));
        }
        let discovery::ReissueOrder { issued_before, within } =
            discovery::ReissueOrder::decode(content)?;
        let moment = Some(issued_before).filter(|seconds| *seconds > 0);
        let moment =
            moment.and_then(|s| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(s)));
        let issued_before = moment.ok_or(InvalidReissue::Moment)?;
        Ok(Self { issued_before, within: Duration::from_secs(within.into()) })
    }

    /// The resource that says this.
    #[must_use]
    pub fn encode(&self) -> Encoded {
        let since = self.issued_before.duration_since(SystemTime::UNIX_EPOCH);
        let message = discovery::ReissueOrder {
            issued_before: since.map_or(0, |since| since.as_secs()),
            within: u32::try_from(self.within.as_secs()).unwrap_or(u32::MAX),
        };
        Encoded { name: Self::NAME.to_owned(), content: message.encode_to_vec() }
    }
}
