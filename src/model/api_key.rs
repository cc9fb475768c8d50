//! API keys: `gta_<prefix>_<secret>`, such that a typing error or a find of a secret scanner shows without a database.

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Direction;
use crate::text_enum;

/// What every key begins with; secret scanners look for it.
const MARK: &str = "gta";
/// Characters of the visible part, by which people and the database name a key.
const PREFIX_LENGTH: usize = 8;
/// 32 random bytes in base62.
const RANDOM_LENGTH: usize = 43;
/// 4 bytes of a hash over all that stands before, in base62.
const CHECKSUM_LENGTH: usize = 6;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

text_enum!(
    /// What a key may do. A key that is made without a choice gets those of [`Scope::READING`].
    Scope {
        /// Calls, their summaries, action items and deliveries.
        CallsRead = "calls:read",
        /// What was said.
        TranscriptsRead = "transcripts:read",
        /// The recordings.
        RecordingsRead = "recordings:read",
        /// Change action items.
        ActionsWrite = "actions:write",
        /// Run steps of calls again; pause, retry and cancel jobs.
        JobsOperate = "jobs:operate",
        /// Make and revoke API keys. It can make a key for anything, so it opens all else too.
        Admin = "admin",
    }
);

impl Scope {
    /// Those that change nothing.
    pub const READING: &'static [Self] = &[Self::CallsRead, Self::TranscriptsRead, Self::RecordingsRead];

    /// Whether a holder of this scope may do what `needed` is for.
    pub fn covers(self, needed: Self) -> bool {
        self == needed || self == Self::Admin
    }
}

/// The calls that a key opens: those that are within all of its bounds. `None` is no bound.
///
/// Every query that reads calls, or what hangs on them, takes these and asks `call_is_within(...)` of the database
/// (`migrations/0011_api_keys.sql`). What is out of bounds is not there: 404, or not in the list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallBounds {
    /// Which way they went.
    pub direction: Option<Direction>,
    /// What the caller's or the called number begins with, as the telephone system writes it.
    pub number_prefix: Option<String>,
    /// They occurred at this time or later (`calls.occurred_at`: the start, or the arrival where it is not known).
    pub from: Option<DateTime<Utc>>,
    /// They occurred before this time.
    pub to: Option<DateTime<Utc>>,
}

impl CallBounds {
    /// All calls.
    pub fn is_unbounded(&self) -> bool {
        *self == Self::default()
    }

    /// For the parameter of a query.
    pub fn direction(&self) -> Option<&'static str> {
        self.direction.map(Direction::as_str)
    }

    /// For the parameter of a query.
    pub fn number_prefix(&self) -> Option<&str> {
        self.number_prefix.as_deref()
    }
}

/// A key as its holder has it. It is shown once, when it is made; we keep [`ApiKey::hash`] only.
#[derive(Debug, Clone)]
pub struct ApiKey(SecretString);

impl ApiKey {
    /// A fresh key with 256 random bits.
    pub fn generate() -> Self {
        Self::from_bits(&rand::random())
    }

    /// The key that is made of these bits, which nobody may be able to guess.
    pub fn from_bits(bits: &[u8; 64]) -> Self {
        // 64 bits to choose the prefix from; it only has to be unique, and the database sees to that.
        let prefix = base62(&bits[..8], PREFIX_LENGTH);
        let body = format!("{MARK}_{prefix}_{}", base62(&bits[32..], RANDOM_LENGTH));
        Self(format!("{body}{}", checksum(&body)).into())
    }

    /// Reads a key; `None` if its form or its checksum is wrong. Says nothing about whether the key exists.
    pub fn parse(text: &str) -> Option<Self> {
        let (prefix, secret) = text.strip_prefix(MARK)?.strip_prefix('_')?.split_once('_')?;
        let well_formed = prefix.len() == PREFIX_LENGTH
            && secret.len() == RANDOM_LENGTH + CHECKSUM_LENGTH
            && prefix.bytes().chain(secret.bytes()).all(|byte| byte.is_ascii_alphanumeric());
        if !well_formed {
            return None;
        }
        let (body, sum) = text.split_at(text.len() - CHECKSUM_LENGTH);
        (checksum(body) == sum).then(|| Self(text.into()))
    }

    /// The visible part: names the key in lists and finds its row.
    pub fn prefix(&self) -> &str {
        let start = MARK.len() + 1;
        &self.0.expose_secret()[start..start + PREFIX_LENGTH]
    }

    /// SHA-256 of the whole key. A key of 256 random bits needs no slow hash (OWASP ASVS 5.0, V11.4.2).
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.expose_secret()).into()
    }

    /// Whether this is the key with the given hash; in constant time.
    pub fn has_hash(&self, hash: &[u8]) -> bool {
        self.hash().ct_eq(hash).into()
    }

    /// The whole key, to be shown to its holder once.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

fn checksum(body: &str) -> String {
    let hash = Sha256::digest(body);
    base62(&hash[..4], CHECKSUM_LENGTH)
}

/// The number that the bytes are, with the most significant digit first; `length` digits from its low end.
fn base62(bytes: &[u8], length: usize) -> String {
    let mut number = bytes.to_vec();
    let mut digits: Vec<u8> = (0..length)
        .map(|_| {
            let mut rest = 0_u16;
            for byte in &mut number {
                let value = rest * 256 + u16::from(*byte);
                *byte = (value / 62) as u8;
                rest = value % 62;
            }
            BASE62[usize::from(rest)]
        })
        .collect();
    digits.reverse();
    String::from_utf8_lossy(&digits).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_key_reads_back() {
        let key = ApiKey::generate();
        let text = key.expose().to_owned();
        assert_eq!(text.len(), 4 + 8 + 1 + 43 + 6);
        let read = ApiKey::parse(&text).expect("a key that we made");
        assert_eq!(read.prefix(), &text[4..12]);
        assert!(read.has_hash(&key.hash()));
        assert!(!read.has_hash(&ApiKey::generate().hash()));
        assert!(!read.has_hash(&[]));
        assert!(!format!("{key:?}").contains(&text[13..]), "a key never prints");
    }

    #[test]
    fn every_single_wrong_character_is_noticed() {
        let text = ApiKey::generate().expose().to_owned();
        for position in 0..text.len() {
            let mut wrong = text.clone().into_bytes();
            wrong[position] = if wrong[position] == b'a' { b'b' } else { b'a' };
            assert!(ApiKey::parse(&String::from_utf8(wrong).unwrap()).is_none(), "{position}");
        }
    }

    #[test]
    fn other_texts_are_no_keys() {
        let key = ApiKey::generate().expose().to_owned();
        for text in ["", "gta", "gta_", "gta__", "gta_12345678_", "sk-123", &key[1..], &format!("{key}0"), "gta_ä_ö"]
        {
            assert!(ApiKey::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn base62_is_a_number() {
        assert_eq!(base62(&[0], 2), "00");
        assert_eq!(base62(&[61], 2), "0z");
        assert_eq!(base62(&[62], 2), "10");
        assert_eq!(base62(&[0xff; 32], RANDOM_LENGTH + 1).chars().next(), Some('0'), "43 digits hold 32 bytes");
    }
}
