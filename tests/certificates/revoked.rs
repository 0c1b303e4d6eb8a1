//! A revoked workload gets no certificate, and what the operator said is kept, listed and lifted.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hopgate::ca::{AttestRefused, Credentials, Token};
use hopgate::identity::{PrivateKey, SpiffeId, X509Svid};
use hopgate::revocation::{
    Revocation, RevocationList, RevocationStore, RevokedWorkload, Serial, Subject, Until, Words,
};
use hopgate::runtime::Clock;
use serde_json::Value;
use tokio::sync::watch;

use super::parts::{
    Call, Directory, ORDERS, Office, PAYMENTS, Plane, csr, ders, hours, id, start_of_time,
};

fn list(revoked: &[(SpiffeId, Option<&str>, Until)]) -> Arc<RevocationList> {
    let entry = |(id, serial, until): &(SpiffeId, Option<&str>, Until)| Revocation {
        subject: Subject::Workload(RevokedWorkload {
            id: id.clone(),
            serial: serial.map(|serial| Serial::parse(serial).unwrap()),
        }),
        since: start_of_time(),
        until: *until,
        reason: Words::parse("its key leaked").unwrap(),
        by: Words::parse("uid 7").unwrap(),
    };
    Arc::new(RevocationList::new(revoked.iter().map(entry)).unwrap())
}

#[test]
fn a_revoked_workload_proves_itself_in_vain() {
    let directory = Directory::new();
    let now = start_of_time();
    let mut office = Office::open(&directory.path("ca"), now);
    let (say, said) = watch::channel(Arc::default());
    office.attestor = office.attestor.refusing(said);
    let [old, new] = [(); 2].map(|()| office.issue(ORDERS, hours(1), now));
    let other = office.issue(PAYMENTS, hours(1), now);
    let outcome = |svid: Option<&X509Svid>, with_token: bool, now: SystemTime| {
        let token = office.tokens.create(&id(ORDERS), Duration::from_secs(60), now).unwrap();
        let credentials = Credentials {
            token: with_token.then(|| Token::Join(token.expose())),
            certificates: svid.map(X509Svid::chain),
        };
        match office.attestor.attest(&credentials, now) {
            Ok(attested) => attested.id().to_string(),
            Err(AttestRefused::Revoked(subject)) => format!("revoked: {subject}"),
            Err(other) => panic!("{other}"),
        }
    };
    let all = |now| {
        [
            outcome(Some(&old), false, now),
            outcome(Some(&new), false, now),
            outcome(None, true, now),
            outcome(Some(&old), true, now),
        ]
    };
    let name = id(ORDERS).to_string();
    let good = [(); 4].map(|()| name.clone());
    assert_eq!(all(now), good);

    say.send_replace(list(&[(id(ORDERS), None, Until::Moment(now + hours(1) / 2))]));
    assert_eq!(all(now), [(); 4].map(|()| format!("revoked: {name}")));
    assert_eq!(outcome(Some(&other), false, now), id(PAYMENTS).to_string());
    // It ends at its end, whether or not somebody swept.
    assert_eq!(all(now + hours(1) / 2), good);

    // One certificate: no other, and a token proves the workload by itself.
    let serial = old.leaf().serial();
    say.send_replace(list(&[(id(ORDERS), Some(serial), Until::Lifted)]));
    let refused = format!("revoked: certificate {} of {name}", Serial::parse(serial).unwrap());
    assert_eq!(all(now), [refused, name.clone(), name.clone(), name.clone()]);
}

/// The binary, asked about the control plane whose directory this is.
fn revoke(directory: &Path, arguments: &str) -> Output {
    let operator = format!("unix:{}", directory.join("operator.sock").display());
    Command::new(env!("CARGO_BIN_EXE_hopgate"))
        .arg("revoke")
        .args(arguments.split_whitespace())
        .args(["--operator", &operator])
        .env_clear()
        .output()
        .unwrap()
}

pub(super) async fn said(directory: &Path, arguments: &str) -> (Option<i32>, String) {
    let (directory, arguments) = (directory.to_path_buf(), arguments.to_owned());
    let output = tokio::task::spawn_blocking(move || revoke(&directory, &arguments)).await.unwrap();
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    (output.status.code(), String::from_utf8(text).unwrap())
}

async fn renew(plane: &Plane, svid: &X509Svid, clock: &Clock) -> Result<(), String> {
    let key = PrivateKey::generate().unwrap();
    let call = Call {
        port: plane.port,
        trusts: &plane.bundle,
        certificate: Some(svid),
        authorization: &[],
        csr: csr(&key, |_| {}),
        seconds: 0,
    };
    match call.send(clock).await {
        Ok(_) => Ok(()),
        Err(status) => Err(format!("{:?}: {}", status.code(), status.message())),
    }
}

async fn first(plane: &Plane, clock: &Clock) -> X509Svid {
    let key = PrivateKey::generate().unwrap();
    let authorization = [format!("Bearer {}", plane.token(ORDERS, clock))];
    let call = Call {
        port: plane.port,
        trusts: &plane.bundle,
        certificate: None,
        authorization: &authorization,
        csr: csr(&key, |_| {}),
        seconds: 0,
    };
    let chain = ders(&call.send(clock).await.unwrap()[..2]);
    X509Svid::new(chain, key, &plane.bundle, clock.now()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_revokes_lists_and_lifts() {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let directory = Directory::new();
    // The command line tells an end by the clock of this machine.
    let clock = Clock::system();
    let plane = Plane::start(&directory, &clock).await;
    let svid = first(&plane, &clock).await;
    let ca = directory.path("ca");
    assert_eq!(said(&ca, "list").await, (Some(0), "nothing is revoked\n".to_owned()));
    assert_eq!(renew(&plane, &svid, &clock).await, Ok(()));

    let order = format!("workload {ORDERS} --reason leaked");
    let id = format!("spiffe://demo.mesh/{ORDERS}");
    let (code, text) = said(&ca, &order).await;
    assert_eq!((code, text), (Some(0), format!("{id} is revoked until it is lifted\n")));
    let refused = renew(&plane, &svid, &clock).await.unwrap_err();
    assert_eq!(refused, "PermissionDenied: this workload is revoked");
    let (code, text) = said(&ca, &format!("{order} --until 2h")).await;
    assert_eq!(code, Some(0));
    assert!(text.contains("at least as long already"), "{text}");

    let (_, text) = said(&ca, "list --output json").await;
    let told: Value = serde_json::from_str(&text).unwrap();
    let entry = &told["revocations"][0];
    assert_eq!((&entry["id"], &entry["reason"]), (&id.clone().into(), &"leaked".into()));
    assert!(entry["by"].as_str().unwrap().starts_with("uid "), "{entry}");
    let (_, text) = said(&ca, "list").await;
    assert!(text.starts_with("workload") && text.contains("leaked"), "{text}");

    let (code, text) = said(&ca, &format!("lift {ORDERS}")).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with(&format!("{id} is trusted again")), "{text}");
    assert_eq!(renew(&plane, &svid, &clock).await, Ok(()));
    let (code, text) = said(&ca, &format!("lift {ORDERS}")).await;
    assert_eq!(code, Some(1));
    assert!(text.contains("is not revoked"), "{text}");

    // One certificate: the next one is good.
    let other = first(&plane, &clock).await;
    let one = format!("{order} --serial {} --until 2h --output json", svid.leaf().serial());
    let (code, text) = said(&ca, &one).await;
    assert_eq!(code, Some(0), "{text}");
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(told["outcome"], "added");
    assert!(told["revocation"]["until"].is_string(), "{text}");
    let refused = renew(&plane, &svid, &clock).await.unwrap_err();
    assert_eq!(refused, "PermissionDenied: this certificate is revoked; a token is needed");
    assert_eq!(renew(&plane, &other, &clock).await, Ok(()));
    first(&plane, &clock).await;

    for (bad, words) in [
        ("workload orders --reason x", "workload:"),
        ("workload ns/hopgate-system/sa/hopgate-control --reason x", "the control plane's own"),
        ("workload ns/shop/sa/orders --reason x --serial zz", "no serial number"),
        ("lift spiffe://UPPER/a", "workload:"),
    ] {
        let (code, text) = said(&ca, bad).await;
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains(words), "{text}");
    }
    plane.stop().await;
    // What is revoked is not forgotten with the process.
    assert_eq!(RevocationStore::open(&ca).unwrap().follow().borrow().len(), 1);
    let (code, text) = said(&ca, "list").await;
    assert_eq!(code, Some(2));
    assert!(text.contains("does it run?"), "{text}");
}
