//! Programs of the system that rules are loaded with.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;

/// Where programs are looked for when nobody says.
const USUAL: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program in PATH.
#[derive(Debug, Clone)]
pub(super) struct Program(PathBuf);

impl Program {
    pub(super) fn find(name: &str) -> Option<Self> {
        #[expect(clippy::disallowed_methods, reason = "the command line reads the environment")]
        let path = std::env::var_os("PATH").filter(|path| !path.is_empty());
        Self::find_in(&path.unwrap_or_else(|| USUAL.into()), name)
    }

    fn find_in(path: &OsString, name: &str) -> Option<Self> {
        // Only whole paths: the directory that this happens to run in is nobody's choice.
        let places = std::env::split_paths(path).filter(|directory| directory.is_absolute());
        places.map(|directory| directory.join(name)).find(|file| is_program(file)).map(Self)
    }

    /// Runs it with `input`, and tells what it printed.
    ///
    /// # Errors
    /// When it cannot be started or does not succeed; with what it said.
    pub(super) fn run(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let (succeeded, printed, said) = self.try_run(arguments, input)?;
        if succeeded {
            return Ok(printed);
        }
        let hint = if said.contains("ermission denied") || said.contains("not permitted") {
            "; the capability NET_ADMIN is needed"
        } else {
            ""
        };
        anyhow::bail!("{} {} failed: {said}{hint}", self.0.display(), arguments.join(" "))
    }

    /// Whether it succeeds.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn succeeds(&self, arguments: &[&str]) -> anyhow::Result<bool> {
        Ok(self.try_run(arguments, "")?.0)
    }

    fn try_run(&self, arguments: &[&str], input: &str) -> anyhow::Result<(bool, String, String)> {
        let starting = || format!("cannot run {}", self.0.display());
        let mut child = Command::new(&self.0)
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(starting)?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that ends before it has read everything says itself what is wrong.
            drop(stdin.write_all(input.as_bytes()));
        }
        let output = child.wait_with_output().with_context(starting)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        Ok((output.status.success(), text(&output.stdout), text(&output.stderr)))
    }
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(file)
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_in_whole_paths_only_and_its_words_are_told() {
        assert!(Program::find_in(&"relative:/nonexistent".into(), "sh").is_none());
        let shell = Program::find_in(&"/nonexistent:/usr/bin:/bin".into(), "sh").unwrap();
        assert_eq!(shell.run(&["-c", "cat"], "given").unwrap(), "given");
        let error = shell.run(&["-c", "echo Operation not permitted >&2; exit 3"], "").unwrap_err();
        let error = error.to_string();
        assert!(error.contains("NET_ADMIN"), "{error}");
        assert!(!shell.succeeds(&["-c", "exit 1"]).unwrap());
    }
}
