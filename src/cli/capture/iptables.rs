//! Rules by iptables, of the kind that speaks to nf_tables.

use super::program::Program;
use crate::mesh::capture::{Capture, Family, HOOKS};

pub(super) const MISSING: &str =
    "iptables, ip6tables and their restore programs are not in PATH; install iptables";

/// The programs of both families.
#[derive(Debug)]
pub(super) struct Iptables {
    v4: Pair,
    v6: Pair,
}

#[derive(Debug)]
struct Pair {
    command: Program,
    restore: Program,
}

impl Pair {
    /// Under the name of its kind, or under the plain one.
    fn find(name: &str) -> Option<Self> {
        let pair = |command: &str, restore: &str| {
            Some(Self { command: Program::find(command)?, restore: Program::find(restore)? })
        };
        pair(&format!("{name}-nft"), &format!("{name}-nft-restore"))
            .or_else(|| pair(name, &format!("{name}-restore")))
    }
}

impl Iptables {
    /// The programs, if they are there.
    ///
    /// # Errors
    /// When they are of the old kind, whose rules nobody sees beside those of nf_tables.
    pub(super) fn find() -> anyhow::Result<Option<Self>> {
        let (Some(v4), Some(v6)) = (Pair::find("iptables"), Pair::find("ip6tables")) else {
            return Ok(None);
        };
        let version = v4.command.run(&["--version"], "")?;
        anyhow::ensure!(
            version.contains("nf_tables"),
            "{version} is of the old kind, which is not supported; install nftables, or iptables for nf_tables"
        );
        Ok(Some(Self { v4, v6 }))
    }

    pub(super) fn load(&self, capture: &Capture, family: Family) -> anyhow::Result<()> {
        let Pair { command, restore } = self.of(family);
        restore.run(&["-w", "5", "--noflush"], &capture.iptables(family))?;
        for hook in HOOKS {
            let jump = ["-p", "tcp", "-j", hook.to];
            if !command
                .succeeds(&[&["-w", "5", "-t", "nat", "-C", hook.from][..], &jump].concat())?
            {
                let first = ["-w", "5", "-t", "nat", "-I", hook.from, "1"];
                command.run(&[&first[..], &jump].concat(), "")?;
            }
        }
        Ok(())
    }

    pub(super) fn verify(&self, capture: &Capture, family: Family) -> anyhow::Result<()> {
        let command = &self.of(family).command;
        let expected = capture.iptables_rules(family);
        for hook in HOOKS {
            let own = format!("-A {} ", hook.to);
            let listing = command.run(&["-w", "5", "-t", "nat", "-S", hook.to], "")?;
            let found: Vec<&str> = listing.lines().filter(|line| line.starts_with(&own)).collect();
            let wanted: Vec<&String> =
                expected.iter().filter(|rule| rule.starts_with(&own)).collect();
            let port = wanted.last().and_then(|rule| rule.rsplit(' ').next()).unwrap_or_default();
            anyhow::ensure!(
                found.len() == wanted.len()
                    && found.last().is_some_and(|rule| rule.ends_with(port)),
                "the rules of {family} were loaded and are not in force; this is what the kernel has:\n{listing}"
            );
            let listing = command.run(&["-w", "5", "-t", "nat", "-S", hook.from], "")?;
            anyhow::ensure!(
                listing.lines().any(|line| line.ends_with(&format!("-j {}", hook.to))),
                "the rules of {family} were loaded and nothing leads to them; this is what the kernel has:\n{listing}"
            );
        }
        Ok(())
    }

    pub(super) fn remove(&self, family: Family) -> anyhow::Result<()> {
        let command = &self.of(family).command;
        for hook in HOOKS {
            let nat = ["-w", "5", "-t", "nat"];
            // As often as it was put there.
            let jump = [hook.from, "-p", "tcp", "-j", hook.to];
            while command.succeeds(&[&nat[..], &["-C"], &jump].concat())? {
                command.run(&[&nat[..], &["-D"], &jump].concat(), "")?;
            }
            if command.succeeds(&[&nat[..], &["-S", hook.to]].concat())? {
                command.run(&[&nat[..], &["-F", hook.to]].concat(), "")?;
                command.run(&[&nat[..], &["-X", hook.to]].concat(), "")?;
            }
        }
        Ok(())
    }

    fn of(&self, family: Family) -> &Pair {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }
}
