//! `hopgate token inspect`: what a token says, and whether the configured providers vouch for it.
//!
//! The checks are those of a gate, in its order, by the same code. Neither the signature nor the token as a whole is ever
//! shown, so the answer can be pasted into a ticket. A provider that cannot be asked is "could not tell", never "no".

mod fetch;
mod hint;
mod load;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::report::{Check, CheckResult, Outcome, Reason, Report};
use super::{Output, input};
use crate::authn::{self, Files, Providers, TokenFault, TokenRefused, ToldSteps, User};
use crate::cli::moment;
use crate::policy::{Groups, IdentityProvider, Keys};
use crate::runtime::Clock;

/// Decode a token and verify it as a gate would, saying each check
///
/// Exit code 0: verified, 1: refused, 2: could not tell. Better from a file or stdin: arguments are seen by everybody on the machine.
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// The token, @FILE, or - for stdin
    #[arg(value_name = "TOKEN", default_value = "-", hide_default_value = true)]
    token: String,
    /// Files and directories with IdentityProvider resources
    #[arg(long, value_name = "PATH", required = true, value_delimiter = ',')]
    resources: Vec<PathBuf>,
    /// Only this provider, as NAME or NAMESPACE/NAME
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Judge as if it were this time: RFC 3339 or seconds since 1970 [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    at: Option<SystemTime>,
    /// Do not fetch keys
    #[arg(long)]
    offline: bool,
    /// How long keys may take to come
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = super::duration)]
    timeout: Duration,
    /// The form of what stands on stdout
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Runs the verb.
///
/// # Errors
/// When there is no token, or the resources cannot be used.
pub(crate) fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let token = input::read(&args.token)?;
    let now = args.at.unwrap_or_else(|| Clock::system().now());
    let report = inspect(&token, args, now)?;
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Text => out.write_all(report.text().as_bytes())?,
        Output::Json => writeln!(out, "{:#}", report.json())?,
    }
    Ok(report.exit_code())
}

fn inspect(token: &str, args: &InspectArgs, now: SystemTime) -> anyhow::Result<Report> {
    let (specs, files) = load::providers(&args.resources, args.provider.as_deref())?;
    let mut judged = Judged::new(token, &Providers::new(&specs, &files)?, now);
    let mut unfetched = None;
    if let Some(spec) = judged.wants_keys(&specs) {
        match keys(spec, &files, args, now)? {
            Ok(providers) => judged = Judged::new(token, &providers, now),
            Err(why) => unfetched = Some(why),
        }
    }
    let view = hint::View { header: part(token, 0), claims: part(token, 1), specs: &specs };
    let checks = judged.checks();
    let (provider, outcome) = match judged.result {
        Ok(user) => (Some(user.facts().provider().to_owned()), Outcome::Verified(identity(&user))),
        Err(refused) => {
            let provider = refused.provider().map(str::to_owned);
            (provider, outcome(&refused, unfetched, &view))
        }
    };
    let hint::View { header, claims, specs: _ } = view;
    Ok(Report { header, claims, provider, checks, outcome, now })
}

/// The providers with the keys of the one whose tokens these seem to be, or why they did not come.
fn keys(
    spec: &IdentityProvider,
    files: &Files,
    args: &InspectArgs,
    now: SystemTime,
) -> anyhow::Result<Result<Providers, String>> {
    if args.offline {
        return Ok(Err("keys were not fetched: --offline".to_owned()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(fetch::keys(spec, files, args.timeout, now))
}

/// What the proof came to.
struct Judged {
    steps: ToldSteps,
    result: Result<User, TokenRefused>,
}

impl Judged {
    fn new(token: &str, providers: &Providers, now: SystemTime) -> Self {
        let mut steps = ToldSteps::new();
        let result = authn::inspect(token, providers, now, &mut steps);
        Self { steps, result }
    }

    /// The provider whose keys are missing for an answer, if they can be fetched.
    fn wants_keys<'s>(&self, specs: &'s [IdentityProvider]) -> Option<&'s IdentityProvider> {
        let refused = self.result.as_ref().err()?;
        if !matches!(refused.fault(), TokenFault::KeysUnavailable) {
            return None;
        }
        let spec =
            specs.iter().find(|spec| Some(spec.metadata.name.as_str()) == refused.provider())?;
        let keys = spec.spec.tokens.as_ref()?.keys.as_ref()?;
        keys.life().is_some().then_some(spec)
    }

    fn checks(&self) -> Vec<Check> {
        let check = |(step, outcome): (authn::Step, authn::Outcome<'_>)| Check {
            name: step.name(),
            result: match outcome {
                authn::Outcome::Passed => CheckResult::Passed,
                authn::Outcome::Failed(fault) => CheckResult::Failed(fault.to_string()),
                authn::Outcome::NotReached => CheckResult::NotReached,
            },
        };
        self.steps.outcomes().map(check).collect()
    }
}

fn outcome(refused: &TokenRefused, unfetched: Option<String>, view: &hint::View<'_>) -> Outcome {
    let reason = |hint| Reason {
        code: refused.code().to_owned(),
        reason: refused.fault().to_string(),
        hint,
    };
    match refused.fault() {
        TokenFault::KeysUnavailable | TokenFault::KeysStale => {
            Outcome::CouldNotTell(reason(unfetched))
        }
        TokenFault::Opaque if view.asks_servers() => {
            let hint = "only a server can judge it, and inspect asks none: a gate does";
            Outcome::CouldNotTell(reason(Some(hint.to_owned())))
        }
        _ => Outcome::Refused(reason(view.hint(refused))),
    }
}

/// What policies are asked about.
fn identity(user: &User) -> Map<String, Value> {
    let facts = user.facts();
    let groups = match facts.groups() {
        Groups::Known(groups) => json!(groups),
        Groups::Unknown => json!("unknown: the provider did not say"),
    };
    let mut identity = Map::new();
    let mut put = |name: &str, value: Value| identity.insert(name.to_owned(), value);
    put("provider", facts.provider().into());
    put("subject", facts.subject().into());
    put("roles", json!(facts.roles()));
    put("scopes", json!(facts.scopes()));
    put("groups", groups);
    if let Some(tenant) = facts.tenant() {
        put("tenant", tenant.into());
    }
    if let Some(email) = facts.email() {
        put("email", email.into());
    }
    if user.cnf().is_some() {
        put("bound", "to a key: a gate demands its proof with each request".into());
    }
    identity
}

/// A part of a token as it stands there, for a person to look at: nothing is decided by it.
fn part(token: &str, index: usize) -> Option<Map<String, Value>> {
    let part = token.split('.').nth(index)?;
    let bytes = URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Where keys come from, for a hint.
fn keys_of(spec: &IdentityProvider) -> Option<&Keys> {
    spec.spec.tokens.as_ref()?.keys.as_ref()
}
