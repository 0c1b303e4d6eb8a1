//! Join tokens in a Secret of the Kubernetes API, one value for each. A use is one update of the Secret that names the
//! version which it replaces, and that leaves the mark of its caller: of many replicas one is the first.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use k8s_openapi::api::core::v1::Secret;
use tokio::runtime::Handle;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::ca::{KeptToken, TokenError, TokenRecord, TokenShelf, Use, Was};
use crate::kube::{Held, Object, ObjectError, Values};

/// So many tokens fit into one Secret, used ones that are remembered included.
const MOST: usize = 4000;
/// How often a write is tried again after another was first.
const CONFLICTS: usize = 20;

/// Tokens in a Secret. Its methods block on the runtime that it was made in, and so belong on threads that may block.
#[derive(Debug)]
pub(super) struct SecretTokens {
    runtime: Handle,
    secret: Object<Secret>,
    last: Mutex<Option<Reading>>,
}

/// What a reading came to, for all who asked before it began.
#[derive(Clone)]
struct Reading {
    began: Instant,
    values: Arc<Values>,
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").field("began", &self.began).finish_non_exhaustive()
    }
}

impl SecretTokens {
    pub(super) fn new(runtime: Handle, secret: Object<Secret>) -> Self {
        Self { runtime, secret, last: Mutex::new(None) }
    }

    /// What the Secret holds, read after this was called. Of many who call at once one reads for all.
    fn values(&self) -> Result<Arc<Values>, TokenError> {
        let asked = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reading) = last.as_ref().filter(|reading| reading.began >= asked) {
            return Ok(Arc::clone(&reading.values));
        }
        let began = Instant::now();
        let values = Arc::new(self.read()?.values);
        *last = Some(Reading { began, values: Arc::clone(&values) });
        Ok(values)
    }

    fn read(&self) -> Result<Held, TokenError> {
        let held = self.runtime.block_on(self.secret.read()).map_err(|error| self.failed(error))?;
        held.ok_or_else(|| self.failed(ObjectError::Gone(self.secret.place().to_owned())))
    }

    /// Changes what the Secret holds. `change` says what to answer, and whether anything is different.
    fn change<T>(
        &self,
        mut change: impl FnMut(&mut Values) -> Result<(T, bool), TokenError>,
    ) -> Result<T, TokenError> {
        for _ in 0..CONFLICTS {
            let Held { mut values, version } = self.read()?;
            let (answer, differs) = change(&mut values)?;
            if !differs {
                return Ok(answer);
            }
            match self.runtime.block_on(self.secret.replace(&values, &version)) {
                Ok(_) => return Ok(answer),
                Err(ObjectError::Conflict(_)) => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Err(self.failed(ObjectError::Conflict(self.secret.place().to_owned())))
    }

    fn failed(&self, error: ObjectError) -> TokenError {
        TokenError::Remote { place: self.secret.place().to_owned(), source: error.into() }
    }
}

impl TokenShelf for SecretTokens {
    fn put(&self, hash: &str, record: &TokenRecord, now: SystemTime) -> Result<(), TokenError> {
        let json = Zeroizing::new(record.to_json(None)?);
        self.change(|values| {
            make_room(values, now);
            if values.len() >= MOST {
                let (place, count) = (self.secret.place().to_owned(), values.len());
                return Err(TokenError::Full { place, count });
            }
            values.insert(hash.to_owned(), json.clone());
            Ok(((), true))
        })
    }

    fn find(&self, hash: &str) -> Result<KeptToken, TokenError> {
        let values = self.values()?;
        let Some(text) = values.get(hash) else { return Ok(KeptToken::Unknown) };
        Ok(match TokenRecord::read(text)? {
            (record, None) => KeptToken::Unused(record),
            (_, Some(_)) => KeptToken::Used,
        })
    }

    fn use_up(&self, hash: &str) -> Result<Use, TokenError> {
        let mut mark = [0_u8; 16];
        aws_lc_rs::rand::fill(&mut mark).map_err(|_| TokenError::Random)?;
        let mark: String = mark.iter().map(|byte| format!("{byte:02x}")).collect();
        self.change(|values| {
            let Some(text) = values.get(hash) else { return Ok((Use::Unknown, false)) };
            match TokenRecord::read(text)? {
                // Our own write, whose answer was lost.
                (_, Some(used)) if used == mark => Ok((Use::First, false)),
                (_, Some(_)) => Ok((Use::Again, false)),
                (record, None) => {
                    let used = Zeroizing::new(record.to_json(Some(&mark))?);
                    values.insert(hash.to_owned(), used);
                    Ok((Use::First, true))
                }
            }
        })
    }

    fn sweep(&self, now: SystemTime) -> Result<usize, TokenError> {
        self.change(|values| {
            let before = values.len();
            values.retain(|hash, text| !is_over(hash, text, now));
            let over = before.saturating_sub(values.len());
            Ok((over, over > 0))
        })
    }
}

fn is_over(hash: &str, text: &str, now: SystemTime) -> bool {
    match TokenRecord::read(text) {
        Ok((record, None)) => record.is_over(Was::Unused, now),
        Ok((record, Some(_))) => record.is_over(Was::Used, now),
        Err(error) => {
            tracing::warn!(token.hash = hash, %error, "a join token's record is damaged");
            false
        }
    }
}

/// Forgets what is over, and then, if there is still no room, used tokens: they stay refused, only less exactly.
fn make_room(values: &mut Values, now: SystemTime) {
    values.retain(|hash, text| !is_over(hash, text, now));
    let surplus = (values.len() + 1).saturating_sub(MOST);
    let used = values.iter().filter_map(|(hash, text)| match TokenRecord::read(text) {
        Ok((record, Some(_))) => Some((record.expires, hash.clone())),
        Ok((_, None)) | Err(_) => None,
    });
    let mut used: Vec<(SystemTime, String)> = used.take_while(|_| surplus > 0).collect();
    used.sort_unstable();
    for (_, hash) in used.into_iter().take(surplus) {
        values.remove(&hash);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::identity::SpiffeId;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000 + seconds)
    }

    fn text(expires: u64, used: Option<&str>) -> Zeroizing<String> {
        let workload = SpiffeId::parse("spiffe://demo.mesh/ns/shop/sa/web").unwrap();
        let record = TokenRecord { workload, expires: at(expires) };
        Zeroizing::new(record.to_json(used).unwrap())
    }

    #[test]
    fn room_is_made_by_forgetting_what_cannot_be_used() {
        let mut values = Values::new();
        for index in 0..MOST {
            let one = match index {
                0..10 => text(5, None),
                10..20 => text(100 + index as u64, Some("m")),
                _ => text(100, None),
            };
            values.insert(format!("{index:04}"), one);
        }
        make_room(&mut values, at(0));
        assert_eq!(values.len(), MOST - 1, "one used token went");
        assert!(
            !values.contains_key("0010") && values.contains_key("0011"),
            "the one that ends first"
        );
        make_room(&mut values, at(50));
        assert_eq!(values.len(), MOST - 11, "those that expired");
        values.retain(|_, text| TokenRecord::read(text).unwrap().1.is_none());
        for index in 0..MOST {
            values.insert(format!("x{index}"), text(100, None));
        }
        let full = values.len();
        make_room(&mut values, at(50));
        assert_eq!(values.len(), full, "what can still be used stays");
        values.insert("odd".to_owned(), Zeroizing::new("odd".to_owned()));
        make_room(&mut values, at(1000));
        assert_eq!(values.len(), 1, "a damaged record is left for the operator to see");
    }
}
