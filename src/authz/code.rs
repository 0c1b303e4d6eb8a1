//! Every code by which a request is refused: its HTTP status and what it means, in one place.
//!
//! The list is part of the product: logs, metrics and alerts rest on the names. A test holds it complete, and
//! `docs/refusals.md` is made from it.

use crate::proto::answer::RefusalStatus;
use RefusalStatus::{BadRequest, Forbidden, Internal, TooManyRequests, Unauthorized, Unavailable};

/// One code, what the client is told, and what the operator should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// The stable name, in records and metrics.
    pub name: &'static str,
    /// What the client is told.
    pub status: RefusalStatus,
    /// What it means: a sentence without its full stop.
    pub meaning: &'static str,
}

impl Code {
    /// The code of this name. A name that is not in the list is a fault of ours, and refuses as one.
    pub(super) fn named(name: &str) -> &'static Self {
        CODES.iter().find(|code| code.name == name).unwrap_or(&UNLISTED)
    }
}

const UNLISTED: Code =
    code("internal_error", Internal, "the gate failed at something it should not");

const fn code(name: &'static str, status: RefusalStatus, meaning: &'static str) -> Code {
    Code { name, status, meaning }
}

/// All codes, by name.
#[rustfmt::skip]
pub const CODES: &[Code] = &[
    code("algorithm_not_allowed", Unauthorized, "the token's algorithm is none of its provider's"),
    code("api_key_expired", Unauthorized, "the API key is past its end"),
    code("api_key_malformed", Unauthorized, "what stands in the place of an API key is none"),
    code("api_key_unknown", Unauthorized, "the key file has no such API key"),
    code("bad_signature", Unauthorized, "no fitting key of the provider made the token's signature"),
    code("certificate_authority_not_in_force", Forbidden, "every root the client's certificate could chain to is out of its dates"),
    code("certificate_chain_invalid", Forbidden, "the client's certificate or one on its way breaks a rule, such as a name constraint"),
    code("certificate_expired", Forbidden, "the peer's certificate, or one on its way, has expired"),
    code("certificate_invalid", Forbidden, "the peer's certificate is none of a workload: not exactly one SPIFFE ID as its URI name"),
    code("certificate_missing", Forbidden, "Envoy names a principal and sends no certificate (`include_peer_certificate`)"),
    code("certificate_not_yet_valid", Forbidden, "the peer's certificate, or one on its way, is not valid yet"),
    code("certificate_provider_ambiguous", Forbidden, "the authorities of two providers prove the client's certificate"),
    code("certificate_purpose", Forbidden, "the client's certificate is not for TLS clients"),
    code("certificate_revocation_unknown", Forbidden, "an issuer of the client's certificate has no current revocation list"),
    code("certificate_revoked", Forbidden, "the client's certificate or an intermediate is revoked"),
    code("certificate_subject_ambiguous", Forbidden, "the client's certificate has several names of the kind that the subject is taken from"),
    code("certificate_subject_invalid", Forbidden, "the client's name is empty, unprintable or a wildcard"),
    code("certificate_subject_missing", Forbidden, "the client's certificate has no name of the kind that the subject is taken from"),
    code("certificate_unreadable", Forbidden, "the peer's certificate cannot be read"),
    code("certificate_untrusted", Forbidden, "the client's certificate chains to no authority of a provider"),
    code("confirmation_certificate_mismatch", Unauthorized, "the token is bound to another client certificate"),
    code("confirmation_certificate_missing", Unauthorized, "the token is bound to a client certificate, and there is none"),
    code("confirmation_demanded", Unauthorized, "the provider's rules demand a bound token, and this one is not"),
    code("confirmation_not_bound", Unauthorized, "the token came under the scheme DPoP and is bound to no such key"),
    code("confirmation_scheme", Unauthorized, "the token is bound to a DPoP key and came under another scheme"),
    code("confirmation_unknown", Unauthorized, "the token is bound to a key in a way that cannot be checked (`cnf`)"),
    code("credential_inactive", Unauthorized, "the server that was asked says that the credential is not active"),
    code("credentials_ambiguous", Unauthorized, "there is more than one credential, and which of them counts is not for us to guess"),
    code("credentials_empty", Unauthorized, "the place of a credential is there and empty"),
    code("credentials_unreadable", Unauthorized, "the place of a credential holds what no credential is"),
    code("critical_extension", Unauthorized, "the token demands an extension (`crit`)"),
    code("cross_site_request", Unauthorized, "a cookie came on an unsafe request that does not show it comes from our own pages"),
    code("denied_by_rule", Forbidden, "a `deny` rule matches"),
    code("door_body", BadRequest, "the body of what a proxy asks over HTTP did not come whole, or not in time"),
    code("door_header_missing", BadRequest, "a proxy does not tell over HTTP what the request is: its configuration lacks a header"),
    code("door_header_repeated", BadRequest, "a header that tells what the request is comes more than once, so one may be the client's"),
    code("door_header_unreadable", BadRequest, "a header that tells what the request is, or whose, cannot be read"),
    code("door_identity_header", Forbidden, "the request itself brings a header in which only the gate may speak, and its proxy cannot be told to remove it"),
    code("door_path", Forbidden, "path or query would have to be written anew, which no HTTP door can do"),
    code("door_stranger", Forbidden, "whoever asks over HTTP is not the proxy of that door"),
    code("door_target", BadRequest, "the target is no path behind the prefix of the door"),
    code("dpop_algorithm", Unauthorized, "the DPoP proof's algorithm is not taken"),
    code("dpop_ambiguous", Unauthorized, "there is more than one DPoP proof"),
    code("dpop_future", Unauthorized, "the DPoP proof was made in the future"),
    code("dpop_key", Unauthorized, "the DPoP proof's key cannot be used"),
    code("dpop_key_mismatch", Unauthorized, "the DPoP proof is by another key than the token is bound to"),
    code("dpop_malformed", Unauthorized, "the DPoP proof cannot be read"),
    code("dpop_method", Unauthorized, "the DPoP proof is for another method"),
    code("dpop_missing", Unauthorized, "the token is bound to a DPoP key, and there is no proof"),
    code("dpop_nonce_missing", Unauthorized, "the DPoP proof must hold the nonce that is given with this refusal"),
    code("dpop_nonce_stale", Unauthorized, "the DPoP proof's nonce is no longer good; a new one is given"),
    code("dpop_overloaded", Unavailable, "more DPoP proofs came than are remembered"),
    code("dpop_replayed", Unauthorized, "the DPoP proof was used before"),
    code("dpop_signature", Unauthorized, "the DPoP proof's signature is wrong"),
    code("dpop_stale", Unauthorized, "the DPoP proof is too old"),
    code("dpop_token_mismatch", Unauthorized, "the DPoP proof is for another token"),
    code("dpop_uri", Unauthorized, "the DPoP proof is for another address"),
    code("engine_unavailable", Unavailable, "a policy engine that a rule asks could not be asked, or could not say"),
    code("foreign_trust_domain", Forbidden, "the peer is a workload of another trust domain"),
    code("foreign_untrusted", Forbidden, "the certificate of a workload of a federated trust domain does not chain to that one's roots"),
    code("forwarded_absent", Forbidden, "a proxy forwards no certificate, and its rule demands one"),
    code("forwarded_ambiguous", Forbidden, "what a proxy forwards holds more than one certificate"),
    code("forwarded_certificate_missing", Forbidden, "what a proxy forwards holds no certificate"),
    code("forwarded_certificate_unreadable", Forbidden, "the certificate that a proxy forwards cannot be read"),
    code("forwarded_malformed", Forbidden, "what a proxy forwards is outside the grammar"),
    code("forwarded_mismatch", Forbidden, "what a proxy says of a certificate is not what stands in it"),
    code("forwarded_own_certificate", Forbidden, "a proxy forwards its own certificate: Envoy in front overwrote the header"),
    code("forwarded_untrusted", Forbidden, "the forwarded certificate of a workload does not chain to the mesh's roots"),
    code("forwarded_unverifiable", Forbidden, "a workload's certificate is forwarded, and the mesh's roots are not known"),
    code("header_member_not_allowed", Unauthorized, "the token's header has a member that no JWT-SVID has"),
    code("identity_too_long", Forbidden, "what the policy tells the application of the caller is longer than its `maxBytes`"),
    code("internal_error", Internal, "the gate failed at something it should not"),
    code("invalid_claim", Unauthorized, "a claim has a type or value that cannot be read"),
    code("issued_in_future", Unauthorized, "the token's `iat` is still to come"),
    code("key_not_for_algorithm", Unauthorized, "the token's key is not for its algorithm"),
    code("keys_stale", Unavailable, "the provider's keys are older than `maxStale`"),
    code("keys_unavailable", Unavailable, "the provider's keys never came"),
    code("missing_expiry", Unauthorized, "the token never expires (no `exp`)"),
    code("missing_issued_at", Unauthorized, "the token does not say when it was issued (no `iat`), and its age is bounded"),
    code("missing_issuer", Unauthorized, "the token names no issuer"),
    code("missing_subject", Unauthorized, "the token has no subject"),
    code("no_rule_allows", Forbidden, "no rule allows this request for this peer and user"),
    code("no_rule_allows_anonymous", Unauthorized, "no rule allows this request without a user; one for this peer asks for a user"),
    code("outbound_token_unavailable", Unavailable, "there is no good token for a call of the application, so it is not sent"),
    code("path_backslash", BadRequest, "the path has a backslash, which some servers read as a slash (`backslashes`)"),
    code("path_broken_escape", BadRequest, "the path has a percent sign without two hexadecimal digits"),
    code("path_character", BadRequest, "the path has a character that may not stand there"),
    code("path_control_character", BadRequest, "the path has a control character, plain or encoded (`controlCharacters`)"),
    code("path_dot_segment", BadRequest, "the path has a segment `.` or `..`, or an encoded dot (`dotSegments`)"),
    code("path_double_encoded", BadRequest, "the path is encoded twice (`doubleEncoding`)"),
    code("path_empty_segment", BadRequest, "the path has two slashes in a row (`emptySegments`)"),
    code("path_encoded_separator", BadRequest, "the path has an encoded slash or backslash (`encodedSlashes`)"),
    code("path_not_absolute", BadRequest, "the path does not begin with a slash"),
    code("path_not_utf8", BadRequest, "the path is not UTF-8 once decoded (`nonUtf8`)"),
    code("path_semicolon", BadRequest, "the path has a semicolon, which some servers cut off (`semicolons`)"),
    code("path_too_long", BadRequest, "the path is longer or has more segments than `limits` of the MeshPolicy allow"),
    code("peer_revoked", Forbidden, "the peer, the proxy that speaks for it, or the workload for which a token speaks is revoked"),
    code("principal_mismatch", Forbidden, "the certificate's name is not the principal"),
    code("principal_missing", Forbidden, "there is a certificate and no principal"),
    code("refused_claim", Unauthorized, "a claim marks the token as one that is refused"),
    code("request_authority", BadRequest, "the authority is not a single host"),
    code("request_compressed", BadRequest, "the CheckRequest is compressed, which was not agreed on"),
    code("request_duplicate_header", BadRequest, "a header of which there may be one came more than once (`duplicateHeaders`)"),
    code("request_empty", BadRequest, "the CheckRequest holds no attributes"),
    code("request_framing", BadRequest, "the call does not hold exactly one message"),
    code("request_headers", BadRequest, "the headers are not as Envoy sends them"),
    code("request_method", BadRequest, "the method is no token"),
    code("request_method_lower_case", BadRequest, "the method has lower-case letters (`lowerCaseMethods`)"),
    code("request_mixed_authority", BadRequest, "a `host` line or the target names another authority than the request (`mixedAuthority`)"),
    code("request_not_rewritable", BadRequest, "what must be taken from the query or the cookies cannot be taken: they hold characters that may not stand there"),
    code("request_override", BadRequest, "a header names another method, host or path than the request (`overrideHeaders`)"),
    code("request_pseudo_header", BadRequest, "a pseudo header says something else than its field (`mixedAuthority`)"),
    code("request_too_large", BadRequest, "the CheckRequest is larger than `extAuthz.maxRequestBytes`, or the calls on its connection hold too much"),
    code("request_too_many_headers", BadRequest, "there are more header lines than `limits` of the MeshPolicy allow"),
    code("request_undecodable", BadRequest, "the bytes are no CheckRequest"),
    code("request_underscore_header", BadRequest, "a header name has an underscore, which many applications cannot tell from a dash (`underscoreHeaders`)"),
    code("required_claim_missing", Unauthorized, "a claim is missing that the provider's tokens must have"),
    code("required_claim_other", Unauthorized, "a claim is none of the values that the provider demands"),
    code("revocation_unknown", Unavailable, "the control plane has not yet told this sidecar who is revoked"),
    code("rule_undecidable", Forbidden, "a rule would apply and cannot be evaluated"),
    code("rule_undecidable_anonymous", Unauthorized, "a rule would apply and cannot be evaluated without a user"),
    code("server_answer_unusable", Unavailable, "the server that judges the credential gave an answer that cannot be used"),
    code("server_audience_unconfirmed", Unavailable, "the server that judges the credential did not confirm the audience"),
    code("server_auth_failed", Unavailable, "the gate could not prove itself to the server that judges the credential"),
    code("server_not_asked", Unavailable, "the server that judges the credential could not be asked in time"),
    code("server_overloaded", Unavailable, "too many questions are out to the server that judges the credential"),
    code("server_refuses_us", Unavailable, "the server that judges the credential refuses the gate"),
    code("server_resting", Unavailable, "the server that judges the credential failed too often and is left alone for a while"),
    code("server_timeout", Unavailable, "the server that judges the credential did not answer in time"),
    code("server_unknown", Unavailable, "where the server that judges the credential is, is not known yet"),
    code("server_unreachable", Unavailable, "the server that judges the credential cannot be reached"),
    code("step_up_required", Unauthorized, "the rule asks for a stronger or more recent sign-in"),
    code("subject_not_allowed", Unauthorized, "the token's subject is no SPIFFE ID of the provider's trust domain"),
    code("token_encrypted", Unauthorized, "the token is encrypted or compressed"),
    code("token_expired", Unauthorized, "the token has expired"),
    code("token_for_another_api", Unauthorized, "the token is for Microsoft Graph or for Okta's own APIs: ask for a scope of your own API"),
    code("token_malformed", Unauthorized, "the token is no compact JWS"),
    code("token_nested", Unauthorized, "the token holds another token"),
    code("token_not_yet_valid", Unauthorized, "the token's `nbf` is still to come"),
    code("token_opaque", Unauthorized, "the token is no JWT, and no provider of its place takes others"),
    code("token_too_long", Unauthorized, "the token is longer than what is read"),
    code("token_too_old", Unauthorized, "the token is older than the provider's `maxAge`"),
    code("token_type_not_allowed", Unauthorized, "the token's `typ` is none that its provider's tokens may have"),
    code("too_many_bad_credentials", TooManyRequests, "too many bad credentials came from there, or were like this one: wait for `Retry-After`"),
    code("unencoded_payload", Unauthorized, "the token has an unencoded payload (`b64`)"),
    code("unknown_issuer", Unauthorized, "no provider of this place has the token's issuer"),
    code("unknown_key", Unauthorized, "no usable key of the provider fits the token"),
    code("unsupported_scheme", Unauthorized, "the scheme of `Authorization` is none that is taken here"),
    code("workload_revoked", Forbidden, "the workload that is called is revoked itself, so nothing passes its gate"),
    code("workload_untrusted", Forbidden, "the peer's certificate names a workload of the mesh and does not chain to the mesh's roots"),
    code("workload_unverifiable", Forbidden, "the peer's certificate names a workload of the mesh and could be by a provider's authority, because the mesh's roots are not known"),
    code("wrong_audience", Unauthorized, "the token is for another audience"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_found_by_name() {
        assert!(CODES.is_sorted_by(|a, b| a.name < b.name));
        for code in CODES {
            assert_eq!(Code::named(code.name), code);
            assert!(!code.meaning.is_empty() && !code.meaning.ends_with('.'), "{}", code.name);
        }
        assert_eq!(Code::named("no_such_code").status, Internal);
        assert_eq!(*Code::named("internal_error"), UNLISTED);
    }
}
