//! The last decision records, kept in memory for whoever asks for one by its request id.

use std::collections::VecDeque;

/// So many are kept, at most.
const MAX_RECORDS: usize = 512;
/// And so many bytes.
const MAX_BYTES: usize = 1024 * 1024;
/// Buffers that grew beyond this are given back to the system, not used again.
const MAX_REUSED: usize = 4096;

/// The last records. Bounded in number and in bytes.
#[derive(Debug, Default)]
pub(super) struct Recent {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Recent {
    /// Keeps one record; the oldest go where there is no room.
    pub(super) fn push(&mut self, line: &[u8]) {
        if line.len() > MAX_BYTES {
            return;
        }
        let mut buffer = Vec::new();
        while self.lines.len() >= MAX_RECORDS || self.bytes + line.len() > MAX_BYTES {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.len();
            buffer = oldest;
        }
        if buffer.capacity() > MAX_REUSED {
            buffer = Vec::new();
        }
        buffer.clear();
        buffer.extend_from_slice(line);
        self.bytes += line.len();
        self.lines.push_back(buffer);
    }

    /// Copies of all, the newest last.
    pub(super) fn copies(&self) -> Vec<Vec<u8>> {
        self.lines.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_in_number_and_in_bytes() {
        let mut recent = Recent::default();
        for number in 0..2 * MAX_RECORDS {
            recent.push(number.to_string().as_bytes());
        }
        let kept = recent.copies();
        assert_eq!(kept.len(), MAX_RECORDS);
        assert_eq!(kept.last().unwrap(), (2 * MAX_RECORDS - 1).to_string().as_bytes());
        assert_eq!(kept.first().unwrap(), MAX_RECORDS.to_string().as_bytes());

        let long = vec![b'x'; MAX_BYTES / 4];
        for _ in 0..10 {
            recent.push(&long);
        }
        assert_eq!(recent.copies().len(), 4);
        assert!(recent.bytes <= MAX_BYTES);
        recent.push(&vec![b'x'; MAX_BYTES + 1]);
        assert_eq!(recent.copies().len(), 4, "one that fits nowhere pushes nothing out");
        recent.push(b"small");
        assert_eq!(recent.copies().last().unwrap(), b"small");
    }
}
