//! The server side of HTTP/2 for one unary gRPC method, as calls: bytes in, requests and bytes out.
//!
//! It knows no socket, no task and no clock, so each of its answers can be tested as a plain call. What a peer can make it
//! hold is bounded: streams and their bodies, header blocks, the dynamic table, and answers that wait. What a peer can make
//! it do is in proportion to the bytes that it sends.
//!
//! RFC 9113 (HTTP/2), RFC 7541 (HPACK), and
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>

mod answer;
mod block;
mod connection;
mod flow;
mod frame;
mod head;
mod hpack;
mod huffman;
mod room;
mod settings;
mod streams;
mod table;

pub use connection::{Connection, Event, Method, Request};
pub use frame::{Code, Fault};
pub use room::Room;
