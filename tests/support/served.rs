//! Another product's server, started by a script of `tests/tools` that ends it when its standard input is closed. This
//! process holds that, so the server ends with it, however it ends.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// They start in about 20 s of CPU time, beside everything else that the tests do.
const START: Duration = Duration::from_secs(240);

/// A server on loopback.
pub struct Served {
    /// Its address, without a slash at its end.
    pub base: String,
    /// Its data, for as long as it runs.
    pub directory: PathBuf,
    process: Child,
}

impl Served {
    /// Starts what is installed at `home` and waits until the answer to this request begins with `HTTP/1.1 200`: a port
    /// may be open long before its server serves.
    pub fn start(name: &str, home: &Path, probe: &Probe) -> Result<Self, String> {
        let directory = std::env::temp_dir().join(format!("hopgate-{name}-{}", std::process::id()));
        let path = directory.with_extension("log");
        let log = std::fs::File::create(&path).map_err(|error| error.to_string())?;
        let also = log.try_clone().map_err(|error| error.to_string())?;
        // A port that was free a moment ago.
        let free = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
        let port = free.local_addr().map_err(|error| error.to_string())?.port();
        drop(free);
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools");
        let process = Command::new(tools.join(format!("{name}-serve.sh")))
            .arg(home)
            .arg(&directory)
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(also)
            .spawn()
            .map_err(|error| error.to_string())?;
        let base = format!("http://127.0.0.1:{port}");
        let mut served = Self { base, directory, process };
        let end = Instant::now() + START;
        let state = loop {
            if probe.ask(port).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                break Ok(());
            }
            if let Ok(Some(status)) = served.process.try_wait() {
                break Err(format!("it ended with {status}: {}", tail(&path)));
            }
            if Instant::now() > end {
                break Err(format!(
                    "it does not serve after {} s: {}",
                    START.as_secs(),
                    tail(&path)
                ));
            }
            std::thread::sleep(Duration::from_millis(200));
        };
        // The file stays open for the server to write to, and is gone when it ends.
        drop(std::fs::remove_file(&path));
        state.map(|()| served)
    }
}

/// What is asked to learn that a server serves.
pub struct Probe {
    pub path: &'static str,
    /// Sent by POST, where there is one.
    pub form: Option<&'static str>,
}

impl Probe {
    fn ask(&self, port: u16) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let (method, form) = self.form.map_or(("GET", ""), |form| ("POST", form));
        write!(
            stream,
            "{method} {} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
            self.path,
            form.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

/// Where the Makefile installs something: the environment says so, or it is in the cache.
pub fn installed(variable: &str, name: &str) -> Result<PathBuf, String> {
    let home = match std::env::var_os(variable) {
        Some(home) => PathBuf::from(home),
        None => super::cache().join(name),
    };
    if home.join(".hopgate-ready").exists() {
        return Ok(home);
    }
    Err(format!("nothing at {}: install the test tools with make", home.display()))
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
