//! Ports for processes that must be told theirs before they start.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A loopback port that nobody else will be given while this lives.
///
/// The socket is bound and never listens. Both reuse options are set, so that a process of ours that sets one of
/// them (every listener of tokio and of Envoy does) can bind the port and listen, while the system, choosing a port
/// for somebody else, passes this one by.
#[derive(Debug)]
pub(crate) struct ReservedPort {
    address: SocketAddr,
    /// Kept open: closing it gives the port back.
    _socket: TcpSocket,
}

impl ReservedPort {
    /// Reserves a port that the system chooses.
    pub(crate) fn new() -> std::io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        Ok(Self { address: socket.local_addr()?, _socket: socket })
    }

    /// The address to put into a configuration.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_reserved_port_can_be_listened_on_and_is_given_to_nobody_else() {
        let reserved = ReservedPort::new().unwrap();
        for _again_after_a_restart in 0..2 {
            let listener = TcpListener::bind(reserved.address()).await.unwrap();
            let (connected, accepted) =
                tokio::join!(TcpStream::connect(reserved.address()), listener.accept());
            assert!(connected.is_ok() && accepted.is_ok());
        }
        let others: Vec<_> = (0..200).map(|_| ReservedPort::new().unwrap()).collect();
        assert!(others.iter().all(|other| other.address() != reserved.address()));
    }
}
