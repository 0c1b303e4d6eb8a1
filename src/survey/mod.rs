//! A cluster, looked at from outside: is it ready for hopgate, is what is installed well, and who does what.
//!
//! - [`Cluster`], [`Installation`] and the rest of `seen` are what was read, each part with why it could not be read;
//! - `read` asks the API server for it, and pods through it. Nothing is changed: what is created is created as a dry run;
//! - `check` judges that, purely: each check is one [`Finding`], and what was not seen is never taken for well;
//! - [`workloads`] looks at every sidecar twice, and says of each [`Workload`] what it does and what is wrong with it.

mod check;
mod finding;
mod fleet;
mod metrics;
mod parts;
mod read;
mod sample;
mod seen;
mod tried;
mod workload;

pub use check::{after, before};
pub use finding::{Finding, Level};
pub use read::{cluster, installation};
pub use sample::{Mesh, Wanted, workloads};
pub use seen::{Cluster, Installation};
pub use workload::{Life, Programmed, Rates, Workload};
