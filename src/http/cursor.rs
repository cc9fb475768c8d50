//! Cursors: where the next page of a list begins. Opaque to clients; bound to the filters of their list, so that a page
//! is never continued with other ones.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Datelike as _, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Changes when the meaning of the bytes does.
const VERSION: u8 = 1;
const FILTERS: usize = 8;

/// The last item of a page: its place in the list's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// What the list is ordered by first.
    pub at: DateTime<Utc>,
    /// What decides between equals.
    pub id: Uuid,
}

impl Cursor {
    /// Bytes of a place.
    pub const PLACE: usize = 8 + 16;

    /// Text for the client. `filters` are the values of all parameters that choose items, in a fixed order.
    pub fn encode(self, filters: &[Option<&str>]) -> String {
        seal(&self.place(), filters)
    }

    /// Reads what [`Cursor::encode`] wrote for the same filters; `None` for anything else.
    pub fn decode(text: &str, filters: &[Option<&str>]) -> Option<Self> {
        Self::of_place(open::<{ Self::PLACE }>(text, filters)?)
    }

    /// As bytes, for cursors of lists that are ordered by more.
    pub fn place(self) -> [u8; Self::PLACE] {
        let mut place = [0; Self::PLACE];
        place[..8].copy_from_slice(&self.at.timestamp_micros().to_be_bytes());
        place[8..].copy_from_slice(self.id.as_bytes());
        place
    }

    /// Reads [`Cursor::place`].
    pub fn of_place(place: [u8; Self::PLACE]) -> Option<Self> {
        let (micros, id) = place.split_first_chunk()?;
        // Whoever makes one up cannot ask for a time that the database does not know.
        let at = DateTime::from_timestamp_micros(i64::from_be_bytes(*micros))?;
        let at = Some(at).filter(|at| (1..=9999).contains(&at.year()))?;
        Some(Self { at, id: Uuid::from_slice(id).ok()? })
    }
}

/// Text for the client: a place in a list, bound to the list's filters.
pub fn seal(place: &[u8], filters: &[Option<&str>]) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend(digest(filters));
    bytes.extend(place);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads what [`seal`] wrote for the same filters; `None` for anything else.
pub fn open<const LENGTH: usize>(text: &str, filters: &[Option<&str>]) -> Option<[u8; LENGTH]> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (head, place) = bytes.split_at_checked(1 + FILTERS)?;
    if head[0] != VERSION || head[1..] != digest(filters) {
        return None;
    }
    place.try_into().ok()
}

fn digest(filters: &[Option<&str>]) -> [u8; FILTERS] {
    let mut hash = Sha256::new();
    for filter in filters {
        // With its length, so that two values cannot pass for one.
        hash.update(filter.map_or(u64::MAX, |text| text.len() as u64).to_be_bytes());
        hash.update(filter.unwrap_or_default());
    }
    let mut head = [0; FILTERS];
    head.copy_from_slice(&hash.finalize()[..FILTERS]);
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor() -> Cursor {
        let at = "2026-01-05T10:00:00.123456Z".parse().unwrap();
        Cursor { at, id: Uuid::from_u128(0x0199_aaaa_bbbb_7ccc_8ddd_eeee_ffff_0000) }
    }

    #[test]
    fn a_cursor_reads_back_under_its_filters_only() {
        let text = cursor().encode(&[Some("failed"), None]);
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        assert_eq!(Cursor::decode(&text, &[Some("failed"), None]), Some(cursor()));
        for filters in [&[None, Some("failed")][..], &[Some("fail"), Some("ed")], &[Some("failed")], &[None, None], &[]]
        {
            assert_eq!(Cursor::decode(&text, filters), None, "{filters:?}");
        }
    }

    #[test]
    fn times_that_no_row_has_are_no_places() {
        for at in ["-9999-01-01T00:00:00Z", "+262000-01-01T00:00:00Z"] {
            let made_up = Cursor { at: at.parse().unwrap(), ..cursor() };
            assert_eq!(Cursor::decode(&made_up.encode(&[]), &[]), None, "{at}");
        }
    }

    #[test]
    fn other_texts_are_no_cursors() {
        let text = cursor().encode(&[]);
        let other_version = URL_SAFE_NO_PAD.encode([9; 1 + FILTERS + Cursor::PLACE]);
        for wrong in ["", "abc", "ä", "%%%", &text[1..], &format!("{text}AAAA"), &format!("{text}="), &other_version] {
            assert_eq!(Cursor::decode(wrong, &[]), None, "{wrong}");
        }
    }
}
