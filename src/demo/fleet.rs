//! Everything that runs beside the demo process: the control plane, three sidecars, three Envoys.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::http::{Answer, HttpError};
use super::process::{Launcher, Process, ProcessError};
use super::progress::Progress;
use super::service::Name;
use super::site::{Site, SiteError};
use super::wire::{Shows, knock};
use crate::runtime::{FileError, write_atomic};

/// A process that is not ready after this is broken.
const START_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(30);

/// The processes did not come up.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// A process failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The directory failed.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// A file was not written.
    #[error("cannot write what a command printed")]
    File(#[from] FileError),
    /// It runs, but never became ready.
    #[error("{what} is not ready after {START_DEADLINE:?}: {last}; see its log in {directory}")]
    NotReady {
        /// What was waited for.
        what: String,
        /// What it said last.
        last: String,
        /// Where the logs are.
        directory: String,
    },
}

/// The running processes. Dropping it kills them all.
pub(crate) struct Fleet {
    pub(crate) site: Site,
    launcher: Launcher,
    client: reqwest::Client,
    control: Process,
    sidecars: Vec<(Name, Process)>,
    envoys: Vec<(Name, Process)>,
}

impl Fleet {
    /// Starts everything, each when what it needs is ready.
    pub(crate) async fn start(
        site: Site,
        launcher: Launcher,
        client: reqwest::Client,
        progress: &mut Progress,
    ) -> Result<Self, FleetError> {
        progress.now("starting the control plane");
        let control_yaml = site.directory.join("control.yaml").display().to_string();
        let arguments = ["control", "--config", &control_yaml];
        let control = launcher.hopgate("control".to_owned(), &site.directory, &arguments)?;
        let (sidecars, envoys) = (Vec::new(), Vec::new());
        let mut fleet = Self { site, launcher, client, control, sidecars, envoys };
        fleet.control_ready().await?;

        progress.now("handing out join tokens and starting the sidecars");
        fleet.join_tokens(&control_yaml).await?;
        for name in Name::ALL {
            let sidecar = fleet.launch_sidecar(name)?;
            fleet.sidecars.push((name, sidecar));
        }
        // A sidecar is ready when its Envoy uses the certificate, so the Envoys come first.
        progress.now("starting the Envoys");
        fleet.bootstraps().await?;
        for name in Name::ALL {
            let envoy = fleet.launch_envoy(name)?;
            fleet.envoys.push((name, envoy));
        }
        for name in Name::ALL {
            fleet.sidecar_ready(name).await?;
        }
        fleet.envoys_ready().await?;
        Ok(fleet)
    }

    /// Kills one sidecar as a crash would.
    pub(crate) async fn kill_sidecar(&mut self, name: Name) -> Result<(), FleetError> {
        for (_, process) in self.sidecars.iter_mut().filter(|(n, _)| *n == name) {
            process.kill().await?;
        }
        self.sidecars.retain(|(n, _)| *n != name);
        Ok(())
    }

    /// Starts a sidecar that was killed, and waits until it is ready.
    pub(crate) async fn restart_sidecar(&mut self, name: Name) -> Result<(), FleetError> {
        let sidecar = self.launch_sidecar(name)?;
        self.sidecars.push((name, sidecar));
        self.sidecar_ready(name).await
    }

    /// Asks a sidecar to renew its certificate at once.
    pub(crate) async fn renew(&self, name: Name) -> Result<Answer, HttpError> {
        let url = format!("http://{}/renew", self.site.place(name).admin.address());
        Answer::to(self.client.post(url)).await
    }

    /// What a sidecar has logged so far.
    pub(crate) fn sidecar_log(&self, name: Name) -> String {
        let found = self.sidecars.iter().find(|(n, _)| *n == name);
        found.map(|(_, process)| process.log()).unwrap_or_default()
    }

    /// Fails if a process has ended by itself.
    pub(crate) fn check(&mut self) -> Result<(), ProcessError> {
        self.control.check()?;
        let all = self.sidecars.iter_mut().chain(&mut self.envoys);
        all.map(|(_, process)| process).try_for_each(Process::check)
    }

    /// Ends all processes and waits until they are gone.
    pub(crate) async fn stop(&mut self) -> Result<(), FleetError> {
        for (_, process) in self.envoys.iter_mut().chain(&mut self.sidecars) {
            process.kill().await?;
        }
        Ok(self.control.kill().await?)
    }

    async fn control_ready(&mut self) -> Result<(), FleetError> {
        let url = format!("http://{}/readyz", self.site.control_admin.address());
        self.wait_ready("the control plane", url).await
    }

    /// One token for each sidecar, into a file that only its owner can read.
    async fn join_tokens(&self, control_yaml: &str) -> Result<(), FleetError> {
        for name in Name::ALL {
            let account = format!("ns/shop/sa/{}", name.as_str());
            let arguments = ["control", "token", "--config", control_yaml, "--workload", &account];
            let token = self.launcher.ask(&arguments).await?;
            write_atomic(&self.site.home(name).join("join.token"), &token, 0o600)?;
        }
        Ok(())
    }

    /// Envoy's configuration is what the product prints, for the file the sidecar runs with.
    async fn bootstraps(&self) -> Result<(), FleetError> {
        for name in Name::ALL {
            let home = self.site.home(name);
            let config = home.join("sidecar.yaml").display().to_string();
            let bootstrap = self.launcher.ask(&["envoy", "bootstrap", "--config", &config]).await?;
            write_atomic(&home.join("envoy.yaml"), &bootstrap, 0o644)?;
        }
        Ok(())
    }

    fn launch_sidecar(&self, name: Name) -> Result<Process, FleetError> {
        let home = self.site.home(name);
        let config = home.join("sidecar.yaml").display().to_string();
        let arguments = ["sidecar", "--config", &config];
        Ok(self.launcher.hopgate("sidecar".to_owned(), &home, &arguments)?)
    }

    fn launch_envoy(&self, name: Name) -> Result<Process, FleetError> {
        let home = self.site.home(name);
        let config = home.join("envoy.yaml").display().to_string();
        // Without hot restart there is no shared memory, so a killed Envoy leaves nothing behind.
        let arguments = [
            "-c",
            &config,
            "--disable-hot-restart",
            "--concurrency",
            "1",
            "--drain-time-s",
            "3",
            "--log-level",
            "warning",
        ];
        Ok(self.launcher.envoy("envoy".to_owned(), &home, &arguments)?)
    }

    async fn sidecar_ready(&mut self, name: Name) -> Result<(), FleetError> {
        let url = format!("http://{}/readyz", self.site.place(name).admin.address());
        self.wait_ready(&format!("the sidecar of {}", name.as_str()), url).await
    }

    /// Waits for an admin page that says 200 once its process is ready.
    async fn wait_ready(&mut self, what: &str, url: String) -> Result<(), FleetError> {
        let client = self.client.clone();
        self.wait(what, async || {
            let answer = Answer::to(client.get(&url)).await.map_err(|error| error.to_string())?;
            if answer.status == 200 { Ok(()) } else { Err(answer.body) }
        })
        .await
    }

    /// Envoy opens its listeners when it has its certificate; then each of them takes connections.
    async fn envoys_ready(&mut self) -> Result<(), FleetError> {
        let inbound = Name::ALL.map(|name| self.site.place(name).inbound.address());
        let doors = &self.site.doors;
        let plain = [
            doors.edge.address(),
            doors.web_to_orders.address(),
            doors.orders_to_payments.address(),
            doors.web_to_payments.address(),
            doors.impostor.address(),
        ];
        self.wait("Envoy", async || {
            for address in inbound {
                knock(address, Shows::Nothing).await.map_err(|error| error.to_string())?;
            }
            for address in plain {
                TcpStream::connect(address).await.map_err(|error| format!("{address}: {error}"))?;
            }
            Ok(())
        })
        .await
    }

    /// Polls until `ready` is, the deadline is over, or a process has ended.
    async fn wait<F>(&mut self, what: &str, ready: impl Fn() -> F) -> Result<(), FleetError>
    where
        F: Future<Output = Result<(), String>>,
    {
        let start = Instant::now();
        loop {
            self.check()?;
            match ready().await {
                Ok(()) => return Ok(()),
                Err(last) if start.elapsed() > START_DEADLINE => {
                    let directory = self.site.directory.display().to_string();
                    return Err(FleetError::NotReady { what: what.to_owned(), last, directory });
                }
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }
}
