//! Which keys may sign proofs, and for which tokens.

use super::*;

#[test]
fn every_kind_of_key_can_prove_possession() {
    for alg in ["ES256", "ES384", "ES512", "EdDSA", "RS256", "PS384"] {
        assert!(DPOP_ALGORITHMS.split(' ').any(|known| known == alg));
        let client = Client::new(alg);
        let gate = Gate::new(&client.jwk());
        assert_eq!(gate.code(&client.proof(&claims(&json!({})))), "fine", "{alg}");
        // And nobody else can in its place.
        let thief = Client::new(alg);
        assert_eq!(gate.code(&thief.proof(&claims(&json!({})))), "dpop_key_mismatch", "{alg}");
        let claims = claims(&json!({"jti": "another"})).to_string();
        let forged = thief.jws(&client.header().to_string(), &claims);
        assert_eq!(gate.code(&forged), "dpop_signature", "{alg}");
    }
    assert!(
        DPOP_ALGORITHMS
            .split(' ')
            .all(|name| super::super::key::ProofAlgorithm::named(name).is_some())
    );
}

#[test]
fn a_key_may_say_what_it_is_for() {
    let client = Client::new("ES256");
    let gate = Gate::new(&client.jwk());
    let with = |id: &str, members: &Value| {
        let mut header = client.header();
        merge(&mut header["jwk"], members);
        gate.code(&client.jws(&header.to_string(), &claims(&json!({"jti": id})).to_string()))
    };
    assert_eq!(with("1", &json!({"use": "sig", "alg": "ES256", "kid": "mine"})), "fine");
    assert_eq!(with("2", &json!({"key_ops": ["verify"]})), "fine");
    assert_eq!(with("3", &json!({"use": "enc"})), "dpop_key");
    assert_eq!(with("4", &json!({"alg": "RS256"})), "dpop_key");
    assert_eq!(with("5", &json!({"key_ops": ["encrypt"]})), "dpop_key");
    // The same claims are not used up by what was refused.
    assert_eq!(with("3", &json!({})), "fine");
}

#[test]
fn a_key_must_be_public_and_sound() {
    let client = Client::new("ES256");
    let gate = Gate::new(&client.jwk());
    for member in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        let mut header = client.header();
        header["jwk"][member] = "AAAA".into();
        let proof = client.jws(&header.to_string(), &claims(&json!({})).to_string());
        assert_eq!(gate.code(&proof), "dpop_key", "{member}");
    }
    // A token may be bound to any thumbprint; the key has to be sound all the same.
    let off_curve =
        json!({"kty": "EC", "crv": "P-256", "x": client.jwk()["y"], "y": client.jwk()["x"]});
    let short = json!({"kty": "RSA", "n": base64([0xff; 128]), "e": "AQAB"});
    for (alg, jwk) in [("ES256", off_curve), ("RS256", short)] {
        let header = json!({"typ": "dpop+jwt", "alg": alg, "jwk": jwk});
        let proof = client.jws(&header.to_string(), &claims(&json!({})).to_string());
        let refused = Gate::new(&jwk).check(&[proof.as_bytes()]).unwrap_err();
        assert_eq!(refused.code(), "dpop_key", "{jwk}");
        assert!(
            refused.to_string().starts_with("the DPoP proof's key is refused: its")
                || refused.to_string().ends_with("is no valid public key"),
            "{refused}"
        );
    }
}

#[test]
fn a_token_is_bound_to_one_key() {
    let client = Client::new("ES256");
    let mut gate = Gate::new(&client.jwk());
    let good = gate.jkt.clone();
    for wrong in
        [String::new(), format!("{good}="), good.split_at(1).1.to_owned(), good.to_lowercase()]
    {
        gate.jkt = wrong;
        assert_eq!(gate.code(&client.proof(&claims(&json!({})))), "dpop_key_mismatch");
    }
    // A value cannot pretend to be two members of the key.
    let mut header = client.header();
    let (x, y) = (client.jwk()["x"].as_str().unwrap().to_owned(), client.jwk()["y"].clone());
    header["jwk"] = json!({"kty": "EC", "crv": "P-256", "x": format!("{x}\",\"y\":\"{}", y.as_str().unwrap()), "y": ""});
    gate.jkt = good;
    let proof = client.jws(&header.to_string(), &claims(&json!({})).to_string());
    assert_eq!(gate.code(&proof), "dpop_key");
}
