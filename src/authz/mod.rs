//! The gate: one CheckRequest in, one verdict and one record out.
//!
//! It promises that every Check gets an answer, that only a [`Permit`] becomes an answer that lets a request
//! pass, and that one request is judged whole under one [`Snapshot`]. It never awaits.

#![warn(clippy::as_conversions)]

mod ambiguity;
mod body;
mod callers;
mod carry;
mod challenge;
mod code;
mod connections;
mod denial;
mod door;
mod engine;
mod forwarded;
mod gate;
mod headers;
mod judge;
mod login;
mod need;
mod path;
mod presentation;
mod query;
mod record;
mod refusal;
mod rehearse;
mod request;
mod request_id;
mod respond;
mod revoked;
mod snapshot;
mod target;
mod verdict;

pub use ambiguity::Ambiguity;
pub use body::{Buffered, Descriptors, InvalidDescriptors};
pub use callers::Supposed;
pub use code::{CODES, Code};
pub use door::{Abilities, DoorFault, Question};
pub use engine::{EngineSet, InvalidEngine, Question as EngineQuestion, Said};
pub use gate::{Attempt, Checked, Gate, Judged, Outcome};
pub use headers::{ClientKind, HeaderLines};
pub use need::{Learned, Need, Resolver};
pub use path::{AmbiguousPath, Path};
pub use record::{CallerAttributes, RECORD_FIELDS};
pub use rehearse::{Changes, Ending, Refusal, Rehearsal, Rehearsed, rehearse};
pub use request::{Envelope, HttpRequest, Malformed, Request, Target, named_host};
pub use snapshot::Snapshot;
pub use verdict::{Denial, Permit, Verdict};
