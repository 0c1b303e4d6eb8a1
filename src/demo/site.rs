//! The demo's directory: every file that the processes read, written so that a person can learn from it.

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::port::ReservedPort;
use super::service::Name;
use crate::runtime::{FileError, write_atomic};

/// A unix socket's path has to fit into 108 bytes; the longest name that we put into the directory takes 32.
const MAX_DIRECTORY: usize = 72;
/// Marks a directory that an earlier run made and a later one may replace.
const MARK: &str = ".hopgate-demo";

/// The directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The system refused.
    #[error("cannot set up {path}")]
    Io {
        /// What.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A file was not written.
    #[error("cannot write the demo's files")]
    File(#[from] FileError),
    /// Somebody else's files are in it.
    #[error("{0} is not empty and not from an earlier demo; name a new directory")]
    Foreign(PathBuf),
    /// Unix sockets could not be made in it.
    #[error("{0} is too long for unix sockets; name a directory of at most {MAX_DIRECTORY} bytes")]
    TooLong(PathBuf),
    /// No port is free.
    #[error("cannot reserve a port")]
    Port(#[source] std::io::Error),
}

/// Where everything is.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) directory: PathBuf,
    pub(crate) control: ReservedPort,
    pub(crate) control_admin: ReservedPort,
    /// In the order of the hops.
    pub(crate) places: [Place; 3],
    pub(crate) doors: Doors,
}

/// The listeners of web's Envoy that only web has, and that of orders.
#[derive(Debug)]
pub(crate) struct Doors {
    /// Where people come in.
    pub(crate) edge: ReservedPort,
    /// web -> orders.
    pub(crate) web_to_orders: ReservedPort,
    /// orders -> payments.
    pub(crate) orders_to_payments: ReservedPort,
    /// web -> payments: a way that the policy of payments does not allow.
    pub(crate) web_to_payments: ReservedPort,
    /// Leads to payments, but insists on meeting orders there.
    pub(crate) impostor: ReservedPort,
}

/// One service's addresses.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) name: Name,
    pub(crate) app: SocketAddr,
    pub(crate) inbound: ReservedPort,
    pub(crate) admin: ReservedPort,
}

impl Site {
    /// Reserves the ports. The services already listen on `apps`, in the order of the hops.
    pub(crate) fn plan(directory: &Path, apps: [SocketAddr; 3]) -> Result<Self, SiteError> {
        if directory.as_os_str().len() > MAX_DIRECTORY {
            return Err(SiteError::TooLong(directory.to_path_buf()));
        }
        let port = || ReservedPort::new().map_err(SiteError::Port);
        let place = |name, app| -> Result<Place, SiteError> {
            Ok(Place { name, app, inbound: port()?, admin: port()? })
        };
        let [web, orders, payments] = apps;
        Ok(Self {
            directory: directory.to_path_buf(),
            control: port()?,
            control_admin: port()?,
            places: [
                place(Name::Web, web)?,
                place(Name::Orders, orders)?,
                place(Name::Payments, payments)?,
            ],
            doors: Doors {
                edge: port()?,
                web_to_orders: port()?,
                orders_to_payments: port()?,
                web_to_payments: port()?,
                impostor: port()?,
            },
        })
    }

    /// The addresses of one service.
    pub(crate) fn place(&self, name: Name) -> &Place {
        let [web, orders, payments] = &self.places;
        match name {
            Name::Web => web,
            Name::Orders => orders,
            Name::Payments => payments,
        }
    }

    /// The directory of one service.
    pub(crate) fn home(&self, name: Name) -> PathBuf {
        self.directory.join(name.as_str())
    }

    /// The file with the policy of one service.
    pub(crate) fn policy_file(&self, name: Name) -> PathBuf {
        self.directory.join("policies").join(format!("{}.yaml", name.as_str()))
    }

    /// Writes every file but those that other commands print.
    pub(crate) fn write(&self, issuer: &str, jwks_uri: &str) -> Result<(), SiteError> {
        for directory in ["policies", "web", "orders", "payments"] {
            make_directory(&self.directory.join(directory))?;
        }
        self.put("control.yaml", &self.control_yaml())?;
        self.put("providers.yaml", &provider_yaml(issuer, jwks_uri))?;
        for place in &self.places {
            let path = self.policy_file(place.name);
            write_atomic(&path, policy_yaml(place.name).as_bytes(), 0o644)?;
            self.put(&format!("{}/sidecar.yaml", place.name.as_str()), &self.sidecar_yaml(place))?;
        }
        Ok(())
    }

    fn put(&self, name: &str, content: &str) -> Result<(), SiteError> {
        Ok(write_atomic(&self.directory.join(name), content.as_bytes(), 0o644)?)
    }

    fn control_yaml(&self) -> String {
        format!(
            "# The control plane: it signs certificates, and tells sidecars whom to trust. Started with: hopgate control --config control.yaml\n\
             # A relative path starts at the directory of this file.\n\
             trustDomain: demo.mesh\n\
             listen: \"{}\"\n\
             serverNames: [\"127.0.0.1\"]\n\
             # Root and issuing key are made here on the first start, readable for the owner only.\n\
             directory: state/ca\n\
             leafLifetime: 1h\n\
             admin: {{ listen: \"{}\" }}\n",
            self.control.address(),
            self.control_admin.address(),
        )
    }

    fn sidecar_yaml(&self, place: &Place) -> String {
        let name = place.name.as_str();
        format!(
            "# The gate beside {name}. Started with: hopgate sidecar --config {name}/sidecar.yaml\n\
             # A relative path starts at the directory of this file.\n\
             workload: {{ trustDomain: demo.mesh, namespace: shop, serviceAccount: {name}, labels: {{ app: {name} }} }}\n\
             \n\
             # Rules and identity providers. Edit them while everything runs; a mistake changes nothing and is logged.\n\
             resources: [../policies, ../providers.yaml]\n\
             \n\
             # Envoy asks here before each request, and fetches the workload's certificate here.\n\
             extAuthz: {{ listen: [\"unix:authz.sock\"] }}\n\
             sds: {{ listen: \"unix:sds.sock\" }}\n\
             \n\
             # /healthz /readyz /metrics /config; POST /renew asks for a new certificate at once.\n\
             admin: {{ listen: \"{admin}\" }}\n\
             \n\
             # The first certificate costs the join token, which counts once; each next one is asked for with the last.\n\
             certificates:\n\
             \x20 control: {{ server: \"https://{control}\", caFile: ../state/ca/root.pem, joinTokenFile: join.token }}\n\
             \x20 stateDirectory: state\n\
             \n\
             # One line of JSON for each decision: who, what, which rule, why.\n\
             # With roles and scopes, so that `hopgate explain` and `hopgate policy replay` can tell all.\n\
             decisionLog: {{ path: decisions.log, callerAttributes: Record }}\n\
             \n\
             # What `hopgate envoy bootstrap --config {name}/sidecar.yaml` makes Envoy's configuration from.\n\
             envoy:\n\
             \x20 admin: \"unix:envoy-admin.sock\"\n\
             {listeners}",
            admin = place.admin.address(),
            control = self.control.address(),
            listeners = self.listeners(place),
        )
    }

    fn listeners(&self, place: &Place) -> String {
        let mut text = String::new();
        let [_, orders, payments] = &self.places;
        let outbound = |listen: &ReservedPort, name: &str, upstream: &Place, identity: Name| {
            format!(
                "    - {{ name: {name}, listen: \"{}\", upstream: [\"{}\"], identities: [ns/shop/sa/{}], protocol: http }}\n",
                listen.address(),
                upstream.inbound.address(),
                identity.as_str(),
            )
        };
        if place.name == Name::Web {
            text.push_str(&format!(
                "  # The front door: plain HTTP, with the same gate.\n\
                 \x20 edge:\n    - {{ name: public, listen: \"{}\", app: \"{}\" }}\n",
                self.doors.edge.address(),
                place.app,
            ));
        }
        text.push_str(&format!(
            "  # Callers of the mesh: mutual TLS, nothing else.\n\
             \x20 inbound:\n    - {{ name: http, listen: \"{}\", app: \"{}\", protocol: http }}\n",
            place.inbound.address(),
            place.app,
        ));
        let doors = &self.doors;
        match place.name {
            Name::Web => {
                text.push_str("  # The service's own calls. Envoy presents its certificate and insists on the named identity.\n  outbound:\n");
                text.push_str(&outbound(&doors.web_to_orders, "orders", orders, Name::Orders));
                text.push_str("    # The tour uses these two to try what must not work.\n");
                text.push_str(&outbound(
                    &doors.web_to_payments,
                    "payments",
                    payments,
                    Name::Payments,
                ));
                text.push_str(&outbound(&doors.impostor, "impostor", payments, Name::Orders));
            }
            Name::Orders => {
                text.push_str("  outbound:\n");
                text.push_str(&outbound(
                    &doors.orders_to_payments,
                    "payments",
                    payments,
                    Name::Payments,
                ));
            }
            Name::Payments => {}
        }
        text
    }
}

/// The policy that a service starts with.
pub(crate) fn policy_yaml(name: Name) -> &'static str {
    match name {
        Name::Web => include_str!("files/web.yaml"),
        Name::Orders => include_str!("files/orders.yaml"),
        Name::Payments => include_str!("files/payments.yaml"),
    }
}

fn provider_yaml(issuer: &str, jwks_uri: &str) -> String {
    format!(
        "# Whose tokens count.\n\
         apiVersion: hopgate.dev/v1alpha1\n\
         kind: IdentityProvider\n\
         metadata: {{ name: demo, namespace: shop }}\n\
         spec:\n\
         \x20 issuer: {issuer}\n\
         \x20 audiences: [shop]\n\
         \x20 algorithms: [RS256]\n\
         \x20 keys: {{ jwksUri: \"{jwks_uri}\", refreshInterval: 1m }}\n\
         \x20 claims: {{ roles: [[roles]], scopes: [[scope]] }}\n"
    )
}

/// Makes a directory that only its owner can enter: secrets will be in it. What an earlier demo left is removed.
pub(crate) fn prepare(directory: &Path) -> Result<(), SiteError> {
    let failed = |source| SiteError::Io { path: directory.to_path_buf(), source };
    if directory.exists() {
        let used = std::fs::read_dir(directory).map_err(failed)?.next().is_some();
        if used && !directory.join(MARK).exists() {
            return Err(SiteError::Foreign(directory.to_path_buf()));
        }
        std::fs::remove_dir_all(directory).map_err(failed)?;
    }
    make_directory(directory)?;
    write_atomic(&directory.join(MARK), b"made by hopgate demo\n", 0o644)?;
    Ok(())
}

fn make_directory(path: &Path) -> Result<(), SiteError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| SiteError::Io { path: path.to_path_buf(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("hopgate-site-{name}-{}", std::process::id()))
    }

    #[tokio::test]
    async fn the_files_are_written_and_written_again() {
        let directory = temporary("files");
        let apps = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"].map(|a| a.parse().unwrap());
        for _run in 0..2 {
            prepare(&directory).unwrap();
            let site = Site::plan(&directory, apps).unwrap();
            site.write("http://127.0.0.1:9", "http://127.0.0.1:9/jwks").unwrap();
            let web = std::fs::read_to_string(directory.join("web/sidecar.yaml")).unwrap();
            let value: serde_json::Value = serde_saphyr::from_str(&web).unwrap();
            assert_eq!(value["workload"]["serviceAccount"], "web");
            assert_eq!(value["envoy"]["edge"][0]["app"], "127.0.0.1:1");
            assert_eq!(value["envoy"]["outbound"].as_array().unwrap().len(), 3);
            for file in
                ["control.yaml", "providers.yaml", "policies/orders.yaml", "orders/sidecar.yaml"]
            {
                let text = std::fs::read_to_string(directory.join(file)).unwrap();
                serde_saphyr::from_str::<serde_json::Value>(&text).unwrap();
            }
        }
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_foreign_directory_is_left_alone() {
        let directory = temporary("foreign");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("thesis.txt"), "years of work").unwrap();
        assert!(matches!(prepare(&directory), Err(SiteError::Foreign(_))));
        assert!(directory.join("thesis.txt").exists());
        std::fs::remove_dir_all(directory).unwrap();
    }
}
