//! URLs as logs and errors show them.

use url::Url;

/// Most characters of a URL that a message shows.
const MAX_PRINTED_CHARS: usize = 200;

/// Returns a URL for logs and errors, with scheme, host, port and path only, and cut to 200
/// characters. The query, which may hold signatures and tokens, is left out, as are fragment, user
/// name and password. Of a URL that can't be a base, such as a data URL, only the scheme remains. A
/// text that is no URL isn't quoted at all.
pub fn redacted(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else { return "(not a URL)".to_owned() };
    if url.cannot_be_a_base() {
        return format!("{}:…", url.scheme());
    }
    url.set_query(None);
    url.set_fragment(None);
    // Both calls fail for URLs without a host, which have no user name or password.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let text = url.as_str();
    match text.char_indices().nth(MAX_PRINTED_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
