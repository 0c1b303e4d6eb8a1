use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::identity::SpiffeId;
use crate::revocation::{RevokedWorkload, Serial, Words};

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let name = format!("hopgate-revocations-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn open(&self) -> Result<RevocationStore, RevocationError> {
        RevocationStore::open(&self.0)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000 + seconds)
}

fn subject(name: &str, serial: Option<&str>) -> Subject {
    let id = SpiffeId::parse(&format!("spiffe://mesh.example/ns/shop/sa/{name}")).unwrap();
    let serial = serial.map(|serial| Serial::parse(serial).unwrap());
    Subject::Workload(RevokedWorkload { id, serial })
}

fn revocation(subject: Subject, until: Until) -> Revocation {
    let words = |text| Words::parse(text).unwrap();
    Revocation { subject, since: at(0), until, reason: words("key leaked"), by: words("uid 0") }
}

fn names(list: &RevocationList) -> Vec<String> {
    list.entries().map(|entry| entry.subject.to_string()).collect()
}

#[test]
fn what_is_revoked_survives_a_restart_and_is_told_to_who_follows() {
    let directory = Directory::new("restart");
    let store = directory.open().unwrap();
    let mut told = store.follow();
    assert!(told.borrow_and_update().is_empty());
    let one = || revocation(subject("orders", Some("ab")), Until::Lifted);
    assert_eq!(store.revoke(one(), at(0)).unwrap(), Revoked::Added);
    assert!(told.has_changed().unwrap());
    assert_eq!(told.borrow_and_update().len(), 1);
    // The same again changes nothing, and tells nobody.
    assert_eq!(store.revoke(one(), at(0)).unwrap(), Revoked::Already);
    assert!(!told.has_changed().unwrap());
    store.revoke(revocation(subject("orders", None), Until::Lifted), at(0)).unwrap();
    drop(store);

    let store = directory.open().unwrap();
    let list = Arc::clone(&store.follow().borrow());
    let id = "spiffe://mesh.example/ns/shop/sa/orders";
    assert_eq!(names(&list), [id.to_owned(), format!("certificate ab of {id}")]);
    assert_eq!(list.entries().next().unwrap().reason.as_str(), "key leaked");
    // Each is lifted by its own name.
    let lifted = store.lift(&subject("orders", None)).unwrap().unwrap();
    assert_eq!(lifted.subject, subject("orders", None));
    assert!(store.lift(&subject("orders", None)).unwrap().is_none());
    assert!(store.lift(&subject("payments", None)).unwrap().is_none());
    drop(store);
    assert_eq!(directory.open().unwrap().follow().borrow().len(), 1);
}

#[test]
fn a_later_revocation_never_shortens_an_earlier_one() {
    let directory = Directory::new("longer");
    let store = directory.open().unwrap();
    let revoke = |until| store.revoke(revocation(subject("orders", None), until), at(0)).unwrap();
    let until = || store.follow().borrow().entries().next().unwrap().until;
    assert_eq!(revoke(Until::Moment(at(60))), Revoked::Added);
    assert_eq!(revoke(Until::Moment(at(30))), Revoked::Already);
    assert_eq!(until(), Until::Moment(at(60)));
    assert_eq!(revoke(Until::Moment(at(90))), Revoked::Extended);
    assert_eq!(revoke(Until::Lifted), Revoked::Extended);
    assert_eq!(revoke(Until::Moment(at(900))), Revoked::Already);
    assert_eq!(until(), Until::Lifted);
    let over = store.revoke(revocation(subject("a", None), Until::Moment(at(5))), at(5));
    assert!(matches!(over, Err(RevocationError::Over)));
}

#[test]
fn what_is_over_is_swept_by_the_clock() {
    let directory = Directory::new("sweep");
    let store = directory.open().unwrap();
    for (name, end) in [("a", Until::Moment(at(10))), ("b", Until::Moment(at(20)))] {
        store.revoke(revocation(subject(name, None), end), at(0)).unwrap();
    }
    store.revoke(revocation(subject("c", None), Until::Lifted), at(0)).unwrap();
    assert_eq!(store.next_end(), Some(at(10)));
    assert_eq!(store.sweep(at(9)).unwrap(), 0);
    assert_eq!(store.sweep(at(10)).unwrap(), 1);
    assert_eq!(store.next_end(), Some(at(20)));
    assert_eq!(store.sweep(at(1_000_000)).unwrap(), 1);
    assert_eq!(store.next_end(), None);
    drop(store);
    let store = directory.open().unwrap();
    assert_eq!(names(&store.follow().borrow()), ["spiffe://mesh.example/ns/shop/sa/c"]);
}

#[test]
fn a_damaged_or_exposed_file_is_never_an_empty_list() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = Directory::new("damaged");
    let store = directory.open().unwrap();
    store.revoke(revocation(subject("orders", None), Until::Lifted), at(0)).unwrap();
    drop(store);
    let path = directory.0.join("revocations.json");
    let good = std::fs::read_to_string(&path).unwrap();
    let put = |text: &str| crate::runtime::write_atomic(&path, text.as_bytes(), 0o600).unwrap();
    for bad in [
        "",
        "{}",
        "[]",
        good.get(..good.len() / 2).unwrap(),
        &good.replace("\"version\":1", "\"version\":2"),
        &good.replace("\"workload\"", "\"user\""),
        &good.replace("spiffe://", "spiffe:/"),
        &good.replace("\"reason\"", "\"why\""),
    ] {
        put(bad);
        let error = directory.open().expect_err(bad).to_string();
        assert!(error.contains("revocations.json is damaged"), "{error}");
    }
    put(&good);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(directory.open(), Err(RevocationError::File(FileError::Exposed { .. }))));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(directory.open().is_ok());
}

#[test]
fn what_cannot_be_kept_is_not_told() {
    let directory = Directory::new("unkept");
    let store = directory.open().unwrap();
    std::fs::remove_dir_all(&directory.0).unwrap();
    let refused = store.revoke(revocation(subject("orders", None), Until::Lifted), at(0));
    assert!(matches!(refused, Err(RevocationError::File(_))));
    assert!(store.follow().borrow().is_empty());
    // And can be tried again.
    std::fs::create_dir_all(&directory.0).unwrap();
    store.revoke(revocation(subject("orders", None), Until::Lifted), at(0)).unwrap();
    assert_eq!(store.follow().borrow().len(), 1);
}

/// A place that two processes share.
#[derive(Debug, Clone, Default)]
struct Shared(Arc<Mutex<(Option<String>, u64)>>);

impl Shared {
    fn edition(text: Option<&String>, number: u64) -> Edition {
        text.map_or(Edition::None, |_| Edition::Of(number.to_string()))
    }
}

impl RevocationShelf for Shared {
    fn load(&self) -> Result<(Option<String>, Edition), RevocationError> {
        let (text, number) = &*self.0.lock().unwrap();
        Ok((text.clone(), Self::edition(text.as_ref(), *number)))
    }

    fn save(&self, text: &str, over: &Edition) -> Result<Edition, RevocationError> {
        let (held, number) = &mut *self.0.lock().unwrap();
        if *over != Self::edition(held.as_ref(), *number) {
            return Err(RevocationError::Conflict(self.place()));
        }
        (*held, *number) = (Some(text.to_owned()), *number + 1);
        Ok(Edition::Of(number.to_string()))
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}

#[test]
fn two_processes_lose_nothing_of_each_other() {
    let shared = Shared::default();
    let open = || RevocationStore::open_on(Box::new(shared.clone())).unwrap();
    let (one, two) = (open(), open());
    let revoke = |store: &RevocationStore, name| {
        store.revoke(revocation(subject(name, None), Until::Lifted), at(0)).unwrap()
    };
    assert_eq!(revoke(&one, "a"), Revoked::Added);
    assert_eq!(revoke(&two, "b"), Revoked::Added, "decided on what the other wrote");
    assert_eq!(revoke(&one, "b"), Revoked::Already, "decided anew on what the other wrote");
    let both = ["spiffe://mesh.example/ns/shop/sa/a", "spiffe://mesh.example/ns/shop/sa/b"];
    one.reload().unwrap();
    for store in [&one, &two] {
        assert_eq!(names(&store.follow().borrow()), both);
    }
    two.lift(&subject("a", None)).unwrap().unwrap();
    assert_eq!(revoke(&one, "a"), Revoked::Added, "that it was lifted is seen, although not heard");
    assert!(two.lift(&subject("a", None)).unwrap().is_some(), "and that it is there again");
    one.reload().unwrap();
    assert_eq!(names(&one.follow().borrow()), both[1..]);
    // What is gone or damaged is not taken for a list in which nobody is revoked.
    shared.0.lock().unwrap().0 = Some("{}".to_owned());
    shared.0.lock().unwrap().1 += 1;
    assert!(one.reload().is_err());
    shared.0.lock().unwrap().0 = None;
    assert!(one.reload().unwrap_err().to_string().contains("is gone"));
    assert_eq!(names(&one.follow().borrow()), both[1..]);
}
