//! What a proxy cannot carry out is refused: half an answer would let a request pass as another one than was judged.

use super::door::Abilities;
use super::gate::Judged;
use super::presentation::Presentation;
use super::request::HttpRequest;
use super::verdict::{Denial, Verdict};

/// The same, but refused if its proxy may not do what the answer asks of it.
pub(super) fn carried<'s, 'a>(mut judged: Judged<'s, 'a>, abilities: Abilities) -> Judged<'s, 'a> {
    match abilities {
        Abilities::All => return judged,
        Abilities::SetHeaders => {}
    }
    let http = judged.request.as_ref().and_then(|request| request.http.as_ref());
    if let (Verdict::Permit(permit), Some(http)) = (&judged.verdict, http)
        && let Some(denial) = refusal(judged.snapshot.presentation(), http)
    {
        judged.verdict = Verdict::Denial(denial.by(permit.rule()));
    }
    judged
}

fn refusal<'s>(presentation: &Presentation, http: &HttpRequest<'_>) -> Option<Denial<'s>> {
    if presentation.rewrites_target(http) {
        let reason = "path or query would have to be written anew, which no HTTP door can do";
        let hint = "let clients send their credential in a header or a cookie";
        return Some(Denial::new("door_path", reason).hint_at(Some(hint)));
    }
    // It might reach the application: the proxy copies what its configuration names, and cannot be told to remove.
    let told = presentation.identity_told_by(http)?;
    let reason = format!("the request itself brings `{told}`, in which only the gate may speak");
    let hint =
        "let the proxy set or clear it for the application, and leave it out of what it asks";
    Some(Denial::new("door_identity_header", reason).hint_at(Some(hint)))
}
