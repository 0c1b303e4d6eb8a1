//! The address from which Envoy calls the application by IPv6. Its sister of IPv4 needs nothing: all of 127.0.0.0/8 is on
//! the loopback interface already.

use std::path::Path;

/// Whether this kernel speaks IPv6 at all.
pub(super) fn ipv6_exists() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

pub(super) use system::{add, remove};

#[cfg(target_os = "linux")]
mod system {
    use std::net::{IpAddr, Ipv6Addr};

    use anyhow::Context as _;
    use rtnetlink::{AddressMessageBuilder, Error, Handle};

    use crate::mesh::pod::ESCAPE_V6;

    /// `lo`, in every network namespace.
    const LOOPBACK: u32 = 1;
    const SWITCHED_OFF: &str = "/proc/sys/net/ipv6/conf/lo/disable_ipv6";
    /// `EADDRNOTAVAIL`: there was none.
    const NO_SUCH_ADDRESS: i32 = 99;

    /// Puts the address there, if it is not there yet. False where the loopback interface has no IPv6.
    pub(in super::super) fn add() -> anyhow::Result<bool> {
        if std::fs::read_to_string(SWITCHED_OFF).is_ok_and(|value| value.trim() == "1") {
            return Ok(false);
        }
        let add = |handle: Handle| async move {
            let address = handle.address();
            address.add(LOOPBACK, IpAddr::V6(ESCAPE_V6), 128).replace().execute().await
        };
        asked(add).with_context(|| {
            format!("cannot put {ESCAPE_V6} on the loopback interface; the capability NET_ADMIN is needed")
        })?;
        Ok(true)
    }

    /// Takes the address away, if it is there.
    pub(in super::super) fn remove() -> anyhow::Result<()> {
        let message = AddressMessageBuilder::<Ipv6Addr>::new()
            .index(LOOPBACK)
            .address(ESCAPE_V6, 128)
            .build();
        match asked(|handle: Handle| async move { handle.address().del(message).execute().await }) {
            Ok(()) => Ok(()),
            Err(error) => match error.downcast_ref::<Error>() {
                Some(Error::NetlinkError(told)) if told.raw_code() == -NO_SUCH_ADDRESS => Ok(()),
                Some(_) | None => {
                    Err(error
                        .context(format!("cannot take {ESCAPE_V6} off the loopback interface")))
                }
            },
        }
    }

    fn asked<F: Future<Output = Result<(), Error>>>(
        ask: impl FnOnce(Handle) -> F,
    ) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (connection, handle, _) =
                rtnetlink::new_connection().context("the kernel cannot be asked by netlink")?;
            tokio::select! {
                answer = ask(handle) => answer.map_err(anyhow::Error::from),
                () = connection => anyhow::bail!("the kernel closed the netlink connection"),
            }
        })
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub(in super::super) fn add() -> anyhow::Result<bool> {
        anyhow::bail!("connections can be captured on Linux only")
    }

    pub(in super::super) fn remove() -> anyhow::Result<()> {
        anyhow::bail!("connections can be captured on Linux only")
    }
}
