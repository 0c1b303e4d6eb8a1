//! `hopgate capture`: sends the connections of a pod through its gate.

mod escape;
mod iptables;
mod nft;
mod program;
mod proof;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::mesh::capture::{Capture, Exclusions, Family, Networks, Ports, Uids, remove};
use iptables::Iptables;
use nft::Nft;
use proof::Proof;

/// Send the connections of this network namespace through the gate
///
/// For the start of a pod, before anything in it runs: `up` loads the rules, puts the address ::6 on the loopback
/// interface, and fails unless the rules are in force. It needs the capability NET_ADMIN, and `nft` or `iptables`.
#[derive(Debug, clap::Args)]
pub(crate) struct CaptureArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Load the rules and see that they are in force; replaces what was loaded before without cutting a connection
    Up(RulesArgs),
    /// See that rules of somebody else, such as a CNI plugin, are in force; needs no capability
    ///
    /// Fails where that cannot be tried: as a user who is not captured, without a route to other networks, or beside a
    /// proxy that serves already.
    Check(CheckArgs),
    /// Remove the rules; right also where there are none
    Down(DownArgs),
    /// Print the rules, and change nothing
    Print(RulesArgs),
}

#[derive(Debug, clap::Args)]
struct RulesArgs {
    #[command(flatten)]
    exclude: ExcludeArgs,
    /// What loads the rules
    #[arg(long, value_enum, default_value_t = With::Auto)]
    with: With,
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    #[command(flatten)]
    exclude: ExcludeArgs,
}

#[derive(Debug, clap::Args)]
struct ExcludeArgs {
    /// Ports whose incoming connections go past the gate: in plaintext, for everybody
    #[arg(long, value_name = "PORT,..")]
    exclude_inbound_ports: Option<Ports>,
    /// Ports to which outgoing connections go past the gate
    #[arg(long, value_name = "PORT,..")]
    exclude_outbound_ports: Option<Ports>,
    /// Networks to which outgoing connections go past the gate
    #[arg(long, value_name = "CIDR,..")]
    exclude_outbound_cidrs: Option<Networks>,
    /// Users whose outgoing connections go past the gate
    #[arg(long, value_name = "UID,..")]
    exclude_uids: Option<Uids>,
}

#[derive(Debug, clap::Args)]
struct DownArgs {
    /// What removes the rules; auto: whatever is there, each its own
    #[arg(long, value_enum, default_value_t = With::Auto)]
    with: With,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum With {
    /// nftables, or iptables where only that is there
    Auto,
    /// nftables
    Nft,
    /// iptables, of the kind that speaks to nf_tables
    Iptables,
}

/// What is there to load rules with.
enum Tool {
    Nft(Nft),
    Iptables(Iptables),
}

/// Runs the verb.
///
/// # Errors
/// When the rules cannot be loaded or removed, or are not in force afterwards.
pub(crate) fn run(args: &CaptureArgs) -> anyhow::Result<ExitCode> {
    match &args.verb {
        Verb::Up(rules) => up(rules)?,
        Verb::Check(args) => check(&args.exclude.capture())?,
        Verb::Down(down) => self::down(down)?,
        Verb::Print(rules) => print(rules)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn up(args: &RulesArgs) -> anyhow::Result<()> {
    let capture = args.exclude.capture();
    // A kernel without IPv6 has nothing to capture there, and no table to load rules into.
    let families: &[Family] =
        if escape::ipv6_exists() { &[Family::V4, Family::V6] } else { &[Family::V4] };
    match Tool::find(args.with)? {
        Tool::Nft(nft) => {
            nft.load(&capture.nft())?;
            nft.verify(&capture.nft_chains())?;
        }
        Tool::Iptables(iptables) => {
            for family in families {
                iptables.load(&capture, *family)?;
                iptables.verify(&capture, *family)?;
            }
        }
    }
    let mut talk = std::io::stderr().lock();
    if families.contains(&Family::V6) && !escape::add()? {
        writeln!(talk, "IPv6 is switched off on the loopback interface: it gets no address")?;
    }
    for family in families {
        match proof::try_out(&capture, *family)? {
            Proof::Captured => writeln!(talk, "{family}: tried, and captured")?,
            Proof::NotTried(why) => writeln!(talk, "{family}: loaded; not tried, because {why}")?,
        }
    }
    Ok(())
}

fn check(capture: &Capture) -> anyhow::Result<()> {
    let mut captured = Vec::new();
    for family in [Family::V4, Family::V6] {
        match proof::try_out(capture, family)? {
            Proof::Captured => captured.push(family),
            Proof::NotTried(why) => {
                writeln!(std::io::stderr(), "{family}: not tried, because {why}")?
            }
        }
    }
    anyhow::ensure!(!captured.is_empty(), "it could not be tried whether connections are captured");
    for family in captured {
        writeln!(std::io::stderr(), "{family}: tried, and captured")?;
    }
    Ok(())
}

fn down(args: &DownArgs) -> anyhow::Result<()> {
    let (nft, iptables) = match args.with {
        With::Auto => (Nft::find(), Iptables::find()?),
        With::Nft => (Some(Nft::find().context(nft::MISSING)?), None),
        With::Iptables => (None, Some(Iptables::find()?.context(iptables::MISSING)?)),
    };
    anyhow::ensure!(nft.is_some() || iptables.is_some(), "neither nft nor iptables is there");
    if let Some(nft) = nft {
        nft.load(&remove())?;
    }
    if let Some(iptables) = iptables {
        iptables.remove(Family::V4)?;
        if escape::ipv6_exists() {
            iptables.remove(Family::V6)?;
        }
    }
    if escape::ipv6_exists() {
        escape::remove()?;
    }
    Ok(())
}

fn print(args: &RulesArgs) -> anyhow::Result<()> {
    let capture = args.exclude.capture();
    let text = match args.with {
        With::Auto | With::Nft => capture.nft(),
        With::Iptables => format!(
            "# iptables-restore --noflush\n{}# ip6tables-restore --noflush\n{}",
            capture.iptables(Family::V4),
            capture.iptables(Family::V6)
        ),
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

impl ExcludeArgs {
    fn capture(&self) -> Capture {
        Capture::new(Exclusions {
            inbound_ports: self.exclude_inbound_ports.clone().unwrap_or_default(),
            outbound_ports: self.exclude_outbound_ports.clone().unwrap_or_default(),
            outbound_networks: self.exclude_outbound_cidrs.clone().unwrap_or_default(),
            uids: self.exclude_uids.clone().unwrap_or_default(),
        })
    }
}

impl Tool {
    fn find(with: With) -> anyhow::Result<Self> {
        let nft = match with {
            With::Auto | With::Nft => Nft::find(),
            With::Iptables => None,
        };
        match (with, nft) {
            (With::Auto | With::Nft | With::Iptables, Some(nft)) => Ok(Self::Nft(nft)),
            (With::Nft, None) => anyhow::bail!(nft::MISSING),
            (With::Iptables, None) => {
                Ok(Self::Iptables(Iptables::find()?.context(iptables::MISSING)?))
            }
            (With::Auto, None) => Ok(Self::Iptables(Iptables::find()?.context(
                "neither nft nor iptables is in PATH; the image of hopgate holds nft, elsewhere install nftables",
            )?)),
        }
    }
}
