//! The disk is full, or what was written is cut.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hopgate::certs::Renewal;
use hopgate::control::Control;
use hopgate::runtime::Clock;

use super::super::parts::{Directory, ORDERS, Plane, Sidecar, id, sidecar_config, start_of_time};

/// Names the small disk to the test inside its own mount namespace.
const SMALL_DISK: &str = "HOPGATE_TEST_SMALL_DISK";

/// Runs itself again in a mount namespace of its own, on a file system of half a megabyte.
#[tokio::test]
async fn the_disk_is_full() {
    if let Some(disk) = std::env::var_os(SMALL_DISK) {
        fill_and_free(Path::new(&disk)).await;
        return;
    }
    let directory = Directory::new();
    let disk = directory.path("disk");
    fs::create_dir(&disk).unwrap();
    let mount = "mount -t tmpfs -o size=512k,mode=700 tmpfs \"$1\" && exec \"$2\" --exact certificates::faults::disk::the_disk_is_full --nocapture";
    let output = Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", mount, "sh"])
        .arg(&disk)
        .arg(std::env::current_exe().unwrap())
        .env(SMALL_DISK, &disk)
        .output()
        .expect("unshare of util-linux starts");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// Takes every free byte.
fn fill(disk: &Path) -> PathBuf {
    let path = disk.join("filler");
    let mut file = fs::File::create(&path).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    path
}

async fn fill_and_free(disk: &Path) {
    let directory = Directory::at(disk.join("mesh"));
    let clock = Clock::manual(start_of_time());
    let plane = Plane::start(&directory, &clock).await;
    let server = format!("https://localhost:{}", plane.port);
    let config = sidecar_config(&directory, &server, Some(&plane.token(ORDERS, &clock)));
    let mut sidecar = Sidecar::start(&config, &clock);
    let first = sidecar.other_than(None).await.unwrap();
    let stored = fs::read_to_string(directory.path("state/identity.pem")).unwrap();
    let root = fs::read_to_string(directory.path("roots.pem")).unwrap();

    let filler = fill(disk);
    // The new certificate is served, and that it cannot be kept is said.
    sidecar.handle.renew_now();
    let second = sidecar.other_than(Some(&first)).await.unwrap();
    sidecar.error("cannot be stored").await;
    sidecar.error("No space left").await;
    assert_eq!(sidecar.serial().as_ref(), Some(&second));
    assert_eq!(fs::read_to_string(directory.path("state/identity.pem")).unwrap(), stored);
    assert_eq!(fs::read_dir(directory.path("state")).unwrap().count(), 1, "nothing half-written");
    // A restart serves what could be kept.
    sidecar.stop().await;
    let mut sidecar = Sidecar::start(&config, &clock);
    assert_eq!(sidecar.serial().as_ref(), Some(&first));

    // The control plane makes no token that it cannot remember, and a workload with a certificate is served on.
    let before = names(&directory.path("ca/join-tokens"));
    let token = crate::certificates::parts::join_token(
        &plane.config,
        ORDERS,
        Duration::from_secs(60),
        clock.now(),
    );
    let refused = chain(&token.err().unwrap());
    assert!(refused.contains("join-tokens") && refused.contains("No space left"), "{refused}");
    assert_eq!(names(&directory.path("ca/join-tokens")), before);
    sidecar.handle.renew_now();
    sidecar.other_than(Some(&first)).await.unwrap();
    sidecar.stop().await;
    plane.stop().await;

    // It opens again with the same root, or says why it cannot. A new mesh is not half made.
    let mut config_of_plane = plane_config(&directory);
    match Control::bind(&config_of_plane, clock.clone()).await {
        Ok(control) => assert_eq!(control.bundle().to_pem(), root),
        Err(refused) => assert!(chain(&refused).contains("No space left"), "{}", chain(&refused)),
    }
    config_of_plane.directory = Some(directory.path("new"));
    let refused = Control::bind(&config_of_plane, clock.clone()).await.err().unwrap();
    assert!(chain(&refused).contains("No space left"), "{}", chain(&refused));

    fs::remove_file(filler).unwrap();
    let control = Control::bind(&config_of_plane, clock.clone()).await.unwrap();
    assert_ne!(control.bundle().to_pem(), root, "the new mesh is made when there is room");
    drop(control);
    let plane = Plane::start(&directory, &clock).await;
    assert_eq!(plane.bundle.to_pem(), root);
    let server = format!("https://localhost:{}", plane.port);
    let config = sidecar_config(&directory, &server, Some(&plane.token(ORDERS, &clock)));
    let mut sidecar = Sidecar::start(&config, &clock);
    sidecar.handle.renew_now();
    let third = sidecar.other_than(Some(&first)).await.unwrap();
    sidecar.stop().await;
    let restarted = Renewal::new(&config, id(ORDERS), clock.clone()).unwrap();
    assert_eq!(restarted.handle().status().serial, Some(third));
    plane.stop().await;
}

#[tokio::test]
async fn the_store_is_truncated() {
    let directory = Directory::new();
    let clock = Clock::manual(start_of_time());
    let plane = Plane::start(&directory, &clock).await;
    let server = format!("https://localhost:{}", plane.port);
    let config = sidecar_config(&directory, &server, Some(&plane.token(ORDERS, &clock)));
    let mut sidecar = Sidecar::start(&config, &clock);
    let serial = sidecar.other_than(None).await.unwrap();
    sidecar.stop().await;
    let unused = plane.token(ORDERS, &clock);
    let root = plane.bundle.to_pem();
    plane.stop().await;

    // The sidecar's: the whole certificate, or nothing and a reason.
    let path = directory.path("state/identity.pem");
    let whole = fs::read(&path).unwrap();
    for length in prefixes(&whole) {
        fs::write(&path, &whole[..length]).unwrap();
        let renewal = Renewal::new(&config, id(ORDERS), clock.clone()).unwrap();
        let status = renewal.handle().status();
        match &status.serial {
            Some(found) => assert!(*found == serial && length + 2 >= whole.len(), "{length}"),
            None => assert!(status.last_error.is_some_and(|e| e.contains("stored")), "{length}"),
        }
        assert_eq!(renewal.identity().borrow().is_some(), status.serial.is_some());
    }
    fs::write(&path, &whole).unwrap();

    // The control plane's: the same root, or no start and the name of the file. Never another root.
    let plane_config = plane_config(&directory);
    let mut refusals = 0;
    for name in files(&directory.path("ca")) {
        let whole = fs::read(&name).unwrap();
        for length in prefixes(&whole) {
            fs::write(&name, &whole[..length]).unwrap();
            match Control::bind(&plane_config, clock.clone()).await {
                Ok(control) => {
                    assert_eq!(control.bundle().to_pem(), root, "{} at {length}", name.display());
                }
                Err(error) => {
                    refusals += 1;
                    let left = fs::read(&name).unwrap().len();
                    assert_eq!(left, length, "nothing was put in the place of {}", name.display());
                    let (said, file) = (chain(&error), name.file_name().unwrap().to_string_lossy());
                    assert!(said.contains(&*file), "{} at {length}: {said}", name.display());
                }
            }
        }
        fs::write(&name, &whole).unwrap();
    }
    assert!(refusals >= 4 * 5, "each file of the authority counts: {refusals}");

    // A cut record of a token lets nobody in.
    let plane = Plane::start(&directory, &clock).await;
    let config =
        sidecar_config(&directory, &format!("https://localhost:{}", plane.port), Some(&unused));
    fs::remove_dir_all(directory.path("state")).unwrap();
    let records: Vec<PathBuf> = files(&directory.path("ca/join-tokens"))
        .into_iter()
        .filter(|path| !path.to_string_lossy().contains("used"))
        .collect();
    assert_eq!(records.len(), 1, "{records:?}");
    let whole = fs::read(&records[0]).unwrap();
    fs::write(&records[0], "").unwrap();
    let sidecar = Sidecar::start(&config, &clock);
    for length in prefixes(&whole) {
        fs::write(&records[0], &whole[..length]).unwrap();
        sidecar.refuses("refuses").await;
        assert_eq!(sidecar.serial(), None, "{length} of {}", whole.len());
    }
    sidecar.stop().await;
    fs::write(&records[0], &whole).unwrap();
    let mut sidecar = Sidecar::start(&config, &clock);
    assert!(sidecar.other_than(None).await.is_some(), "whole again, it still counts");
    sidecar.stop().await;
    plane.stop().await;
}

/// Lengths of each kind: nothing, a byte, within and at the end of every line, all but the last bytes.
fn prefixes(whole: &[u8]) -> Vec<usize> {
    let mut lengths = vec![0, 1, whole.len() / 3, whole.len() / 2];
    for (at, byte) in whole.iter().enumerate() {
        if *byte == b'\n' && (at < 200 || at + 200 > whole.len() || whole[at - 1] == b'-') {
            lengths.extend([at.saturating_sub(7), at, at + 1]);
        }
    }
    lengths.extend([whole.len().saturating_sub(2), whole.len().saturating_sub(1)]);
    lengths.retain(|length| *length < whole.len());
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

/// Every file below a directory that holds something.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if fs::metadata(&path).unwrap().len() > 0 {
            found.push(path);
        }
    }
    found
}

fn names(directory: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

fn plane_config(directory: &Directory) -> hopgate::control::Config {
    let mut config: hopgate::control::Config = serde_saphyr::from_str(
        "trustDomain: demo.mesh\nlisten: \"127.0.0.1:0\"\ndirectory: ca\nserverNames: [localhost]\n",
    )
    .unwrap();
    config.resolve(&directory.path(""));
    config
}

fn chain(error: &dyn std::error::Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
