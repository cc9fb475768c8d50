//! The small languages in which values are written: durations, sizes, hosts, lists.
//!
//! Every function takes a trimmed, non-empty value and answers with what it means, or with the end of the sentence
//! `VARIABLE: ...` that says what is wrong. Functions for secrets never repeat the value.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use chrono::NaiveTime;
use lettre::message::Mailbox;
use secrecy::SecretString;
use tracing_subscriber::EnvFilter;
use url::{Host, Url};

use super::AllowedHost;

/// What a value means, or what is wrong with it.
pub type Meaning<T> = Result<T, String>;

/// Longest part of a wrong value that is repeated to the reader.
const SHOWN_CHARACTERS: usize = 40;
/// Shorter secrets can be guessed (reference: HMAC keys should be as long as the digest, RFC 2104 section 3).
const SECRET_BYTES: usize = 32;
/// One secret, or two while rotating.
const SECRETS: usize = 2;

/// A wrong value as it is repeated to the reader: quoted, on one line, cut when long.
pub fn shown(value: &str) -> String {
    match value.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{:?}...", &value[..end]),
        None => format!("{value:?}"),
    }
}

/// `true` or `false`, and what people write for them.
pub fn switch(value: &str) -> Meaning<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(format!("{} is neither true nor false", shown(value))),
    }
}

/// One of a few words, in any case.
pub fn choice<T: Copy>(value: &str, choices: &[(&str, T)]) -> Meaning<T> {
    let found = choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(value));
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let known: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        format!("{} is none of {}", shown(value), known.join(", "))
    })
}

/// A number between two others, both included.
pub fn number<T: FromStr + PartialOrd + std::fmt::Display>(value: &str, least: T, most: T) -> Meaning<T> {
    match value.parse::<T>() {
        Ok(number) if number >= least && number <= most => Ok(number),
        _ => Err(format!("{} is not a number from {least} to {most}", shown(value))),
    }
}

/// `500ms`, `90s`, `10m`, `24h`, between two others, both included.
pub fn duration(value: &str, least: Duration, most: Duration) -> Meaning<Duration> {
    let (digits, unit) = number_and_unit(value);
    let milliseconds = match unit.to_ascii_lowercase().as_str() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    let Some(duration) = digits.parse::<u64>().ok().filter(|_| milliseconds > 0) else {
        return Err(format!("{} is not a duration such as 500ms, 90s, 10m or 24h", shown(value)));
    };
    let duration = Duration::from_millis(duration.saturating_mul(milliseconds));
    if duration < least || duration > most {
        return Err(format!("{} is not between {least:?} and {most:?}", shown(value)));
    }
    Ok(duration)
}

/// Bytes, or a number with a unit: `500MB`, `1GiB`. Never zero.
pub fn size(value: &str) -> Meaning<u64> {
    let (digits, unit) = number_and_unit(value);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "kb" => Some(1000),
        "mb" => Some(1000_u64.pow(2)),
        "gb" => Some(1000_u64.pow(3)),
        "kib" => Some(1024),
        "mib" => Some(1024_u64.pow(2)),
        "gib" => Some(1024_u64.pow(3)),
        _ => None,
    };
    let bytes = digits.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    // PostgreSQL keeps sizes as bigint.
    bytes
        .filter(|bytes| (1..=i64::MAX as u64).contains(bytes))
        .ok_or_else(|| format!("{} is not a size: bytes above 0, or with a unit such as 500MB or 1GiB", shown(value)))
}

fn number_and_unit(value: &str) -> (&str, &str) {
    let (digits, unit) = value.split_at(value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len()));
    (digits, unit.trim_start())
}

/// `22:00-07:00`.
pub fn quiet_hours(value: &str) -> Meaning<(NaiveTime, NaiveTime)> {
    let time = |text: &str| NaiveTime::parse_from_str(text.trim(), "%H:%M").ok();
    let Some((from, to)) = value.split_once('-').and_then(|(from, to)| Some((time(from)?, time(to)?))) else {
        return Err(format!("{} is not two times of day such as 22:00-07:00", shown(value)));
    };
    if from == to {
        return Err(format!("{} begins and ends at the same time", shown(value)));
    }
    Ok((from, to))
}

/// A log filter. A word alone must be a level: `EnvFilter` would take a misspelt one for the name of a module and
/// log nothing else.
pub fn log_filter(value: &str) -> Meaning<String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    for word in value.split(',').map(str::trim) {
        if !is_level(word) && !word.contains(['=', '[']) && !word.contains("::") {
            let known = "error, warn, info, debug, trace or a filter such as info,sqlx=debug";
            return Err(format!("{} is none of {known}", shown(word)));
        }
    }
    match EnvFilter::builder().parse(value) {
        Ok(_) => Ok(value.to_owned()),
        Err(_) => Err(format!("{} is not a filter such as info,sqlx=debug", shown(value))),
    }
}

/// The parts of a comma-separated list, trimmed; a comma too many does no harm.
pub fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// `download,transcribe`. Which steps exist is known to the pipeline, see `QueueConfig::check_steps`.
pub fn steps(value: &str) -> Meaning<Vec<String>> {
    let mut names = Vec::new();
    for part in list(value) {
        let name = step_name(part)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() { Err("names no step".to_owned()) } else { Ok(names) }
}

/// `transcribe=4,notify=8`.
pub fn per_step<T>(value: &str, meaning: impl Fn(&str) -> Meaning<T>) -> Meaning<BTreeMap<String, T>> {
    let mut map = BTreeMap::new();
    for part in list(value) {
        let Some((step, amount)) = part.split_once('=') else {
            return Err(format!("{} is not step=value", shown(part)));
        };
        let step = step_name(step.trim())?;
        let amount = meaning(amount.trim()).map_err(|wrong| format!("for {step}, {wrong}"))?;
        if map.insert(step.clone(), amount).is_some() {
            return Err(format!("{step} stands there twice"));
        }
    }
    Ok(map)
}

fn step_name(word: &str) -> Meaning<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if word.is_empty() || !word.chars().all(fits) {
        return Err(format!("{} is not the name of a step", shown(word)));
    }
    Ok(word.to_ascii_lowercase())
}

/// A name or an address without port, in its one spelling: lower case, no trailing dot, no brackets.
pub fn host(value: &str) -> Meaning<String> {
    let bare = value.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(value);
    if let Ok(address) = bare.parse::<Ipv6Addr>() {
        return Ok(address.to_string());
    }
    let name = value.strip_suffix('.').unwrap_or(value);
    let labels_fit = |name: &str| name.split('.').all(|label| (1..=63).contains(&label.len()));
    match Host::parse(name) {
        Ok(Host::Domain(name)) if labels_fit(&name) && !name.contains('*') => Ok(name),
        Ok(Host::Ipv4(address)) => Ok(address.to_string()),
        _ => Err(format!("{} is not a host: a name or an address without https://, port and path", shown(value))),
    }
}

/// An IPv6 address in the brackets that it needs before a port; anything else as it is.
pub fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// Whether a host, as [`host`] gives it, is this machine.
pub fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// IP addresses, comma separated.
pub fn addresses(value: &str) -> Meaning<Vec<IpAddr>> {
    list(value).map(|part| part.parse().map_err(|_| format!("{} is not an IP address", shown(part)))).collect()
}

/// Origins as browsers write them, `https://app.example.com`, comma separated, or `*`.
pub fn origins(value: &str) -> Meaning<Vec<String>> {
    let origin = |part: &str| {
        let url = Url::parse(part).ok().filter(|url| url.origin().ascii_serialization() == part);
        let is_web = url.is_some_and(|url| matches!(url.scheme(), "http" | "https"));
        match part {
            "*" => Ok(part.to_owned()),
            _ if is_web => Ok(part.to_owned()),
            _ => Err(format!("{} is not an origin: write it as https://app.example.com, without a path", shown(part))),
        }
    };
    list(value).map(origin).collect()
}

/// `host` or `host:port`, comma separated.
pub fn allowed_hosts(value: &str) -> Meaning<Vec<AllowedHost>> {
    let mut hosts = Vec::new();
    for part in list(value) {
        if part.contains('*') {
            return Err(format!("{} has a wildcard; name each host", shown(part)));
        }
        let allowed = allowed_host(part)?;
        if !hosts.contains(&allowed) {
            hosts.push(allowed);
        }
    }
    if hosts.is_empty() { Err("names no host".to_owned()) } else { Ok(hosts) }
}

fn allowed_host(entry: &str) -> Meaning<AllowedHost> {
    let (name, port) = match entry.rsplit_once(':') {
        // The last colon of a bare IPv6 address is no port's.
        Some((name, port)) if entry.parse::<Ipv6Addr>().is_err() && !entry.ends_with(']') => (name, Some(port)),
        _ => (entry, None),
    };
    let wrong = || format!("{} is not host or host:port", shown(entry));
    let port = port.map(|port| number(port, 1, u16::MAX)).transpose().map_err(|_| wrong())?;
    Ok(AllowedHost { host: bracketed(&host(name).map_err(|_| wrong())?), port })
}

/// An http or https URL to which paths are joined, without a slash at its end.
pub fn base_url(value: &str) -> Meaning<Url> {
    let mut url = web_url(value)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must end with its path: paths are added to it, so that ? and # cannot follow".to_owned());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// The same for what goes to one company only: plain http on loopback alone.
pub fn protected_url(value: &str) -> Meaning<Url> {
    let url = web_url(value)?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    if url.scheme() == "http" && !is_loopback(host) {
        return Err("must begin with https://; plain http is permitted on loopback only".to_owned());
    }
    Ok(url)
}

/// The value may be secret or hold something secret by mistake, so it is never repeated.
fn web_url(value: &str) -> Meaning<Url> {
    let url = Url::parse(value).map_err(|_| "is not a URL such as https://host/path".to_owned())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must begin with https:// or http://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not contain a user name or password".to_owned());
    }
    Ok(url)
}

/// `file:///path`.
pub fn store_url(value: &str) -> Meaning<Url> {
    let url = Url::parse(value).map_err(|_| format!("{} is not a URL of the form file:///path", shown(value)))?;
    match url.scheme() {
        "file" if url.host().is_some() => {
            Err("needs three slashes: file:///path, with the path from the root".to_owned())
        }
        "file" if url.path() == "/" => Err("must name a folder, not the root".to_owned()),
        "file" if url.query().is_some() || url.fragment().is_some() => {
            Err("must end with the path; write ? as %3F and # as %23".to_owned())
        }
        "file" => Ok(url),
        "s3" => Err("s3:// is not supported yet; recordings can be kept in a folder, file:///path".to_owned()),
        _ => Err("must begin with file://".to_owned()),
    }
}

/// A PostgreSQL connection URL; secret.
pub fn postgres_url(value: &str) -> Meaning<SecretString> {
    let wrong = "is not a URL such as the example; characters such as @ : / # in the password must be percent-encoded";
    let url = Url::parse(value).map_err(|_| wrong.to_owned())?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err("must begin with postgres://".to_owned());
    }
    if url.fragment().is_some() || url.cannot_be_a_base() {
        return Err(wrong.to_owned());
    }
    Ok(value.into())
}

/// A key or token that goes into a header; secret.
pub fn token(value: &str) -> Meaning<SecretString> {
    if !value.chars().all(|c| c.is_ascii_graphic()) {
        return Err("contains a blank or another character that no key has; was it copied whole?".to_owned());
    }
    Ok(value.into())
}

/// One webhook secret, or two separated by a comma; secret.
pub fn webhook_secrets(value: &str) -> Meaning<Vec<SecretString>> {
    let parts: Vec<&str> = value.split(',').map(str::trim).collect();
    let count = parts.len();
    if count > SECRETS {
        return Err(format!("has {count} parts; one secret, or two separated by a comma, are possible"));
    }
    for (index, part) in parts.iter().enumerate() {
        if part.len() < SECRET_BYTES {
            let which = if count == 1 { "has".to_owned() } else { format!("its secret number {} has", index + 1) };
            return Err(format!("{which} {} bytes; at least {SECRET_BYTES} are needed", part.len()));
        }
    }
    Ok(parts.into_iter().map(Into::into).collect())
}

/// One secret of ours.
pub fn secret_key(value: &str) -> Meaning<SecretString> {
    match value.len() {
        enough if enough >= SECRET_BYTES => Ok(value.into()),
        bytes => Err(format!("has {bytes} bytes; at least {SECRET_BYTES} are needed")),
    }
}

/// `address` or `Name <address>`.
pub fn mailbox(value: &str) -> Meaning<String> {
    match Mailbox::from_str(value) {
        Ok(_) => Ok(value.to_owned()),
        Err(_) => Err(format!("{} is not an e-mail address", shown(value))),
    }
}

/// Addresses, comma separated, each once.
pub fn mailboxes(value: &str) -> Meaning<Vec<String>> {
    let mut boxes: Vec<String> = Vec::new();
    for part in list(value) {
        let mailbox = mailbox(part)?;
        if !boxes.iter().any(|known| known.eq_ignore_ascii_case(&mailbox)) {
            boxes.push(mailbox);
        }
    }
    if boxes.is_empty() { Err("names nobody".to_owned()) } else { Ok(boxes) }
}
