//! What the RFCs print, and what becomes of it when it is changed.

use proptest::prelude::*;

use super::*;

/// RFC 9449, figures 2 and 12: the same key, once at the token endpoint and once at a resource.
const RFC_HEADER: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19";
const RFC_TOKEN_REQUEST: &str = "eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";
const RFC_RESOURCE: &str = "eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
const RFC_JKT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

#[test]
fn the_examples_of_rfc_9449_hold() {
    let guard = DpopGuard::new(10).unwrap();
    let check = |proof: &str, method, host, path, jkt, seconds| {
        let values: &[&[u8]] = &[proof.as_bytes()];
        let access_token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
        let schemes = &[Scheme::Https];
        let input = ProofInput { values, method, schemes, host, path, access_token, jkt };
        let outcome = guard.check(&input, &rules(Nonce::Off), at(seconds));
        outcome.err().map_or("fine", |refused| refused.code())
    };
    let (now, host, path) = (1_562_262_618, "resource.example.org", "/protectedresource");
    let proof = format!("{RFC_HEADER}.{RFC_RESOURCE}");
    assert_eq!(check(&proof, "POST", host, path, RFC_JKT, now), "dpop_method");
    assert_eq!(check(&proof, "GET", "server.example.com", path, RFC_JKT, now), "dpop_uri");
    assert_eq!(check(&proof, "GET", host, path, RFC_JKT, now + 100), "dpop_stale");
    assert_eq!(check(&proof, "GET", host, path, RFC_JKT.split_at(1).1, now), "dpop_key_mismatch");
    assert_eq!(check(&proof, "GET", host, path, RFC_JKT, now), "fine");
    assert_eq!(check(&proof, "GET", host, path, RFC_JKT, now), "dpop_replayed");
    // A proof for the token endpoint is good in itself, and has no `ath`.
    let proof = format!("{RFC_HEADER}.{RFC_TOKEN_REQUEST}");
    assert_eq!(Proof::read(&proof).unwrap().verify(), Ok(()));
    assert_eq!(
        check(&proof, "POST", "server.example.com", "/token", RFC_JKT, now),
        "dpop_malformed"
    );
}

#[test]
fn the_thumbprint_of_rfc_7638_holds() {
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    let jwk = json!({"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"});
    assert_eq!(jkt(&jwk), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    // RFC 8037, appendix A.3.
    let jwk =
        json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    assert_eq!(jkt(&jwk), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

#[test]
fn a_token_bound_to_a_certificate_needs_that_one() {
    let (ours, other) = (b"one certificate", b"some other one!");
    let claim = base64(crate::authn::digest(ours));
    assert_eq!(certificate_thumbprint(ours), crate::authn::digest(ours));
    assert!(x5t_matches(&claim, ours));
    assert!(!x5t_matches(&claim, other));
    for wrong in [
        String::new(),
        format!("{claim}="),
        claim.split_at(42).0.to_owned(),
        claim.to_lowercase(),
        "A".repeat(43),
        "\0".repeat(43),
    ] {
        assert!(!x5t_matches(&wrong, ours), "{wrong}");
    }
}

proptest! {
    /// Whatever is changed in a good proof, it does not pass; and it has not used the good one up.
    #[test]
    fn no_changed_proof_passes(
        at_byte in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        change in 0..4_u8,
        length in 1..40_usize,
    ) {
        let proof = format!("{RFC_HEADER}.{RFC_RESOURCE}").into_bytes();
        let mut changed = proof.clone();
        let place = at_byte.index(proof.len());
        match change {
            0 => changed[place] = byte,
            1 => changed.insert(place, byte),
            2 => drop(changed.drain(place..(place + length).min(proof.len()))),
            _ => changed.truncate(place),
        }
        prop_assume!(changed != proof);
        let guard = DpopGuard::new(10).unwrap();
        let check = |value: &[u8]| {
            let values: &[&[u8]] = &[value];
            let input = ProofInput {
                values,
                method: "GET",
                schemes: &[Scheme::Https],
                host: "resource.example.org",
                path: "/protectedresource",
                access_token: "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU",
                jkt: RFC_JKT,
            };
            guard.check(&input, &rules(Nonce::Off), at(1_562_262_618))
        };
        prop_assert!(check(&changed).is_err());
        prop_assert_eq!(check(&proof), Ok(()));
    }
}
