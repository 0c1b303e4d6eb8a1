//! Bundle documents that nobody on this project wrote.

use std::time::Duration;

use hopgate::identity::{InvalidSpiffeBundle, SpiffeBundle, TrustDomain};

use crate::support::vectors;

/// Documents that go-spiffe is tested with.
#[test]
fn documents_that_go_spiffe_is_tested_with() {
    let Some(folder) = vectors("spiffe/go-spiffe") else { return };
    let read = |file: &str| {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        SpiffeBundle::parse(&TrustDomain::parse("partner.example").unwrap(), &text)
    };
    let count = |bundle: &SpiffeBundle| {
        (bundle.x509().map_or(0, |x509| x509.roots().len()), bundle.jwt().keys().len())
    };
    assert_eq!(count(&read("spiffebundle_valid_1.json").unwrap()), (1, 1));
    let second = read("spiffebundle_valid_2.json").unwrap();
    assert_eq!(count(&second), (1, 6));
    let hint = Some(Duration::from_secs(60));
    assert_eq!((second.sequence(), second.refresh_hint()), (Some(1), hint));
    let other = read("spiffebundle_valid_with_wit.json").unwrap();
    assert_eq!((count(&other), other.ignored().len()), ((1, 2), 2));
    assert!(read("spiffebundle_missing_kid.json").unwrap_err().to_string().contains("`kid`"));
    assert!(matches!(read("spiffebundle_no_keys.json"), Err(InvalidSpiffeBundle::NoKeys)));
    // go-spiffe refuses it; the specification has readers take the first certificate.
    assert_eq!(count(&read("spiffebundle_multiple_x509.json").unwrap()), (1, 1));
}
