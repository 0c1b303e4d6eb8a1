//! Whether the rules do what they say: a connection to an address of nobody must arrive here.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use anyhow::Context as _;

use crate::mesh::capture::{Capture, Family};
use crate::mesh::pod::OUTBOUND_PORT;

/// A captured connection is there at once; nobody else answers at such an address.
const PATIENCE: Duration = Duration::from_secs(2);

/// What came of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// The connection came to the port of captured connections.
    Captured,
    /// It could not be tried, for this reason. That the kernel has the rules was seen already.
    NotTried(&'static str),
}

/// Connects to an address of nobody.
///
/// # Errors
/// When the connection was not captured.
pub(super) fn try_out(capture: &Capture, family: Family) -> anyhow::Result<Proof> {
    let user = std::fs::metadata("/proc/self").context("cannot tell which user this is")?.uid();
    let Some(target) = capture.example(family, user) else {
        return Ok(Proof::NotTried("nothing of this user and family is captured"));
    };
    if !is_routed(target) {
        return Ok(Proof::NotTried("there is no route to other networks"));
    }
    let here: IpAddr = match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    };
    let listener = match TcpListener::bind((here, OUTBOUND_PORT)) {
        Ok(listener) => listener,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            return Ok(Proof::NotTried("something serves captured connections already"));
        }
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            return Ok(Proof::NotTried("the loopback interface has no such address"));
        }
        Err(error) => return Err(error).context(format!("cannot listen on port {OUTBOUND_PORT}")),
    };
    listener.set_nonblocking(true)?;
    let failed = || {
        format!(
            "the rules are loaded, but a connection to {target} is not captured; does something else in this network namespace rewrite connections?"
        )
    };
    let connection = TcpStream::connect_timeout(&target, PATIENCE).with_context(failed)?;
    let (_, caller) = listener.accept().with_context(failed)?;
    anyhow::ensure!(caller == connection.local_addr()?, failed());
    Ok(Proof::Captured)
}

/// Whether the kernel would send anything there; nothing is sent. What the network answers to a real connection must not
/// count here: a connection that gets an answer of the network was not captured.
fn is_routed(target: SocketAddr) -> bool {
    let any: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    UdpSocket::bind((any, 0)).is_ok_and(|socket| socket.connect(target).is_ok())
}
