//! `hopgate token mint`: tokens and keys for tests and demonstrations.
//!
//! Nothing here is an identity provider: it knows no user, checks no password and keeps no record. Whoever holds the
//! key can be anybody, and the command says so each time.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::signer::{Alg, Signer};
use crate::cli::moment;
use crate::runtime::{Clock, read_secret, write_atomic};

/// No key file is larger.
const MAX_KEY_FILE: u64 = 64 * 1024;
const WARNING: &str =
    "warning: for tests only. Whoever has this key can be anybody at every gate that trusts it";

/// Sign a token with a key of yours, for tests and demonstrations, or make such a key
///
/// The token stands on stdout. A claim of null is left out: --claim exp=null makes a token that never expires.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("with").required(true).args(["key", "secret_file", "new_key"])))]
pub(crate) struct MintArgs {
    /// Sign with this private key (PEM, mode 0600)
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Sign with this shared secret (mode 0600; one newline at its end is cut)
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Make a key for this algorithm instead of a token
    #[arg(long, value_name = "ALG", value_enum, ignore_case = true, requires = "out")]
    new_key: Option<Alg>,
    /// Where the new key goes (mode 0600; a file that is there is not replaced)
    #[arg(long, value_name = "FILE", requires = "new_key")]
    out: Option<PathBuf>,
    /// Where the public half of the new key goes, as a key set
    #[arg(long, value_name = "FILE", requires = "new_key")]
    jwks: Option<PathBuf>,
    /// The algorithm [default: the usual one of the key, RS256, ES256, ..; HS256 for a secret]
    #[arg(long, value_name = "ALG", value_enum, ignore_case = true, conflicts_with = "new_key")]
    alg: Option<Alg>,
    /// The key's name in the header, "" for none [default: the key's RFC 7638 thumbprint; none for a secret]
    #[arg(long, value_name = "NAME")]
    kid: Option<String>,
    #[command(flatten)]
    claims: Claims,
}

/// What the token says.
#[derive(Debug, clap::Args)]
struct Claims {
    /// The header's typ, "" for none
    #[arg(long, value_name = "TYPE", default_value = "JWT")]
    typ: String,
    /// The claim iss
    #[arg(long, value_name = "TEXT")]
    issuer: Option<String>,
    /// The claim aud; several make a list
    #[arg(long, value_name = "TEXT")]
    audience: Vec<String>,
    /// The claim sub
    #[arg(long, value_name = "TEXT")]
    subject: Option<String>,
    /// Any claim, its value in JSON: 'roles=["support"]', 'tenant="acme"'
    #[arg(long = "claim", value_name = "NAME=JSON", value_parser = claim)]
    more: Vec<(String, Value)>,
    /// How long the token is good
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = super::duration)]
    expires_in: Duration,
    /// When the token is issued: RFC 3339 or seconds since 1970 [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    at: Option<SystemTime>,
}

/// Runs the verb.
///
/// # Errors
/// When the key cannot be read, does not fit the algorithm, or a file cannot be written.
pub(crate) fn run(args: &MintArgs) -> anyhow::Result<ExitCode> {
    if let (Some(alg), Some(out)) = (args.new_key, &args.out) {
        new_key(alg, out, args.jwks.as_deref(), args.kid.as_deref())?;
    } else {
        let token = token(args)?;
        writeln!(std::io::stdout(), "{token}")?;
    }
    writeln!(std::io::stderr(), "{WARNING}")?;
    Ok(ExitCode::SUCCESS)
}

fn token(args: &MintArgs) -> anyhow::Result<String> {
    let signer = signer(args)?;
    let mut header = Map::from_iter([("alg".to_owned(), Value::from(signer.alg().name()))]);
    if !args.claims.typ.is_empty() {
        header.insert("typ".to_owned(), args.claims.typ.clone().into());
    }
    let kid = args.kid.clone().or_else(|| signer.thumbprint());
    if let Some(kid) = kid.filter(|kid| !kid.is_empty()) {
        header.insert("kid".to_owned(), kid.into());
    }
    let issued = args.claims.at.unwrap_or_else(|| Clock::system().now());
    signer.sign(&Value::Object(header), &args.claims.at(issued)?)
}

fn signer(args: &MintArgs) -> anyhow::Result<Signer> {
    match (&args.key, &args.secret_file) {
        (Some(path), _) => {
            let pem = read_secret(path, MAX_KEY_FILE)?;
            Signer::from_pem(&pem, args.alg).with_context(|| path.display().to_string())
        }
        (None, Some(path)) => {
            let secret = read_secret(path, MAX_KEY_FILE)?;
            let bytes = secret.strip_suffix('\n').unwrap_or(&secret).as_bytes();
            Signer::from_secret(bytes, args.alg).with_context(|| path.display().to_string())
        }
        (None, None) => anyhow::bail!("--key FILE, --secret-file FILE or --new-key ALG is needed"),
    }
}

impl Claims {
    fn at(&self, issued: SystemTime) -> anyhow::Result<Value> {
        let expires = issued.checked_add(self.expires_in).context("--expires-in is too long")?;
        let mut claims = Map::new();
        let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        if let Some(issuer) = &self.issuer {
            put("iss", issuer.clone().into());
        }
        if let Some(subject) = &self.subject {
            put("sub", subject.clone().into());
        }
        match self.audience.as_slice() {
            [] => None,
            [one] => put("aud", one.clone().into()),
            several => put("aud", several.to_vec().into()),
        };
        put("iat", moment::seconds(issued).into());
        put("exp", moment::seconds(expires).into());
        for (name, value) in &self.more {
            put(name, value.clone());
        }
        claims.retain(|_, value| !value.is_null());
        Ok(Value::Object(claims))
    }
}

fn new_key(alg: Alg, out: &Path, jwks: Option<&Path>, kid: Option<&str>) -> anyhow::Result<()> {
    anyhow::ensure!(
        !out.exists(),
        "{} is there already, and a key is never written over",
        out.display()
    );
    let (signer, text): (Signer, Zeroizing<String>) = Signer::generate(alg)?;
    let public = match (jwks, signer.jwk()) {
        (Some(_), None) => anyhow::bail!("a secret has no public half: leave --jwks out"),
        (path, jwk) => path.zip(jwk),
    };
    write_atomic(out, text.as_bytes(), 0o600)?;
    if let Some((path, Value::Object(mut key))) = public {
        let kid = kid.map(str::to_owned).or_else(|| signer.thumbprint()).unwrap_or_default();
        for (name, value) in [("use", "sig".to_owned()), ("alg", alg.name()), ("kid", kid)] {
            if !value.is_empty() {
                key.insert(name.to_owned(), value.into());
            }
        }
        let set = serde_json::to_string_pretty(&json!({ "keys": [key] }))? + "\n";
        write_atomic(path, set.as_bytes(), 0o644)?;
    }
    Ok(())
}

/// `name=json`. Text must be quoted, or `roles=admin` and `roles=["admin"]` would be told apart by luck.
fn claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=JSON")?;
    if name.is_empty() {
        return Err("the name is empty".to_owned());
    }
    let value = serde_json::from_str(value)
        .map_err(|_| format!("`{value}` is no JSON; text needs quotes: '{name}=\"{value}\"'"))?;
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: MintArgs,
    }

    fn parse(words: &[&str]) -> Result<MintArgs, String> {
        Cli::try_parse_from([&["mint"], words].concat())
            .map(|cli| cli.args)
            .map_err(|error| error.to_string())
    }

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("hopgate-mint-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    fn part(token: &str, index: usize) -> Value {
        let part = token.split('.').nth(index).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[test]
    fn a_new_key_mints_tokens_that_name_it() {
        let directory = directory("key");
        let key = directory.join("key.pem").display().to_string();
        let set = directory.join("jwks.json").display().to_string();
        run(&parse(&["--new-key", "es256", "--out", &key, "--jwks", &set]).unwrap()).unwrap();
        let again = run(&parse(&["--new-key", "ES256", "--out", &key]).unwrap());
        assert!(again.unwrap_err().to_string().contains("never written over"));
        let set: Value = serde_json::from_str(&std::fs::read_to_string(&set).unwrap()).unwrap();
        let args = parse(&[
            "--key",
            &key,
            "--issuer",
            "https://sso.example",
            "--audience",
            "orders",
            "--subject",
            "ann",
            "--claim",
            r#"roles=["support"]"#,
            "--claim",
            "jti=null",
            "--at",
            "1790000000",
        ])
        .unwrap();
        let token = token(&args).unwrap();
        let header = part(&token, 0);
        assert_eq!((&header["alg"], &header["typ"]), (&json!("ES256"), &json!("JWT")));
        assert_eq!(header["kid"], set["keys"][0]["kid"]);
        assert_eq!(
            part(&token, 1),
            json!({"iss": "https://sso.example", "sub": "ann", "aud": "orders", "iat": 1_790_000_000_u64,
                   "exp": 1_790_000_300_u64, "roles": ["support"]})
        );
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_secret_mints_without_a_key_name_and_must_be_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = directory("secret");
        let file = directory.join("hs.key");
        write_atomic(&file, format!("{}\n", "s".repeat(32)).as_bytes(), 0o600).unwrap();
        let path = file.display().to_string();
        let args = parse(&["--secret-file", &path, "--typ", "", "--claim", "exp=null"]).unwrap();
        let token = token(&args).unwrap();
        assert_eq!(part(&token, 0), json!({"alg": "HS256"}));
        assert!(part(&token, 1).get("exp").is_none());
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(run(&args).is_err(), "a secret that others can read");
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn arguments_that_cannot_be_meant_are_refused() {
        for wrong in [
            &[][..],
            &["--key", "a", "--secret-file", "b"],
            &["--new-key", "ES256"],
            &["--new-key", "ES999", "--out", "k"],
            &["--key", "a", "--jwks", "j"],
            &["--key", "a", "--claim", "roles"],
            &["--key", "a", "--claim", "tenant=acme"],
            &["--key", "a", "--expires-in", "soon"],
            &["--key", "a", "--at", "soon"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
