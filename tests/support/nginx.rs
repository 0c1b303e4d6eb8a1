//! A real nginx. A test that needs one fails with the reason when there is none.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The binary: `HOPGATE_NGINX`, or where Debian installs it.
fn binary() -> PathBuf {
    let path =
        std::env::var_os("HOPGATE_NGINX").map_or_else(|| "/usr/sbin/nginx".into(), PathBuf::from);
    assert!(
        path.exists(),
        "no nginx at {}: install the test tools with make, or set HOPGATE_NGINX",
        path.display()
    );
    path
}

/// A running nginx; ended on drop.
pub struct Nginx {
    child: Child,
    log: PathBuf,
}

impl Nginx {
    /// Starts it with this configuration and waits until it accepts at `address`.
    pub fn start(directory: &Path, configuration: &str, address: SocketAddr) -> Self {
        std::fs::create_dir_all(directory.join("run")).unwrap();
        std::fs::write(directory.join("nginx.conf"), configuration).unwrap();
        let log = directory.join("nginx.log");
        let child = Command::new(binary())
            .arg("-p")
            .arg(directory)
            .args(["-e", "stderr", "-c", "nginx.conf"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .expect("nginx starts");
        let mut nginx = Self { child, log };
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            let ended = nginx.child.try_wait().unwrap().is_some();
            assert!(!ended && Instant::now() < end, "nginx does not serve:\n{}", nginx.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        nginx
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its master ends its workers; killed, it would leave them behind.
        let pid = self.child.id().to_string();
        drop(Command::new("kill").args(["-TERM", &pid]).status());
        drop(self.child.wait());
    }
}

/// An address that was free a moment ago.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
