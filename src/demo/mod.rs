//! The main job on one machine: an identity provider, a CA, three guarded services and a tour.
//!
//! Everything listens on loopback. The identity provider and the three services live in this process; the control
//! plane, the sidecars and the Envoys are processes of their own, the same that a mesh runs, and end with this one.
//! [`run`] promises that a report says `ok` only where what was seen is what should be seen.

mod fleet;
mod http;
mod idp;
mod port;
mod process;
mod progress;
mod report;
mod serve;
mod service;
mod site;
mod tour;
mod wire;

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use axum::Router;
use tokio::net::TcpListener;

pub use fleet::FleetError;
pub use http::HttpError;
pub use idp::KeyError;
pub use process::ProcessError;
pub use progress::Progress;
pub use report::{Colour, Report, Step};
pub use serve::{Part, serve};
pub use site::SiteError;
pub use wire::WireError;

use crate::runtime::{Clock, TaskEnded, Tasks};
use fleet::Fleet;
use idp::Idp;
use process::Launcher;
use service::{Name, Onward};
use site::Site;
use tour::World;

/// How long the servers in this process get to finish.
const DRAIN: Duration = Duration::from_secs(1);
/// How often a demo that is kept running looks after its processes.
const LOOK: Duration = Duration::from_secs(1);

/// What to run, and where.
#[derive(Debug)]
pub struct Options {
    /// The `hopgate` binary.
    pub hopgate: PathBuf,
    /// An Envoy binary.
    pub envoy: PathBuf,
    /// The environment of the processes.
    pub environment: Vec<(OsString, OsString)>,
    /// Where the files go. What an earlier demo left there is replaced; anything else is left alone.
    pub directory: PathBuf,
    /// What to do after the tour.
    pub afterwards: Afterwards,
}

/// What to do after the tour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afterwards {
    /// Stop everything.
    Stop,
    /// Leave everything running, and say what can be tried.
    Keep,
}

/// There was no tour, or no whole one.
#[derive(Debug, thiserror::Error)]
pub enum DemoFailed {
    /// The Envoy binary does not run.
    #[error("cannot run Envoy at {path}")]
    Envoy {
        /// The binary.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A port on loopback could not be bound.
    #[error("cannot listen on loopback")]
    Bind(#[source] std::io::Error),
    /// A part that runs alone cannot have its port.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The identity provider has no keys.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There is no client to try things with.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The directory cannot be used.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The processes did not start, or one ended.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// A server in this process ended.
    #[error(transparent)]
    Task(#[from] TaskEnded),
    /// A computation in this process was cut short.
    #[error("the demo was cut short")]
    CutShort,
}

/// Starts everything, walks the tour and hands the report to `show`; then stops everything, or keeps it running until
/// this future is dropped. Dropping it at any time ends all processes.
///
/// # Errors
/// When something does not start or ends by itself. A step that goes wrong is no error: the report says so.
pub async fn run(
    options: Options,
    progress: &mut Progress,
    show: impl FnOnce(&Report),
) -> Result<(), DemoFailed> {
    let start = Instant::now();
    let envoy = envoy_version(&options.envoy).await?;
    progress.now("making keys");
    let (mut tasks, idp, site) = prepare(&options).await?;
    tasks.listen("identity provider", idp.listener, idp.pages);
    let launcher = Launcher {
        hopgate: options.hopgate,
        envoy: options.envoy,
        environment: options.environment,
    };
    let mut outcome = Err(DemoFailed::CutShort);
    let tour = async {
        outcome = async {
            let client = http::client()?;
            let fleet = Fleet::start(site, launcher, client.clone(), progress).await?;
            let mut world = World { fleet, idp: idp.provider, client };
            let steps = tour::walk(&mut world, progress).await;
            show(&Report::new(steps, envoy, start.elapsed()));
            if options.afterwards == Afterwards::Keep {
                progress.note(&invitation(&world));
                loop {
                    tokio::time::sleep(LOOK).await;
                    world.fleet.check().map_err(FleetError::from)?;
                }
            }
            world.fleet.stop().await?;
            Ok(())
        }
        .await;
    };
    tasks.0.run(tour, DRAIN).await?;
    progress.done();
    outcome
}

/// The servers in this process.
struct Servers(Tasks);

impl Servers {
    fn listen(&mut self, name: &'static str, listener: TcpListener, pages: Router) {
        let drain = self.0.drain();
        self.0.spawn(name, async move {
            let drained = async move { drain.begun().await };
            axum::serve(listener, pages).with_graceful_shutdown(drained).await
        });
    }
}

struct BoundIdp {
    provider: Idp,
    listener: TcpListener,
    pages: Router,
}

/// Binds and writes all that can be before a process starts; the three services then run.
async fn prepare(options: &Options) -> Result<(Servers, BoundIdp, Site), DemoFailed> {
    site::prepare(&options.directory)?;
    let (listener, address) = bind().await?;
    let made =
        tokio::task::spawn_blocking(move || Idp::new(format!("http://{address}"), Clock::system()));
    let [(web, at_web), (orders, at_orders), (payments, at_payments)] =
        [bind().await?, bind().await?, bind().await?];
    let site = Site::plan(&options.directory, [at_web, at_orders, at_payments])?;
    let client = http::client()?;
    let onward = |listener: &port::ReservedPort| {
        Some(Onward { client: client.clone(), base: format!("http://{}", listener.address()) })
    };
    let mut servers = Servers(Tasks::new());
    let to_orders = onward(&site.doors.web_to_orders);
    servers.listen("web", web, service::router(Name::Web, to_orders));
    let to_payments = onward(&site.doors.orders_to_payments);
    servers.listen("orders", orders, service::router(Name::Orders, to_payments));
    servers.listen("payments", payments, service::router(Name::Payments, None));
    let provider = made.await.map_err(|_| DemoFailed::CutShort)??;
    site.write(provider.issuer(), &provider.jwks_uri())?;
    let pages = provider.router();
    Ok((servers, BoundIdp { provider, listener, pages }, site))
}

async fn bind() -> Result<(TcpListener, SocketAddr), DemoFailed> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(DemoFailed::Bind)?;
    let address = listener.local_addr().map_err(DemoFailed::Bind)?;
    Ok((listener, address))
}

/// The version that an Envoy binary tells: `1.40.0` of `envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL`.
///
/// # Errors
/// When it does not run.
pub async fn envoy_version(path: &std::path::Path) -> Result<String, DemoFailed> {
    let failed = |source| DemoFailed::Envoy { path: path.to_path_buf(), source };
    let told = tokio::process::Command::new(path).arg("--version").output().await;
    let told = told.map_err(failed)?;
    let text = String::from_utf8_lossy(&told.stdout);
    let version = text.split_once("version: ").and_then(|(_, version)| version.split('/').nth(1));
    let strange = || failed(std::io::Error::other("it does not tell a version of Envoy"));
    version.map(str::to_owned).ok_or_else(strange)
}

/// What a person can try while everything runs.
fn invitation(world: &World) -> String {
    let site = &world.fleet.site;
    let directory = site.directory.display();
    let (edge, orders) = (world.edge(), site.place(Name::Orders).admin.address());
    let mut text =
        "\nEverything keeps running; Ctrl-C ends it. In another terminal:\n\n".to_owned();
    text.push_str(&format!(
        "  TOKEN=$(curl -s {} -d grant_type=password -d username=alice -d password=alice-password \
         | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')\n\
         \x20 curl -i http://{edge}/customers/alice/orders                                   # 401\n\
         \x20 curl -i -H \"authorization: Bearer $TOKEN\" http://{edge}/customers/alice/orders  # 200\n\
         \x20 curl -i -H \"authorization: Bearer $TOKEN\" http://{edge}/customers/bob/orders    # 403\n\n",
        world.idp.token_endpoint(),
    ));
    text.push_str("Users, each with the password NAME-password:");
    for account in idp::ACCOUNTS.iter().filter(|account| account.is_person()) {
        text.push_str(&format!(" {} ({})", account.name, account.roles.join(", ")));
    }
    text.push_str(&format!(
        "\nPolicies to edit:  {directory}/policies/\n\
         Decisions:         tail -f {directory}/*/decisions.log\n\
         Sidecar of orders: curl http://{orders}/config\n\
         Why it said that:  hopgate explain --admin {orders}\n",
    ));
    text
}
