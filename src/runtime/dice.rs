//! Chance, for spreading what would otherwise happen at once.

/// Sixteen random bytes that nobody can guess; nothing if the system has none.
#[must_use]
pub fn random() -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).ok().map(|()| bytes)
}

/// One draw of 0 to 1. Without random numbers the middle is taken: the spread is lost, nothing else.
#[must_use]
pub fn dice() -> f64 {
    let mut bytes = [0; 4];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_differ_and_stay_in_their_bounds() {
        let draws: Vec<f64> = (0..100).map(|_| dice()).collect();
        assert!(draws.iter().all(|draw| (0.0..=1.0).contains(draw)));
        assert!(draws.iter().any(|draw| *draw < 0.5) && draws.iter().any(|draw| *draw > 0.5));
    }
}
