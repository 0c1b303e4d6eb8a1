//! Other policy engines, as the gate asks them.
//!
//! What is evaluated in process is evaluated while a request is judged. What a server has to say is a [`Question`], asked
//! before the request is judged again: once for however many requests ask the same, within the deadline of the request
//! and the `timeout` of the engine, bounded in number, and not at all while a server that fails again and again rests.
//! A yes is believed for `ttl`, anything else that was said for `negativeTtl`, a failure for a second; all of it only for
//! exactly what was sent, to exactly this resource. Whatever is not a clear answer is a failure, and refuses.

mod asked;
mod ext_authz;
mod http;
mod opa;
mod open_fga;
mod remote;
mod review;
mod said;
mod set;

pub(super) use asked::{RequestEngines, Told};
pub use remote::Question;
pub use said::Said;
pub use set::{EngineSet, InvalidEngine};
