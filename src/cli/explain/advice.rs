//! What to do about a refusal that came before the rules, by its code.

/// Codes that begin so, and what to look at or to do.
const ADVICE: &[(&str, &str)] = &[
    (
        "path_",
        "send the path in the one spelling that cannot be read in two ways: no `//`, no dot segments, no encoded slashes, no `;`",
    ),
    ("request_too_large", "raise `extAuthz.maxRequestBytes` of the sidecar, or send less"),
    (
        "request_",
        "look at what the caller or the proxy in front sends: the request could be read in two ways",
    ),
    (
        "keys_",
        "see /readyz and /config of the sidecar: its keys did not come or are too old; the caller may try again",
    ),
    ("token_expired", "get a new token; `hopgate token inspect` shows its times"),
    (
        "token_not_yet_valid",
        "compare the clocks; `hopgate token inspect` shows the times of the token",
    ),
    (
        "issued_in_future",
        "compare the clocks; `hopgate token inspect` shows the times of the token",
    ),
    (
        "wrong_audience",
        "ask for a token for this service, or name its audience in `audiences` of the IdentityProvider",
    ),
    (
        "unknown_issuer",
        "name the issuer in an IdentityProvider of this namespace, byte for byte as in the token",
    ),
    (
        "unknown_key",
        "the provider may have changed its keys: see its health on /config; `hopgate token inspect` tells the key",
    ),
    (
        "bad_signature",
        "the token was changed, or another issuer signed it; `hopgate token inspect` tells more",
    ),
    (
        "token_",
        "`hopgate token inspect --resources PATH` makes each check of the gate and says which fails",
    ),
    (
        "missing_",
        "`hopgate token inspect --resources PATH` makes each check of the gate and says which fails",
    ),
    (
        "required_claim",
        "`hopgate token inspect --resources PATH` makes each check of the gate and says which fails",
    ),
    (
        "refused_claim",
        "`hopgate token inspect --resources PATH` makes each check of the gate and says which fails",
    ),
    ("credentials_", "send one credential, in one place that an IdentityProvider names"),
    (
        "unsupported_scheme",
        "send the credential under a scheme that an IdentityProvider names, such as Bearer",
    ),
    (
        "cross_site",
        "send the request from one of the provider's own origins, or with its double-submit header",
    ),
    (
        "api_key_",
        "make a key with `hopgate token key` and put its line into the key file; the file is watched",
    ),
    ("dpop_", "the client has to make a proof for this very request, key and token (RFC 9449)"),
    ("confirmation_", "the credential is bound to a key: send the proof that it asks for with it"),
    (
        "certificate_",
        "look at the caller's certificate and the roots that are trusted: /config of both sidecars",
    ),
    (
        "peer_revoked",
        "`hopgate revoke list` at the control plane tells why and by whom, `hopgate revoke lift` ends it",
    ),
    (
        "workload_revoked",
        "`hopgate revoke list` at the control plane tells why and by whom, `hopgate revoke lift` ends it",
    ),
    (
        "revocation_unknown",
        "the sidecar hears of revocations once it reaches the control plane: /readyz and its log say what is in the way",
    ),
    (
        "peer_",
        "look at the caller's certificate and the roots that are trusted: /config of both sidecars",
    ),
    (
        "forward",
        "the proxy in front has to be named in `proxies`, and has to send its clients' certificates as said there",
    ),
    (
        "too_many",
        "the caller sent too many bad credentials and has to wait as long as `retry-after` says",
    ),
    ("internal_error", "this is a fault of the gate: its log tells more, please report it"),
];

/// What to do about this code.
pub(super) fn about(code: &str) -> &'static str {
    ADVICE
        .iter()
        .find(|(begin, _)| code.starts_with(begin))
        .map_or("docs/authentication.md explains the code", |(_, advice)| advice)
}
