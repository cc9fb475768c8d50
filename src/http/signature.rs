//! Verify (and sign): is this body from somebody who knows a webhook secret? Pure: header values, bytes and secrets in, yes or no
//! out.
//!
//! The header takes every form that `openssl dgst` prints, because people pipe it straight in: plain hex (`-binary |
//! xxd`, `openssl mac`), `SHA2-256(stdin)= hex` and `HMAC-SHA2-256(file)= hex` (OpenSSL 3), `(stdin)= hex` and
//! `HMAC-SHA256(file)= hex` (1.1), `hex *stdin` (`-r`), and `sha256=hex`. The form only chooses which 32 bytes are
//! compared, so it gives nothing away; hex is never searched for inside of a value, and a list is never taken.

use std::sync::LazyLock;

use hmac::{Hmac, KeyInit, Mac};
use poem::http::HeaderValue;
use regex::Regex;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::model::hex;

/// The header that carries the signature.
pub const HEADER: &str = "x-goto-signature";

const MAX_LENGTH: usize = 256;
/// In lower case; the whole value must match.
const GRAMMAR: &str = r"^(?:(?:(?:hmac-)?sha2?-?256)?\([^()\s]{1,64}\)= |sha256=)?([0-9a-f]{64})(?: \*[^\s*]{1,64})?$";

static PATTERN: LazyLock<Regex> = LazyLock::new(|| Regex::new(GRAMMAR).expect("a constant that a test compiles"));

/// True if there is exactly one value and it is the HMAC-SHA256 of the raw body under one of the secrets. Takes the
/// same time for every cause of a no: each secret is tried on every body, in constant time.
pub fn is_valid<'a>(values: impl IntoIterator<Item = &'a HeaderValue>, body: &[u8], secrets: &[SecretString]) -> bool {
    let claimed = claimed(values);
    let mut known = false;
    for secret in secrets {
        let Ok(mac) = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()) else { continue };
        known |= mac.chain_update(body).verify_slice(&claimed.unwrap_or_default()).is_ok();
    }
    claimed.is_some() & known
}

/// The signature of a body in plain hex, for those who send webhooks to us.
pub fn sign(secret: &SecretString, body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).expect("a key may have any length");
    hex(&mac.chain_update(body).finalize().into_bytes())
}

/// The 32 bytes that the header claims; `None` if it is missing, there twice, or not in a known form.
fn claimed<'a>(values: impl IntoIterator<Item = &'a HeaderValue>) -> Option<[u8; 32]> {
    let mut values = values.into_iter();
    let value = values.next().filter(|value| value.len() <= MAX_LENGTH)?;
    if values.next().is_some() {
        return None;
    }
    // Visible ASCII, blanks and tabs: anything else is an error here.
    let text = value.to_str().ok()?.trim_matches([' ', '\t']).to_ascii_lowercase();
    let digits = PATTERN.captures(&text)?.get(1)?.as_str();
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const BODY: &[u8] = b"{\"event_type\":\"call.ended\"}\n";

    /// HMAC-SHA256 of the body under the secret, in hex.
    fn hex(body: &[u8], secret: &str) -> String {
        sign(&secret.into(), body)
    }

    fn verdict(value: &str) -> bool {
        is_valid(&[HeaderValue::from_str(value).unwrap()], BODY, &[SECRET.into()])
    }

    /// RFC 4231, test case 2.
    #[test]
    fn the_mac_is_the_one_of_the_rfc() {
        let mac = hex(b"what do ya want for nothing?", "Jefe");
        assert_eq!(mac, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[rstest]
    #[case("HEX")]
    #[case("  HEX\t")]
    #[case("SHA2-256(stdin)= HEX")]
    #[case("HMAC-SHA2-256(body.json)= HEX")]
    #[case("HMAC-SHA2-256(/tmp/a-b_c.json)= HEX")]
    #[case("(stdin)= HEX")]
    #[case("HMAC-SHA256(body.json)= HEX")]
    #[case("hmac-sha256(stdin)= HEX")]
    #[case("SHA256(stdin)= HEX")]
    #[case("HEX *stdin")]
    #[case("HEX *body.json")]
    #[case("sha256=HEX")]
    #[case("SHA256=HEX")]
    fn forms_that_are_taken(#[case] form: &str) {
        let hex = hex(BODY, SECRET);
        assert!(verdict(&form.replace("HEX", &hex)), "{form}");
        assert!(verdict(&form.replace("HEX", &hex.to_uppercase())), "{form} in upper case");
        let wrong = hex.replacen(|_: char| true, if hex.starts_with('0') { "1" } else { "0" }, 1);
        assert!(!verdict(&form.replace("HEX", &wrong)), "{form} with another signature");
    }

    #[rstest]
    #[case("")]
    #[case("sha256=")]
    #[case("HEX0")]
    #[case("0HEX")]
    #[case("HEX HEX")]
    #[case("HEX, HEX")]
    #[case("HEX,HEX")]
    #[case("v1=HEX")]
    #[case("sha256= HEX")]
    #[case("sha256:HEX")]
    #[case("sha1=HEX")]
    #[case("SHA512(stdin)= HEX")]
    #[case("SHA2-256(stdin)=HEX")]
    #[case("SHA2-256(stdin) = HEX")]
    #[case("SHA2-256()= HEX")]
    #[case("SHA2-256(my file)= HEX")]
    #[case("HEX  *stdin")]
    #[case("HEX stdin")]
    #[case("HEX *")]
    #[case("HEX *a*b")]
    #[case("\"HEX\"")]
    #[case("0xHEX")]
    fn forms_that_are_refused(#[case] form: &str) {
        assert!(!verdict(&form.replace("HEX", &hex(BODY, SECRET))), "{form}");
    }

    #[test]
    fn long_values_are_refused() {
        let hex = hex(BODY, SECRET);
        assert!(verdict(&format!("{hex}{}", " ".repeat(MAX_LENGTH - 64))));
        assert!(!verdict(&format!("{hex}{}", " ".repeat(MAX_LENGTH - 63))));
        assert!(verdict(&format!("SHA2-256({})= {hex}", "a".repeat(64))));
        assert!(!verdict(&format!("SHA2-256({})= {hex}", "a".repeat(65))));
    }

    #[test]
    fn exactly_one_value_of_plain_text() {
        let value = HeaderValue::from_str(&hex(BODY, SECRET)).unwrap();
        let secrets = [SECRET.into()];
        assert!(!is_valid(&[], BODY, &secrets));
        assert!(!is_valid([&value, &value], BODY, &secrets));
        let latin = HeaderValue::from_bytes(&[value.as_bytes(), b" *\xe9"].concat()).unwrap();
        assert!(!is_valid(&[latin], BODY, &secrets));
    }

    #[test]
    fn either_of_two_secrets_is_taken_and_no_other() {
        let (old, new) = ("o".repeat(32), "n".repeat(32));
        let secrets = [SecretString::from(old.clone()), SecretString::from(new.clone())];
        for (secret, expected) in [(old, true), (new, true), ("x".repeat(32), false)] {
            let value = HeaderValue::from_str(&hex(BODY, &secret)).unwrap();
            assert_eq!(is_valid([&value], BODY, &secrets), expected);
            assert!(!is_valid([&value], &BODY[..BODY.len() - 1], &secrets), "another body");
            assert!(!is_valid([&value], BODY, &[]), "no secret knows nothing");
        }
    }
}
