//! One part of the demo as a process of its own: for pods of a cluster, where each part has its own.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::idp::Idp;
use super::service::{Name, Onward, router};
use super::{DRAIN, DemoFailed, Servers, http};
use crate::runtime::{Clock, Tasks};

/// Which part. The bases are `http` URLs of a scheme and a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The front door, which asks orders for the user.
    Web {
        /// Where orders is.
        orders: String,
    },
    /// Asks payments to pay back.
    Orders {
        /// Where payments is.
        payments: String,
    },
    /// Pays back.
    Payments,
    /// The identity provider. Its keys are new at each start.
    IdentityProvider {
        /// Its name in tokens, which is where others reach it.
        issuer: String,
    },
}

/// Serves one part until `stop`, and then what is under way.
///
/// # Errors
/// When the port cannot be had, or a server ends by itself.
pub async fn serve(
    part: Part,
    listen: SocketAddr,
    stop: impl Future<Output = ()>,
) -> Result<(), DemoFailed> {
    let onward = |base: String| -> Result<Option<Onward>, DemoFailed> {
        Ok(Some(Onward { client: http::client()?, base: base.trim_end_matches('/').to_owned() }))
    };
    let (name, pages) = match part {
        Part::Web { orders } => ("web", router(Name::Web, onward(orders)?)),
        Part::Orders { payments } => ("orders", router(Name::Orders, onward(payments)?)),
        Part::Payments => ("payments", router(Name::Payments, None)),
        Part::IdentityProvider { issuer } => {
            let issuer = issuer.trim_end_matches('/').to_owned();
            let made = tokio::task::spawn_blocking(move || Idp::new(issuer, Clock::system()));
            let provider = made.await.map_err(|_| DemoFailed::CutShort)??;
            ("identity provider", provider.router())
        }
    };
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|source| DemoFailed::Listen { address: listen, source })?;
    let mut servers = Servers(Tasks::new());
    servers.listen(name, listener, pages);
    servers.0.run(stop, DRAIN).await?;
    Ok(())
}
