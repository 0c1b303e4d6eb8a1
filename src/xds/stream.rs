//! What both kinds of stream have in common.

use std::sync::Arc;

use super::Table;

/// The most names that one stream may subscribe to, where its type says nothing else. An Envoy asks for a handful of secrets.
pub(super) const MAX_NAMES: usize = 256;
/// The longest name: that of a SPIFFE ID.
const MAX_NAME_LENGTH: usize = 2048;
/// How much of a client's reason for a refusal is kept.
const MAX_REASON_CHARACTERS: usize = 400;

/// One discovery stream as a state machine: requests go in, and answers are drawn when the client can take one.
pub trait Machine {
    /// What the client sends.
    type Request;
    /// What it gets.
    type Response;

    /// Takes one request.
    ///
    /// # Errors
    /// When the client breaks the protocol; the stream must then end.
    fn receive(&mut self, request: Self::Request) -> Result<Receipt, Violation>;

    /// The names that the client asks for now.
    fn names(&self) -> Vec<String>;

    /// The next answer that the client is owed, if any. Call it until it says `None`, then again after each
    /// request and each new table.
    fn next(&mut self, table: &Table) -> Option<Self::Response>;
}

/// What one request said about earlier answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receipt {
    /// Nothing new: a subscription, or an answer that was replaced meanwhile.
    Nothing,
    /// The client took the resource.
    Acked {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
    },
    /// The client refused an answer and keeps what it had.
    Nacked {
        /// Name and version, unless the answer was replaced meanwhile.
        resource: Option<(String, String)>,
        /// The client's own words, cut to a bounded length.
        reason: String,
    },
}

/// A client broke the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// It asks for another type of resource than this stream serves.
    #[error("this stream serves {served}, not {asked}")]
    Type {
        /// The stream's type.
        served: &'static str,
        /// What was asked for.
        asked: String,
    },
    /// It subscribes to more names than any honest client needs.
    #[error("too many names on one stream")]
    TooManyNames,
    /// A name is longer than a SPIFFE ID may be.
    #[error("a resource name is longer than {MAX_NAME_LENGTH} bytes")]
    NameTooLong,
}

/// The number of a stream, given by the observer.
pub type StreamId = u64;

/// Hears what happens on streams.
pub trait Observer: Send + Sync + 'static {
    /// A stream began. The number names it from now on.
    fn opened(&self) -> StreamId;
    /// A stream ended.
    fn closed(&self, stream: StreamId);
    /// A client asks for these names, and no others any more.
    fn asked(&self, stream: StreamId, names: Vec<String>);
    /// A client took a resource.
    fn acked(&self, stream: StreamId, name: &str, version: &str);
    /// A client refused a resource; name and version are unknown when the answer was replaced meanwhile.
    fn nacked(&self, stream: StreamId, resource: Option<(&str, &str)>, reason: &str);
}

/// Names of answers, counted from 1 on each stream.
#[derive(Debug, Default)]
pub(super) struct Nonces(u64);

impl Nonces {
    pub(super) fn next(&mut self) -> String {
        self.0 += 1;
        self.0.to_string()
    }

    /// True for the name of the newest answer.
    pub(super) fn is_latest(&self, nonce: &str) -> bool {
        self.0 > 0 && nonce == self.0.to_string()
    }
}

/// An answer that was sent, and whether the client has said yes or no to it.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) version: String,
    pub(super) nonce: String,
    pub(super) settled: bool,
}

/// What a request means for the answers `sent` so far. A refusal is known by its `error` alone: clients move the
/// version even for answers that they cannot use.
pub(super) fn receipt<'a>(
    sent: impl Iterator<Item = (&'a String, &'a mut Sent)>,
    nonce: &str,
    error: Option<String>,
) -> Receipt {
    let answered = sent
        .filter(|(_, sent)| !nonce.is_empty() && sent.nonce == nonce && !sent.settled)
        .map(|(name, sent)| {
            sent.settled = true;
            (name.clone(), sent.version.clone())
        })
        .next();
    match (error, answered) {
        (Some(reason), answered) => Receipt::Nacked {
            resource: answered,
            reason: reason.chars().take(MAX_REASON_CHARACTERS).collect(),
        },
        (None, Some((name, version))) => Receipt::Acked { name, version },
        (None, None) => Receipt::Nothing,
    }
}

pub(super) fn check_type(served: &'static str, asked: &str) -> Result<(), Violation> {
    // On a service of one type the client may leave the type out.
    if asked.is_empty() || asked == served {
        return Ok(());
    }
    Err(Violation::Type { served, asked: asked.chars().take(MAX_NAME_LENGTH).collect() })
}

pub(super) fn check_names<N: AsRef<str>>(
    count: usize,
    names: impl Iterator<Item = N>,
) -> Result<(), Violation> {
    check_name_count(count, MAX_NAMES)?;
    check_name_lengths(names)
}

pub(super) fn check_name_count(count: usize, most: usize) -> Result<(), Violation> {
    if count > most { Err(Violation::TooManyNames) } else { Ok(()) }
}

pub(super) fn check_name_lengths<N: AsRef<str>>(
    mut names: impl Iterator<Item = N>,
) -> Result<(), Violation> {
    if names.any(|name| name.as_ref().len() > MAX_NAME_LENGTH) {
        return Err(Violation::NameTooLong);
    }
    Ok(())
}

/// A client's reason for a refusal, cut to what is kept of it.
pub(super) fn bounded_reason(reason: &str) -> Arc<str> {
    reason.chars().take(MAX_REASON_CHARACTERS).collect::<String>().into()
}
