//! What a restart remembers, and that it never forgets who was revoked.

use std::path::PathBuf;

use super::*;
use crate::xds::own::RevokedWorkload;

fn me() -> SpiffeId {
    SpiffeId::parse("spiffe://demo.mesh/ns/shop/sa/orders").unwrap()
}

fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("hopgate-memory-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Stores revocations of this many workloads, each as `content` of its own.
fn store(directory: &Path, count: usize, content: impl Fn(Vec<u8>) -> Vec<u8>) {
    let revoked = (0..count).map(|n| {
        let revoked = RevokedWorkload {
            id: SpiffeId::parse(&format!("spiffe://demo.mesh/ns/shop/sa/gone-{n}")).unwrap(),
            serial: None,
            until: None,
            reason: "stolen".to_owned(),
            by: "uid 0".to_owned(),
        };
        let encoded = revoked.encode();
        (encoded.name, content(encoded.content))
    });
    let resources = BTreeMap::from([(REVOKED_WORKLOAD_TYPE.to_owned(), revoked.collect())]);
    let kept = Kept { bootstrap: String::new(), resources };
    Store::new(directory).save(me().as_str(), &kept).unwrap();
}

#[test]
fn who_was_revoked_is_remembered() {
    let directory = directory("kept");
    let known = |directory: Option<&Path>| {
        let memory = Memory::open(directory, &me()).unwrap();
        memory.told.knowledge().list().map(|list| list.len())
    };
    assert_eq!(known(None), None, "nothing was told, which is not that nobody is revoked");
    assert_eq!(known(Some(&directory)), None);
    store(&directory, 3, |content| content);
    assert_eq!(known(Some(&directory)), Some(3));
    store(&directory, 0, |content| content);
    assert_eq!(known(Some(&directory)), Some(0), "that nobody is revoked was told");
    // Told of roots, and not yet of revocations.
    let kept = Kept { bootstrap: String::new(), resources: BTreeMap::new() };
    Store::new(&directory).save(me().as_str(), &kept).unwrap();
    assert_eq!(known(Some(&directory)), None);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_memory_that_cannot_be_read_stops_the_start() {
    let directory = directory("lost");
    let refused = || Memory::open(Some(&directory), &me()).unwrap_err().to_string();
    store(&directory, 3, |mut content| {
        content.truncate(content.len() / 2);
        content
    });
    assert!(refused().contains("gone-0"), "{}", refused());
    store(&directory, crate::revocation::MAX_REVOCATIONS + 1, |content| content);
    assert!(refused().contains("more than 10000"), "{}", refused());
    store(&directory, 1, |content| content);
    let other = SpiffeId::parse("spiffe://demo.mesh/ns/shop/sa/payments").unwrap();
    assert!(Memory::open(Some(&directory), &other).is_err());
    let file = directory.join("told.json");
    let whole = std::fs::read(&file).unwrap();
    for length in [0, 1, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&file, &whole[..length]).unwrap();
        assert!(refused().contains("remove it"), "{length}: {}", refused());
    }
    std::fs::write(&file, &whole).unwrap();
    assert!(Memory::open(Some(&directory), &me()).is_ok());
    std::fs::remove_dir_all(&directory).unwrap();
}
