use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA384, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;

mod keys;
mod vector;

const NOW: u64 = 1_790_000_000;
const TOKEN: &str = "eyJ.the-access.token";
const LEEWAY: Duration = Duration::from_secs(10);

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

enum Pair {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

/// A client with its own key.
struct Client {
    alg: &'static str,
    pair: Pair,
}

impl Client {
    fn new(alg: &'static str) -> Self {
        let ec = |kind| Pair::Ec(EcdsaKeyPair::generate(kind).unwrap());
        let pair = match alg {
            "ES256" => ec(&ECDSA_P256_SHA256_FIXED_SIGNING),
            "ES384" => ec(&ECDSA_P384_SHA384_FIXED_SIGNING),
            "ES512" => ec(&ECDSA_P521_SHA512_FIXED_SIGNING),
            "EdDSA" => Pair::Ed(Ed25519KeyPair::generate().unwrap()),
            _ => Pair::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())),
        };
        Self { alg, pair }
    }

    fn jwk(&self) -> Value {
        match &self.pair {
            Pair::Ec(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = match x.len() {
                    32 => "P-256",
                    48 => "P-384",
                    _ => "P-521",
                };
                json!({"kty": "EC", "crv": curve, "x": base64(x), "y": base64(y)})
            }
            Pair::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": base64(pair.public_key())})
            }
            Pair::Rsa(pair) => {
                let n = pair.public_key().modulus().big_endian_without_leading_zero();
                json!({"kty": "RSA", "n": base64(n), "e": "AQAB"})
            }
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let padding: &dyn RsaEncoding =
                    if self.alg == "RS256" { &RSA_PKCS1_SHA256 } else { &RSA_PSS_SHA384 };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }

    fn header(&self) -> Value {
        json!({"typ": "dpop+jwt", "alg": self.alg, "jwk": self.jwk()})
    }

    fn jws(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", base64(header), base64(claims));
        let signature = self.sign(signed.as_bytes());
        format!("{signed}.{}", base64(signature))
    }

    fn proof(&self, claims: &Value) -> String {
        self.jws(&self.header().to_string(), &claims.to_string())
    }
}

/// What a good proof claims, with some members changed; null takes one out.
fn claims(changes: &Value) -> Value {
    let mut claims = json!({
        "jti": "e1j3V_bKic8-LAEB",
        "htm": "GET",
        "htu": "https://api.example/orders/7?page=2",
        "iat": NOW,
        "ath": base64(crate::authn::digest(TOKEN.as_bytes())),
    });
    merge(&mut claims, changes);
    claims
}

fn merge(into: &mut Value, changes: &Value) {
    let into = into.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap().clone() {
        if value.is_null() {
            into.remove(&name)
        } else {
            into.insert(name, value)
        };
    }
}

fn jkt(jwk: &Value) -> String {
    base64(super::key::thumbprint(jwk.as_object().unwrap()).unwrap())
}

fn rules(nonce: Nonce) -> DpopRules {
    DpopRules::new(nonce, Vec::new(), LEEWAY)
}

struct Gate {
    guard: DpopGuard,
    rules: DpopRules,
    jkt: String,
    now: SystemTime,
}

impl Gate {
    fn new(jwk: &Value) -> Self {
        Self {
            guard: DpopGuard::new(100).unwrap(),
            rules: rules(Nonce::Off),
            jkt: jkt(jwk),
            now: at(NOW),
        }
    }

    fn check(&self, values: &[&[u8]]) -> Result<(), DpopRefused> {
        let input = ProofInput {
            values,
            method: "GET",
            schemes: &[Scheme::Http, Scheme::Https],
            host: "api.example",
            path: "/orders/7",
            access_token: TOKEN,
            jkt: &self.jkt,
        };
        self.guard.check(&input, &self.rules, self.now)
    }

    /// `fine`, or the code of the refusal.
    fn code(&self, proof: &str) -> &'static str {
        self.check(&[proof.as_bytes()]).err().map_or("fine", |refused| refused.code())
    }
}

/// The code for a proof with these claims, of a client of its own.
fn code_of(changes: &Value) -> &'static str {
    let client = Client::new("ES256");
    Gate::new(&client.jwk()).code(&client.proof(&claims(changes)))
}

#[test]
fn exactly_one_proof_is_demanded() {
    let client = Client::new("ES256");
    let gate = Gate::new(&client.jwk());
    let proof = client.proof(&claims(&json!({})));
    let proof = proof.as_bytes();
    let joined = [proof, b",", proof].concat();
    let code = |values: &[&[u8]]| gate.check(values).err().map(|refused| refused.code());
    assert_eq!(code(&[]), Some("dpop_missing"));
    assert_eq!(code(&[proof, proof]), Some("dpop_ambiguous"));
    assert_eq!(code(&[proof, b""]), Some("dpop_ambiguous"));
    assert_eq!(code(&[&joined]), Some("dpop_ambiguous"));
    assert_eq!(code(&[b""]), Some("dpop_malformed"));
    assert_eq!(code(&[b"\xff"]), Some("dpop_malformed"));
    assert_eq!(code(&[proof]), None);
}

#[test]
fn headers_are_read_strictly() {
    let client = Client::new("ES256");
    let gate = Gate::new(&client.jwk());
    let code = |changes: &Value| {
        let mut header = client.header();
        merge(&mut header, changes);
        gate.code(&client.jws(&header.to_string(), &claims(&json!({})).to_string()))
    };
    for (changes, expected) in [
        (json!({"typ": null}), "dpop_malformed"),
        (json!({"typ": "JWT"}), "dpop_malformed"),
        (json!({"typ": "DPoP+jwt"}), "dpop_malformed"),
        (json!({"typ": 7}), "dpop_malformed"),
        (json!({"crit": ["exp"]}), "dpop_malformed"),
        (json!({"b64": true}), "dpop_malformed"),
        (json!({"zip": "DEF"}), "dpop_malformed"),
        (json!({"alg": null}), "dpop_algorithm"),
        (json!({"alg": "none"}), "dpop_algorithm"),
        (json!({"alg": "HS256"}), "dpop_algorithm"),
        (json!({"alg": "es256"}), "dpop_algorithm"),
        (json!({"alg": ["ES256"]}), "dpop_algorithm"),
        (json!({"alg": "RS256"}), "dpop_key"),
        (json!({"alg": "ES384"}), "dpop_key"),
        (json!({"jwk": null}), "dpop_key"),
        (json!({"jwk": "mine"}), "dpop_key"),
        (json!({"jwk": {}}), "dpop_key"),
        (json!({"jwk": {"kty": "oct", "k": "AAAA"}}), "dpop_key"),
        // No other source of keys is looked at.
        (json!({"jku": "https://evil.example/keys", "kid": "a", "x5c": ["AAAA"]}), "fine"),
    ] {
        assert_eq!(code(&changes), expected, "{changes}");
    }
    let twice = client.header().to_string().replacen('{', r#"{"alg":"none","#, 1);
    let claims = claims(&json!({"jti": "twice"})).to_string();
    assert_eq!(gate.code(&client.jws(&twice, &claims)), "dpop_malformed");
    let twice = claims.replacen('{', r#"{"jti":"other","#, 1);
    assert_eq!(gate.code(&client.jws(&client.header().to_string(), &twice)), "dpop_malformed");
    assert_eq!(gate.code(&client.jws("[]", &claims)), "dpop_malformed");
    assert_eq!(gate.code(&"a".repeat(9_000)), "dpop_malformed");
}

#[test]
fn each_claim_must_fit_the_request() {
    for (changes, expected) in [
        (json!({}), "fine"),
        (json!({"more": {"nested": []}}), "fine"),
        (json!({"htm": null}), "dpop_malformed"),
        (json!({"htm": ["GET"]}), "dpop_malformed"),
        (json!({"htm": "POST"}), "dpop_method"),
        (json!({"htm": "get"}), "dpop_method"),
        (json!({"htm": ""}), "dpop_method"),
        (json!({"htu": "HTTPS://API.example:443/orders/%37#top"}), "fine"),
        (json!({"htu": null}), "dpop_malformed"),
        (json!({"htu": "https://api.example/orders/8"}), "dpop_uri"),
        (json!({"htu": "https://evil.example/orders/7"}), "dpop_uri"),
        (json!({"htu": "/orders/7"}), "dpop_uri"),
        (json!({"ath": null}), "dpop_malformed"),
        (json!({"ath": ""}), "dpop_token_mismatch"),
        (json!({"ath": base64(crate::authn::digest(b"another token"))}), "dpop_token_mismatch"),
        (json!({"jti": null}), "dpop_malformed"),
        (json!({"jti": ""}), "dpop_malformed"),
        (json!({"jti": 7}), "dpop_malformed"),
        (json!({"jti": "j".repeat(256)}), "fine"),
        (json!({"jti": "j".repeat(257)}), "dpop_malformed"),
    ] {
        assert_eq!(code_of(&changes), expected, "{changes}");
    }
}

#[test]
fn a_proof_is_young() {
    for (changes, expected) in [
        (json!({"iat": NOW - 69}), "fine"),
        (json!({"iat": NOW - 70}), "dpop_stale"),
        (json!({"iat": 0}), "dpop_stale"),
        (json!({"iat": NOW + 10}), "fine"),
        (json!({"iat": NOW + 11}), "dpop_future"),
        (json!({"iat": 253_402_300_799_u64}), "dpop_future"),
        (json!({"iat": 1_789_999_999.5}), "fine"),
        (json!({"iat": null}), "dpop_malformed"),
        (json!({"iat": NOW.to_string()}), "dpop_malformed"),
        (json!({"iat": -1}), "dpop_malformed"),
        (json!({"iat": 1e300}), "dpop_malformed"),
        (json!({"exp": NOW + 1}), "fine"),
        (json!({"exp": NOW - 10}), "dpop_stale"),
        (json!({"iat": NOW - 70, "exp": NOW + 100}), "dpop_stale"),
        (json!({"nbf": NOW + 11}), "dpop_future"),
        (json!({"iat": NOW + 11, "nbf": NOW}), "dpop_future"),
    ] {
        assert_eq!(code_of(&changes), expected, "{changes}");
    }
    // The leeway has bounds of its own.
    for (leeway, ahead, expected) in
        [(0, 5, "fine"), (0, 6, "dpop_future"), (300, 30, "fine"), (300, 31, "dpop_future")]
    {
        let client = Client::new("EdDSA");
        let mut gate = Gate::new(&client.jwk());
        gate.rules = DpopRules::new(Nonce::Off, Vec::new(), Duration::from_secs(leeway));
        let proof = client.proof(&claims(&json!({"iat": NOW + ahead})));
        assert_eq!(gate.code(&proof), expected, "{leeway} {ahead}");
    }
}

#[test]
fn a_proof_passes_once_for_as_long_as_it_lives() {
    let client = Client::new("EdDSA");
    let mut gate = Gate::new(&client.jwk());
    let proof = client.proof(&claims(&json!({"iat": NOW + 10})));
    assert_eq!(gate.code(&proof), "fine");
    for seconds in 0..80 {
        gate.now = at(NOW + seconds);
        assert_eq!(gate.code(&proof), "dpop_replayed", "{seconds}");
        // Signed anew it is the same proof.
        let again = client.proof(&claims(&json!({"iat": NOW + seconds})));
        assert_eq!(gate.code(&again), "dpop_replayed");
    }
    gate.now = at(NOW + 80);
    assert_eq!(gate.code(&proof), "dpop_stale");
    assert_eq!(gate.code(&client.proof(&claims(&json!({"iat": NOW + 80, "jti": "b"})))), "fine");
}

#[test]
fn a_full_table_is_a_refusal_of_its_own() {
    let client = Client::new("EdDSA");
    let mut gate = Gate::new(&client.jwk());
    gate.guard = DpopGuard::new(1).unwrap();
    let proof = |id: &str| client.proof(&claims(&json!({"jti": id})));
    // What is refused for any other reason takes no place.
    assert_eq!(gate.code(&client.proof(&claims(&json!({"htm": "PUT"})))), "dpop_method");
    let forged =
        Client::new("EdDSA").jws(&client.header().to_string(), &claims(&json!({})).to_string());
    assert_eq!(gate.code(&forged), "dpop_signature");
    assert_eq!(gate.code(&proof("a")), "fine");
    assert_eq!(gate.code(&proof("b")), "dpop_overloaded");
    assert_eq!(gate.code(&proof("a")), "dpop_replayed");
    let refused = gate.check(&[proof("b").as_bytes()]).unwrap_err();
    assert_eq!((refused.challenge_error(), refused.fresh_nonce()), (None, None));
}

#[test]
fn a_nonce_is_demanded_only_where_the_rules_say_so() {
    let client = Client::new("EdDSA");
    let mut gate = Gate::new(&client.jwk());
    assert_eq!(gate.code(&client.proof(&claims(&json!({"nonce": "whatever"})))), "fine");
    gate.rules = rules(Nonce::Required);
    let refused = gate.check(&[client.proof(&claims(&json!({}))).as_bytes()]).unwrap_err();
    assert_eq!(refused.code(), "dpop_nonce_missing");
    assert_eq!(refused.challenge_error(), Some("use_dpop_nonce"));
    let nonce = refused.fresh_nonce().unwrap().to_owned();
    assert_eq!(nonce, gate.guard.fresh_nonce(gate.now));

    let refused =
        gate.check(&[client.proof(&claims(&json!({"nonce": "old"}))).as_bytes()]).unwrap_err();
    assert_eq!(refused.code(), "dpop_nonce_stale");
    assert_eq!(refused.fresh_nonce(), Some(nonce.as_str()));
    assert_eq!(gate.code(&client.proof(&claims(&json!({"nonce": 7})))), "dpop_malformed");

    // The client does as it was told, with a proof of another id.
    let good =
        |id: &str, iat| client.proof(&claims(&json!({"jti": id, "nonce": nonce, "iat": iat})));
    assert_eq!(gate.code(&good("retry", NOW)), "fine");
    gate.now = at(NOW + 240);
    assert_eq!(gate.code(&good("late", NOW + 240)), "dpop_nonce_stale");
}

#[test]
fn refusals_tell_nothing_of_the_token() {
    let client = Client::new("ES256");
    let gate = Gate::new(&client.jwk());
    for changes in
        [json!({"ath": "x"}), json!({"htu": "https://secret.example/"}), json!({"jti": 7})]
    {
        let proof = client.proof(&claims(&changes));
        let refused = gate.check(&[proof.as_bytes()]).unwrap_err();
        let text = format!("{refused} {refused:?}");
        assert!(!text.contains("secret") && !text.contains(TOKEN) && !text.contains(&gate.jkt));
        assert_eq!(refused.challenge_error(), Some("invalid_dpop_proof"));
    }
}

#[test]
fn the_rules_of_a_resource_are_compiled() {
    let mut written = ConfirmationRules::accepted();
    let leeway = Duration::from_secs(300);
    let expected = DpopRules::new(Nonce::Off, Vec::new(), Duration::from_secs(30));
    assert_eq!(DpopRules::compile(&written, leeway), Ok(expected));
    written.nonce = Nonce::Required;
    written.origins = vec!["https://api.example".to_owned()];
    let origins = vec![Origin::parse("https://api.example:443").unwrap()];
    let expected = DpopRules::new(Nonce::Required, origins, Duration::from_secs(30));
    assert_eq!(DpopRules::compile(&written, leeway), Ok(expected));
    written.origins.push("api.example".to_owned());
    assert!(DpopRules::compile(&written, leeway).is_err());
}
