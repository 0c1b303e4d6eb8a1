//! The tables of HPACK: RFC 7541, section 2.3 and appendix A.

use std::collections::VecDeque;

/// What an entry counts beside its text (section 4.1).
const OVERHEAD: usize = 32;

/// The dynamic table.
#[derive(Debug)]
pub(super) struct Table {
    /// The newest first.
    entries: VecDeque<Entry>,
    size: usize,
    /// What the encoder chose, and what it may choose at most.
    room: usize,
    limit: usize,
    /// The text of an entry that was dropped, for the next one.
    spare: Vec<u8>,
}

#[derive(Debug)]
struct Entry {
    /// Name and value.
    text: Vec<u8>,
    name: usize,
}

impl Entry {
    fn size(&self) -> usize {
        self.text.len() + OVERHEAD
    }
}

impl Table {
    pub(super) fn new(limit: usize) -> Self {
        Self { entries: VecDeque::new(), size: 0, room: limit, limit, spare: Vec::new() }
    }

    /// The field at an index: the static table first, then the dynamic one (section 2.3.3).
    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let index = index.checked_sub(1)?;
        if let Some((name, value)) = STATIC.get(index) {
            return Some((name.as_bytes(), value.as_bytes()));
        }
        let entry = self.entries.get(index - STATIC.len())?;
        entry.text.split_at_checked(entry.name)
    }

    /// True where a field of this length is not larger than the table.
    pub(super) fn takes(&self, length: usize) -> bool {
        length + OVERHEAD <= self.room
    }

    /// Adds a field that it takes.
    pub(super) fn insert(&mut self, text: Vec<u8>, name: usize) {
        let size = text.len() + OVERHEAD;
        self.make_room(size);
        self.size += size;
        self.entries.push_front(Entry { text, name });
    }

    /// A new size; nothing if it is more than was offered (section 6.3).
    pub(super) fn resize(&mut self, room: usize) -> Option<()> {
        if room > self.limit {
            return None;
        }
        self.room = room;
        self.make_room(0);
        Some(())
    }

    /// An empty text, with the room of one that is no longer needed.
    pub(super) fn blank(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.spare)
    }

    /// Drops all entries.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.size = 0;
    }

    fn make_room(&mut self, size: usize) {
        while self.size + size > self.room {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.size -= oldest.size();
            self.spare = oldest.text;
            self.spare.clear();
        }
    }

    /// How many bytes the texts of all entries take, used or not.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.entries.iter().map(|entry| entry.text.capacity()).sum::<usize>()
            + self.spare.capacity()
    }

    #[cfg(test)]
    pub(super) fn content(&self) -> (usize, Vec<(String, String)>) {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let field = |e: &Entry| (text(&e.text[..e.name]), text(&e.text[e.name..]));
        (self.size, self.entries.iter().map(field).collect())
    }
}

const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];
