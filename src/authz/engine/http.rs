//! One question over HTTP, asked of a server that answers with a JSON object.

use std::time::Duration;

use http::{HeaderName, HeaderValue, header};
use serde_json::{Map, Value};

use super::said::Fault;
use crate::authn::{HttpClient, HttpError, Limits, json_object};
use crate::policy::EngineFault;

/// No answer is longer.
const MAX_ANSWER: usize = 256 * 1024;

/// How a server is reached, and as whom.
pub(super) struct Reach<'a> {
    pub(super) client: &'a HttpClient,
    pub(super) bearer: Option<&'a str>,
    pub(super) timeout: Duration,
}

impl Reach<'_> {
    /// The object that the server answers with. `accepted` are the statuses that bring one.
    pub(super) async fn ask(
        &self,
        url: &str,
        question: &Value,
        accepted: &[u16],
    ) -> Result<Map<String, Value>, Fault> {
        let headers = self.headers()?;
        let limits = Limits { timeout: self.timeout, max_body: MAX_ANSWER };
        let answer = self.client.post_json(url, question, &headers, limits).await;
        let answer = answer.map_err(|error| failed(&error))?;
        match answer.status {
            status if accepted.contains(&status) => {}
            401 => return Err(Fault::down(EngineFault::RefusesUs)),
            403 => return Err(Fault::once(EngineFault::RefusesUs)),
            429 | 502..=504 => return Err(Fault::down(EngineFault::Status)),
            _ => return Err(Fault::once(EngineFault::Status)),
        }
        json_object(&answer.body).map_err(|_| Fault::once(EngineFault::Unusable))
    }

    fn headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, Fault> {
        let mut headers = vec![(header::ACCEPT, HeaderValue::from_static("application/json"))];
        if let Some(bearer) = self.bearer {
            let mut ours = HeaderValue::from_str(&format!("Bearer {bearer}"))
                .map_err(|_| Fault::once(EngineFault::RefusesUs))?;
            ours.set_sensitive(true);
            headers.push((header::AUTHORIZATION, ours));
        }
        Ok(headers)
    }
}

fn failed(error: &HttpError) -> Fault {
    match error {
        HttpError::Timeout(_) => Fault::down(EngineFault::Timeout),
        HttpError::TooLarge(_) | HttpError::Encoded | HttpError::Redirect(_) => {
            Fault::once(EngineFault::Unusable)
        }
        HttpError::Url(_)
        | HttpError::Insecure(_)
        | HttpError::ForbiddenAddress(_)
        | HttpError::NoRoots(_)
        | HttpError::Ca(_)
        | HttpError::Identity(_)
        | HttpError::Proxy
        | HttpError::Unreachable(_)
        | HttpError::Internal(_) => Fault::down(EngineFault::Unreachable),
    }
}
