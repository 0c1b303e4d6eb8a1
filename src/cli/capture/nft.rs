//! Rules by nftables.

use super::program::Program;
use crate::mesh::capture::{Chain, TABLE};

pub(super) const MISSING: &str =
    "nft is not in PATH; the image of hopgate holds it, elsewhere install nftables";

/// The program `nft`.
#[derive(Debug)]
pub(super) struct Nft(Program);

impl Nft {
    pub(super) fn find() -> Option<Self> {
        Program::find("nft").map(Self)
    }

    /// Loads a text in one step: all of it, or nothing.
    pub(super) fn load(&self, rules: &str) -> anyhow::Result<()> {
        self.0.run(&["-f", "-"], rules).map(drop)
    }

    /// Sees whether the kernel has the chains.
    pub(super) fn verify(&self, chains: &[Chain]) -> anyhow::Result<()> {
        let (family, name) = TABLE.split_once(' ').unwrap_or(("inet", TABLE));
        let listing = self.0.run(&["list", "table", family, name], "")?;
        for chain in chains {
            if let Err(problem) = stands_in(chain, &listing) {
                anyhow::bail!(
                    "the rules were loaded and are not in force: chain {} {problem}; this is what the kernel has:\n{listing}",
                    chain.name
                );
            }
        }
        Ok(())
    }
}

fn stands_in(chain: &Chain, listing: &str) -> Result<(), String> {
    let Chain { name, hook, rules, port } = chain;
    let mut lines = listing.lines().map(str::trim);
    let head = format!("chain {name} {{");
    if !lines.any(|line| line == head) {
        return Err("is missing".to_owned());
    }
    let kind = lines.next().unwrap_or_default();
    if !kind.starts_with(&format!("type nat hook {hook} ")) {
        return Err(format!("is not hooked into {hook}"));
    }
    let body: Vec<&str> = lines.take_while(|line| *line != "}").collect();
    if body.len() != *rules {
        return Err(format!("has {} rules instead of {rules}", body.len()));
    }
    match body.last() {
        Some(last) if last.ends_with(&format!("redirect to :{port}")) => Ok(()),
        Some(_) | None => Err(format!("does not end in port {port}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "table inet hopgate {
\tset in_skip_ports {
\t\ttype inet_service
\t\telements = { 15000, 15001 }
\t}

\tchain pre {
\t\ttype nat hook prerouting priority dstnat; policy accept;
\t\tiifname \"lo\" return
\t\tmeta l4proto tcp redirect to :15006
\t}
}";

    #[test]
    fn a_chain_must_be_there_hooked_whole_and_end_in_its_port() {
        let chain = Chain { name: "pre", hook: "prerouting", rules: 2, port: 15006 };
        assert_eq!(stands_in(&chain, LISTING), Ok(()));
        for wrong in [
            Chain { name: "out", ..chain },
            Chain { hook: "output", ..chain },
            Chain { rules: 3, ..chain },
            Chain { port: 15001, ..chain },
        ] {
            assert!(stands_in(&wrong, LISTING).is_err(), "{wrong:?}");
        }
        assert!(stands_in(&chain, "").is_err());
    }
}
