//! A workload's own certificate: when to renew, from whom, and where it is kept.
//!
//! A good certificate is kept until a better one is verified. An expired or foreign one is never served.
//! [`Renewal`] is the task; it publishes the identity on a watch channel, `None` while there is none.

mod config;
mod control_source;
mod file_source;
mod issuer;
mod jwt_source;
mod memory;
mod plan;
mod renewal;
mod retry_after;
mod schedule;
mod server;
mod shelf;
mod store;
mod tls;
mod trust;
mod upstream;
mod workload_api_look;
mod workload_api_source;

pub use config::{Config, ControlSource, FileSource, Source, Token, WorkloadApiSource};
pub use file_source::FilesError;
pub use issuer::IssueError;
pub use jwt_source::{JwtError, JwtRefused, JwtSource};
pub use plan::Plan;
pub use renewal::{Renewal, RenewalError, RenewalHandle};
pub use retry_after::RetryAfter;
pub use schedule::{Jitter, Next, Reissue, Retry, Schedule, Standing, next};
pub use server::{ConnectError, Connected, ControlServer, InvalidServer};
pub use shelf::Status;
pub use store::StateError;
pub use tls::time_provider;
pub use trust::{Told, TrustRefused, Trusted};
pub use upstream::InvalidAnswer;
pub use workload_api_look::{Given, GivenSvid, look};
pub use workload_api_source::WorkloadApiError;
