//! Addresses to listen on: TCP or a unix socket with a mode.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixSocket, UnixStream};
use tonic::transport::server::Connected;

/// How many connections may wait to be accepted at a unix socket; as many as tokio lets wait for TCP.
const BACKLOG: u32 = 1024;

/// Where to listen or connect: `127.0.0.1:9001`, or `unix:/run/hopgate/authz.sock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// An IP address and a port; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// The path of a unix socket.
    Unix(PathBuf),
}

/// A text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address; write IP:PORT (127.0.0.1:9001, [::1]:9001) or unix:/path/to.sock")]
pub struct InvalidAddress(String);

/// An address could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The operating system refused.
    #[error("cannot listen on {address}")]
    Io {
        /// Where.
        address: Address,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Somebody else answers on that unix socket.
    #[error("cannot listen on {0}: another process is serving there")]
    InUse(Address),
    /// The path holds something that is not a socket.
    #[error("cannot listen on {0}: the path exists and is no socket")]
    NotASocket(Address),
}

/// A bound address.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket, removed on drop.
    Unix(UnixListener, SocketFile),
}

/// The file of a unix socket; removed on drop.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

/// One accepted connection.
#[derive(Debug)]
pub enum Connection {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

/// Accepted connections as a stream, for tonic.
#[derive(Debug)]
pub struct Incoming(Listener);

impl Address {
    /// Binds. A stale unix socket (nobody answers) is replaced; the new one gets mode 0660, so that only
    /// the sidecar's user and group (its Envoy, its app) can connect.
    ///
    /// # Errors
    /// When the system refuses, or the socket is in use.
    pub async fn bind(&self) -> Result<Listener, BindError> {
        let fail = |source| BindError::Io { address: self.clone(), source };
        match self {
            Self::Tcp(address) => TcpListener::bind(address).await.map(Listener::Tcp).map_err(fail),
            Self::Unix(path) => {
                self.remove_stale(path).await?;
                if let Some(parent) = path.parent() {
                    std::fs::create_dir_all(parent).map_err(fail)?;
                }
                let socket = UnixSocket::new_stream().map_err(fail)?;
                socket.bind(path).map_err(fail)?;
                let mode = std::fs::Permissions::from_mode(0o660);
                std::fs::set_permissions(path, mode).map_err(fail)?;
                // Not before: until now the mode was as the umask has it, and nobody could connect.
                let listener = socket.listen(BACKLOG).map_err(fail)?;
                Ok(Listener::Unix(listener, SocketFile(path.clone())))
            }
        }
    }

    async fn remove_stale(&self, path: &Path) -> Result<(), BindError> {
        let fail = |source| BindError::Io { address: self.clone(), source };
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(fail(error)),
            Ok(metadata) if !metadata.file_type().is_socket() => {
                Err(BindError::NotASocket(self.clone()))
            }
            Ok(_) => match UnixStream::connect(path).await {
                Ok(_) => Err(BindError::InUse(self.clone())),
                Err(_) => std::fs::remove_file(path).map_err(fail),
            },
        }
    }

    /// Connects as a client.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect(&self) -> io::Result<Connection> {
        match self {
            Self::Tcp(address) => TcpStream::connect(address).await.map(Connection::Tcp),
            Self::Unix(path) => UnixStream::connect(path).await.map(Connection::Unix),
        }
    }

    /// True for unix sockets and loopback addresses: only this machine can reach them.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl Listener {
    /// Where it listens; tells the port that the system chose.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Self::Unix(_, SocketFile(path)) => Ok(Address::Unix(path.clone())),
        }
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    /// When accepting fails, for example without free file descriptors.
    pub async fn accept(&self) -> io::Result<Connection> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Connection::Tcp(stream))
            }
            Self::Unix(listener, _) => {
                listener.accept().await.map(|(stream, _)| Connection::Unix(stream))
            }
        }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Connection>> {
        match self {
            Self::Tcp(listener) => listener.poll_accept(cx).map(|accepted| {
                let (stream, _) = accepted?;
                stream.set_nodelay(true)?;
                Ok(Connection::Tcp(stream))
            }),
            Self::Unix(listener, _) => listener
                .poll_accept(cx)
                .map(|accepted| accepted.map(|(stream, _)| Connection::Unix(stream))),
        }
    }

    /// All connections, for tonic's `serve_with_incoming`.
    #[must_use]
    pub fn incoming(self) -> Incoming {
        Incoming(self)
    }
}

impl futures_util::Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_accept(cx).map(Some)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

impl Connection {
    /// The address of the other end; nothing at a unix socket.
    ///
    /// # Errors
    /// When the system cannot say, which is so once the connection is gone.
    pub fn peer_address(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().map(Some),
            Self::Unix(_) => Ok(None),
        }
    }

    /// Who is at the other end of a unix socket; nothing for TCP.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn peer_user(&self) -> io::Result<Option<PeerUser>> {
        match self {
            Self::Tcp(_) => Ok(None),
            Self::Unix(stream) => PeerUser::of(stream).map(Some),
        }
    }
}

/// Who opened a unix socket, as the kernel recorded it when they connected. It cannot be forged, and does not follow a
/// socket that is handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerUser {
    /// The effective user.
    pub uid: u32,
    /// The effective group; supplementary groups are not told.
    pub gid: u32,
}

impl PeerUser {
    /// The user and group of this process, as a peer would see them.
    ///
    /// # Errors
    /// When the system gives no socket to ask.
    pub fn own() -> io::Result<Self> {
        let (end, _other) = UnixStream::pair()?;
        Self::of(&end)
    }

    fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        Ok(Self { uid: credentials.uid(), gid: credentials.gid() })
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buffer),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, buffers),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, buffers),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some("") => Err(InvalidAddress(text.to_owned())),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| InvalidAddress(text.to_owned())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let directory = std::env::temp_dir().join(format!("hopgate-listen-{}", std::process::id()));
        let address: Address = format!("unix:{}/a.sock", directory.display()).parse().unwrap();
        let first = address.bind().await.unwrap();
        assert!(matches!(address.bind().await, Err(BindError::InUse(_))));
        let Listener::Unix(listener, file) = first else { panic!("a unix socket") };
        std::mem::forget(file);
        drop(listener);
        let second = address.bind().await.unwrap();
        assert_eq!(second.address().unwrap(), address);
        let mode = std::fs::metadata(directory.join("a.sock")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        drop(second);
        assert!(!directory.join("a.sock").exists());
        std::fs::write(directory.join("a.sock"), "text").unwrap();
        assert!(matches!(address.bind().await, Err(BindError::NotASocket(_))));
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn addresses_are_read_or_refused_with_a_hint() {
        assert_eq!("127.0.0.1:0".parse::<Address>().unwrap().to_string(), "127.0.0.1:0");
        assert_eq!("unix:/a/b".parse::<Address>().unwrap().to_string(), "unix:/a/b");
        for bad in ["", "unix:", "localhost:1", "127.0.0.1", ":80"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
