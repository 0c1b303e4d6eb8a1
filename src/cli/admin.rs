//! The admin pages of a running sidecar.

use std::time::Duration;

use anyhow::Context as _;
use serde::de::DeserializeOwned;

use crate::runtime::Address;

/// All records that a sidecar keeps fit into this.
const MAX_PAGE: usize = 8 * 1024 * 1024;

/// Where they are.
pub(super) struct AdminPages<'a> {
    client: reqwest::Client,
    address: &'a Address,
}

impl<'a> AdminPages<'a> {
    /// Nothing is asked yet. A question may take as long as `patience`.
    ///
    /// # Errors
    /// When the address is not of this machine: the pages answer nobody else.
    pub(super) fn new(address: &'a Address, patience: Duration) -> anyhow::Result<Self> {
        anyhow::ensure!(
            address.is_local(),
            "the admin pages are on loopback addresses and unix sockets only"
        );
        let builder = reqwest::Client::builder().no_proxy().timeout(patience);
        let builder = match address {
            Address::Tcp(_) => builder,
            Address::Unix(path) => builder.unix_socket(path.clone()),
        };
        Ok(Self { client: builder.build()?, address })
    }

    /// One page as text; `path` carries the query.
    pub(super) async fn text(&self, path: &str) -> anyhow::Result<String> {
        let address = self.address;
        self.text_if_there(path)
            .await?
            .with_context(|| format!("{address}{path}: there is no such page"))
    }

    async fn text_if_there(&self, path: &str) -> anyhow::Result<Option<String>> {
        let Self { client, address } = self;
        let from = || format!("{address}{path}");
        let host = match address {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(_) => "localhost".to_owned(),
        };
        let mut response = client
            .get(format!("http://{host}{path}"))
            .send()
            .await
            .with_context(|| format!("cannot ask the sidecar at {address}: does it run?"))?;
        let status = response.status();
        if status == reqwest::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        anyhow::ensure!(status.is_success(), "{}: answers {status}", from());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.with_context(from)? {
            anyhow::ensure!(body.len() + chunk.len() <= MAX_PAGE, "{}: is too long", from());
            body.extend_from_slice(&chunk);
        }
        String::from_utf8(body).with_context(from).map(Some)
    }

    /// One page as JSON.
    pub(super) async fn json<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let address = self.address;
        self.json_if_there(path)
            .await?
            .with_context(|| format!("{address}{path}: there is no such page"))
    }

    /// One page as JSON; nothing where this sidecar has no such page, because it has no such part.
    pub(super) async fn json_if_there<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> anyhow::Result<Option<T>> {
        let Some(text) = self.text_if_there(path).await? else { return Ok(None) };
        let address = self.address;
        serde_json::from_str(&text)
            .with_context(|| format!("{address}{path} is not what a sidecar answers"))
            .map(Some)
    }
}
