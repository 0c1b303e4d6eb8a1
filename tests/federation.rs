//! Federation: the bundle endpoint, and the client of those of others.

mod across;
mod documents;
mod endpoint;
mod hostile;
mod parts;
mod relations;
