//! Reading URLs, and printing them without what must stay secret.

use ::url::Url;

use super::error::Error;

/// Signed URLs have a few hundred bytes, data URLs millions.
const MAX_URL_BYTES: usize = 8 * 1024;
/// Of a URL in a message; the rest is cut off.
const MAX_PRINTED_CHARS: usize = 200;

/// Reads a URL of any scheme.
pub(super) fn parse(url: &str) -> Result<Url, Error> {
    // The url crate's errors don't quote the URL, nor may we: it may be a secret.
    let refused = |why| Error::Refused { why };
    if url.len() > MAX_URL_BYTES {
        return Err(refused(format!("the URL has {} bytes, more than {MAX_URL_BYTES}", url.len())));
    }
    let mut url = Url::parse(url).map_err(|error| refused(format!("it is no URL: {error}")))?;
    url.set_fragment(None);
    Ok(url)
}

/// Reads a redirect's target, which may be relative to the URL that answered with it.
pub(super) fn join(from: &Url, target: &str) -> Option<Url> {
    let mut url = from.join(target).ok().filter(|url| url.as_str().len() <= MAX_URL_BYTES)?;
    url.set_fragment(None);
    Some(url)
}

/// The URL for logs and errors: scheme, host, port and path. Query (signatures, tokens), fragment, user name and
/// password are left out; of schemes without a host just the scheme is given, and of what is no URL nothing.
pub fn redacted(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else { return "(not a URL)".to_owned() };
    if url.cannot_be_a_base() {
        return format!("{}:…", url.scheme());
    }
    url.set_query(None);
    url.set_fragment(None);
    // These fail for URLs without a host, which have neither.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let text = url.as_str();
    match text.char_indices().nth(MAX_PRINTED_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
