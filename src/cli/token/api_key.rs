//! `hopgate token key`: a new API key, and the line of the key file that knows it.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::authn::generate_api_key;

/// Make an API key
///
/// The key stands on stdout, once; what belongs into the key file stands on stderr. The file holds only the hash: the key cannot be shown again.
#[derive(Debug, clap::Args)]
pub(crate) struct KeyArgs {
    /// What the key begins with: it tells your keys from other secrets, where one is found
    #[arg(long, value_name = "TEXT", default_value = "hk_")]
    prefix: String,
    /// The key's name in the file and in logs
    #[arg(long, value_name = "NAME", default_value = "change-me")]
    id: String,
    /// The form of what stands on stdout
    #[arg(long, value_enum, default_value_t = super::Output::Text)]
    output: super::Output,
}

/// Runs the verb.
///
/// # Errors
/// When the prefix cannot be used, the system gives no random numbers, or a stream is closed.
pub(crate) fn run(args: &KeyArgs) -> anyhow::Result<ExitCode> {
    make(args, &mut std::io::stdout().lock(), &mut std::io::stderr().lock())?;
    Ok(ExitCode::SUCCESS)
}

fn make(args: &KeyArgs, out: &mut dyn Write, talk: &mut dyn Write) -> anyhow::Result<()> {
    let key = generate_api_key(&args.prefix).context("--prefix")?;
    match args.output {
        super::Output::Text => writeln!(out, "{}", key.text())?,
        super::Output::Json => {
            let object = serde_json::json!({
                "key": key.text(), "id": args.id, "sha256": key.sha256(),
            });
            writeln!(out, "{object}")?;
        }
    }
    let id = serde_json::Value::from(args.id.as_str());
    writeln!(
        talk,
        "# below `keys:` in the key file; subject, roles, scopes, groups, tenant, expires and claims may be added\n\
         - id: {id}\n\
         \x20 sha256: {}",
        key.sha256()
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::ApiKeys;

    fn made(output: super::super::Output) -> (String, String) {
        let args = KeyArgs { prefix: "hk_".to_owned(), id: "billing".to_owned(), output };
        let (mut out, mut talk) = (Vec::new(), Vec::new());
        make(&args, &mut out, &mut talk).unwrap();
        (String::from_utf8(out).unwrap(), String::from_utf8(talk).unwrap())
    }

    #[test]
    fn the_line_for_the_file_is_one_that_the_file_takes() {
        let (key, entry) = made(super::super::Output::Text);
        assert!(key.starts_with("hk_") && key.trim().len() > 40, "{key}");
        assert!(!entry.contains(key.trim()), "the key is said once");
        ApiKeys::parse("keys.yaml", &format!("keys:\n{entry}\n")).unwrap();
        assert_ne!(made(super::super::Output::Text).0, key);
    }

    #[test]
    fn machines_get_an_object() {
        let (object, _) = made(super::super::Output::Json);
        let object: serde_json::Value = serde_json::from_str(&object).unwrap();
        assert_eq!(object["id"], "billing");
        assert_eq!(object["sha256"].as_str().unwrap().len(), 64);
    }

    #[test]
    fn an_odd_prefix_is_refused() {
        let args = KeyArgs {
            prefix: "a b".to_owned(),
            id: "x".to_owned(),
            output: super::super::Output::Text,
        };
        assert!(make(&args, &mut Vec::new(), &mut Vec::new()).is_err());
    }
}
