//! Readers of single values, each with its range. What they refuse they explain; clap adds the flag's name.

use std::time::Duration;

use bytesize::ByteSize;
use http::{HeaderValue, Uri};
use tidings::limits::{KEY_PREFIX_BYTES, THREADS};

/// Reads a duration such as `5s`, `2m` or `24h`.
pub(super) fn duration(
    least: Duration,
    most: Duration,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    move |text| {
        let duration = humantime::parse_duration(text)
            .map_err(|error| format!("{error}; write a number and a unit, such as 500ms, 5s, 2m or 24h"))?;
        if (least..=most).contains(&duration) {
            return Ok(duration);
        }
        let show = |duration| humantime::format_duration(duration);
        Err(format!("it must be between {} and {}", show(least), show(most)))
    }
}

/// Reads a number of bytes such as `64MiB`.
pub fn bytes(least: u64, most: u64) -> impl Fn(&str) -> Result<u64, String> + Clone + Send + Sync + 'static {
    move |text| {
        let size: ByteSize =
            text.parse().map_err(|_| "write a number and a unit, such as 512KiB, 64MiB or 2GiB".to_owned())?;
        if (least..=most).contains(&size.as_u64()) {
            return Ok(size.as_u64());
        }
        Err(format!("it must be between {} and {}", ByteSize::b(least), ByteSize::b(most)))
    }
}

/// Reads a number.
pub(super) fn count(least: u64, most: u64) -> impl Fn(&str) -> Result<u64, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| format!("it must be a whole number between {least} and {most}"))
    }
}

/// Reads a number of threads.
pub(super) fn threads(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=THREADS).contains(number));
    number.ok_or_else(|| format!("it must be a whole number between 1 and {THREADS}"))
}

/// Reads a key prefix. Braces would move a key's hash tag, globs would match in patterns.
pub(super) fn key_prefix(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
    if !text.is_empty() && text.len() <= KEY_PREFIX_BYTES && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(format!("it must have 1 to {KEY_PREFIX_BYTES} of the characters a-z A-Z 0-9 - _ . :"))
}

/// Reads a browser's origin, or `*`.
pub(super) fn origin(text: &str) -> Result<HeaderValue, String> {
    let text = text.to_ascii_lowercase();
    let is_origin = |uri: &Uri| {
        let origin = uri.scheme_str().zip(uri.authority()).map(|(scheme, authority)| format!("{scheme}://{authority}"));
        origin.as_deref() == Some(&text)
    };
    if text == "*" || text.parse().is_ok_and(|uri| is_origin(&uri)) {
        return text.parse().map_err(|_| "it has characters that no header can hold".to_owned());
    }
    Err("it must be a scheme, a host and perhaps a port, without a path: https://app.example.com".to_owned())
}
