//! Reads URLs, and prints them without their secret parts.

use ::url::Url;

use super::error::Error;

/// Longest URL in bytes. Signed URLs have a few hundred, data URLs millions.
const MAX_URL_BYTES: usize = 8 * 1024;

/// Reads a URL of any scheme and drops its fragment.
pub(super) fn parse(url: &str) -> Result<Url, Error> {
    // An error must not quote the URL, which may be a secret. The url crate's errors don't.
    let refused = |why| Error::ForbiddenUrl { why };
    if url.len() > MAX_URL_BYTES {
        return Err(refused(format!("the URL has {} bytes, more than {MAX_URL_BYTES}", url.len())));
    }
    let mut url = Url::parse(url).map_err(|error| refused(format!("it is no URL: {error}")))?;
    url.set_fragment(None);
    Ok(url)
}

/// Reads a redirect's target, which may be relative to the URL that answered with it. Returns
/// `None` if the result is no URL, or too long.
pub(super) fn join(from: &Url, target: &str) -> Option<Url> {
    let mut url = from.join(target).ok().filter(|url| url.as_str().len() <= MAX_URL_BYTES)?;
    url.set_fragment(None);
    Some(url)
}
