//! Tasks, readiness, draining, listeners, places for connections, files, questions to other servers and the clock: what every process here is
//! built on.

mod ask;
mod causes;
mod clock;
mod dice;
mod file;
mod http_listener;
mod listen;
mod places;
mod ready;
mod tasks;
mod watch;

pub use ask::{
    AskCounts, Asker, Believed, Ended, Endpoint, Health, NotSent, Questions, Slots, Weight,
};
pub use causes::with_causes;
pub use clock::{Clock, Moves};
pub use dice::{dice, random};
pub use file::{
    FileError, Readers, read_bytes, read_limited, read_secret, read_secret_of, write_atomic,
};
pub use http_listener::HttpListener;
pub use listen::{Address, BindError, Connection, Incoming, InvalidAddress, Listener, PeerUser};
pub use places::{ConnectionCounts, Place, PlaceCounts, Places, Usage};
pub use ready::{Ready, ReadyFlag};
pub use tasks::{Drain, TaskEnded, Tasks};
pub use watch::{FileWatch, WatchError};
