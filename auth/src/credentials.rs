//! What a call's headers say of who makes it.

/// The values of a call's `authorization` headers that are no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoToken;

/// The token of a call, by the values of all its `authorization` headers; `None` where it has none.
///
/// # Errors
///
/// There are several headers, or what there is holds no token.
pub(crate) fn token<'a>(mut headers: impl Iterator<Item = &'a [u8]>) -> Result<Option<&'a str>, NoToken> {
    let Some(header) = headers.next() else { return Ok(None) };
    match headers.next() {
        None => bearer(header).map(Some).ok_or(NoToken),
        Some(_) => Err(NoToken),
    }
}

/// The token of an `authorization` header, RFC 6750: the scheme in any case, one space or more, and no white space in
/// the token.
fn bearer(header: &[u8]) -> Option<&str> {
    let header = std::str::from_utf8(header).ok()?;
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim_matches(' ');
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    (scheme.eq_ignore_ascii_case("bearer") && is_token).then_some(token)
}
