//! Tokens that should not be believed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::{NotTried, Seen, Steps, World};
use crate::demo::idp::KeyError;
use crate::demo::service::Name;

const PATH: &str = "/customers/alice/orders";

pub(super) async fn walk(steps: &mut Steps<'_>, world: &World) {
    let expired = world.token_for("alice", "shop", -300).await;
    refused(steps, world, ["expired token", "alice, five minutes late"], expired).await;

    let foreign = world.token_for("alice", "warehouse", 3600).await;
    refused(steps, world, ["wrong audience", "alice, token for the warehouse"], foreign).await;

    let unsigned = unsigned(world);
    refused(steps, world, ["unsigned token", "alg: none, claims of alice"], unsigned).await;

    let confused = confused(world);
    let row = ["HS/RS confusion", "HS256 with the public key as secret"];
    refused(steps, world, row, confused).await;

    let forged = forged(world);
    refused(steps, world, ["forged signature", "own key, naming the provider's"], forged).await;

    let unknown = unknown(world);
    refused(steps, world, ["unknown key", "own key, naming it"], unknown).await;

    let altered = altered(world).await;
    refused(steps, world, ["altered claims", "sue's name in bob's token"], altered).await;

    let garbage = Ok("not.a.token".to_owned());
    refused(steps, world, ["garbage", "Bearer not.a.token"], garbage).await;
}

/// Every bad token meets the same answer: 401 with the code of RFC 6750, and no word of what was wrong with it.
async fn refused(
    steps: &mut Steps<'_>,
    world: &World,
    [name, tried]: [&str; 2],
    token: Result<String, NotTried>,
) {
    let expected = "401 at web, invalid_token";
    let step = async {
        let answer = world.get(PATH, Some(&token?)).await?;
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        let code = match challenge.split_once("error=\"").and_then(|(_, rest)| rest.split_once('"'))
        {
            Some((code, _)) => code,
            None => "no error code",
        };
        Ok(Seen::exactly(expected, format!("{}, {code}", answer.outcome(Name::Web))))
    };
    steps.take([name, tried, expected], step).await;
}

fn unsigned(world: &World) -> Result<String, NotTried> {
    let header = json!({ "alg": "none", "typ": "at+jwt", "kid": world.idp.published().id() });
    Ok(format!("{}.{}.", part(&header), part(&world.claims("alice")?)))
}

/// A verifier that lets the token choose the algorithm would check this with a secret that everybody knows.
fn confused(world: &World) -> Result<String, NotTried> {
    let key = world.idp.published();
    let header = Header { kid: Some(key.id().to_owned()), ..Header::new(Algorithm::HS256) };
    let secret = EncodingKey::from_secret(key.public_pem().as_bytes());
    let claims = world.claims("alice")?;
    Ok(jsonwebtoken::encode(&header, &claims, &secret).map_err(KeyError::from)?)
}

fn forged(world: &World) -> Result<String, NotTried> {
    let named = world.idp.published().id();
    Ok(world.idp.unpublished().sign_as(named, &world.claims("alice")?)?)
}

fn unknown(world: &World) -> Result<String, NotTried> {
    Ok(world.idp.unpublished().sign(&world.claims("alice")?)?)
}

async fn altered(world: &World) -> Result<String, NotTried> {
    let token = world.token("bob").await?;
    let mut parts = token.split('.');
    let (header, _claims, signature) = (parts.next(), parts.next(), parts.next());
    let claims = part(&world.claims("sue")?);
    Ok([header.unwrap_or_default(), &claims, signature.unwrap_or_default()].join("."))
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}
