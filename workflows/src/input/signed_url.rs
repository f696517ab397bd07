//! Removes the signature from a photo's URL, as pure code. Apps sign a photo's URL anew for each
//! request, and still mean the same photo.

/// Query parameters by which stores and CDNs sign. The first of each entry marks a URL as signed,
/// and the others come with it. A `*` ends a prefix. Without the mark, the others are ordinary
/// parameters, because `se` or `policy` may choose the photo.
const SCHEMES: [(&str, &[&str]); 5] = [
    // Signatures of S3, R2 and MinIO.
    ("x-amz-signature", &["x-amz-*"]),
    // Signatures of Google Cloud Storage.
    ("x-goog-signature", &["x-goog-*"]),
    // Signatures of S3 and Google (both version 2), OSS and CloudFront.
    (
        "signature",
        &[
            "awsaccesskeyid",
            "expires",
            "googleaccessid",
            "hash-algorithm",
            "key-pair-id",
            "ossaccesskeyid",
            "policy",
            "security-token",
            "x-amz-security-token",
        ],
    ),
    // Signatures of Azure Blob Storage.
    (
        "sig",
        &[
            "saoid", "scid", "sdd", "se", "ses", "si", "sip", "ske", "skoid", "sks", "skt", "sktid", "skv",
            "sp", "spr", "sr", "srt", "ss", "st", "suoid", "sv",
        ],
    ),
    // Tokens of Supabase and Bunny.
    ("token", &["exp", "expires"]),
];

/// Returns the address without its fragment, and the query parameters that belong to no signature,
/// sorted by name.
pub(super) fn without_signature(url: &str) -> (&str, Vec<&str>) {
    let url = url.split_once('#').map_or(url, |(url, _)| url);
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let named = query.split('&').filter(|parameter| !parameter.is_empty()).map(|parameter| {
        let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
        (name.to_ascii_lowercase(), parameter)
    });
    let mut parameters: Vec<(String, &str)> = named.collect();
    let schemes: Vec<_> =
        SCHEMES.iter().filter(|(mark, _)| parameters.iter().any(|(name, _)| name == mark)).collect();
    parameters.retain(|(name, _)| {
        !schemes
            .iter()
            .any(|(mark, others)| name == mark || others.iter().any(|known| is_called(name, known)))
    });
    parameters.sort_by(|(a, _), (b, _)| a.cmp(b));
    (address, parameters.into_iter().map(|(_, parameter)| parameter).collect())
}

fn is_called(name: &str, known: &str) -> bool {
    known.strip_suffix('*').map_or(name == known, |prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_signed_anew_is_the_same() {
        for (before, after) in [
            (
                "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a%2F1&X-Amz-Date=1&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=1",
                "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=b%2F2&X-Amz-Date=2&X-Amz-Expires=90&X-Amz-Security-Token=t&X-Amz-SignedHeaders=host&X-Amz-Signature=2",
            ),
            (
                "X-Goog-Date=1&X-Goog-Expires=60&X-Goog-Signature=1",
                "X-Goog-Signature=2&X-Goog-Date=2&X-Goog-Expires=60",
            ),
            ("AWSAccessKeyId=a&Expires=1&Signature=1", "AWSAccessKeyId=b&Expires=2&Signature=2"),
            ("GoogleAccessId=a&Expires=1&Signature=1", "GoogleAccessId=a&Expires=2&Signature=2"),
            ("Policy=a&Signature=1&Key-Pair-Id=K1", "Policy=b&Signature=2&Key-Pair-Id=K2"),
            ("sv=2024-11-04&st=1&se=2&sr=b&sp=r&sig=a", "sv=2025-01-05&se=9&sr=b&sp=r&sip=1.2.3.4&sig=b"),
            ("token=a.b.c", "token=d.e.f"),
            ("token=1&expires=1", "token=2&expires=2"),
            ("Signature=1&Expires=1&width=512", "width=512&Signature=2&Expires=2"),
            ("token=1", ""),
        ] {
            let url = |query: &str| format!("https://host/ann.jpg?{query}");
            let (one, other) = (url(before), url(after) + "#top");
            assert_eq!(without_signature(&one), without_signature(&other));
        }
    }

    #[test]
    fn whatever_else_differs_is_another_photo() {
        let signed = "https://host/ann.jpg?v=1&Signature=1&Expires=1";
        for other in [
            "https://host/bob.jpg?v=1&Signature=1&Expires=1",
            "https://other/ann.jpg?v=1&Signature=1&Expires=1",
            "https://host/ann.jpg?v=2&Signature=1&Expires=1",
            "https://host/ann.jpg?Signature=1&Expires=1",
            "https://host/ann.jpg?v=1&v=1&Signature=1&Expires=1",
            "https://host/ann.jpg?v=1&X-Amz-Date=1",
        ] {
            assert_ne!(without_signature(signed), without_signature(other), "{other}");
        }
        // Without a signature among them, these are parameters like all others.
        for query in ["se", "sr", "policy", "expires", "key-pair-id", "x-amz-date", "signature2", "exp"] {
            let url = |value: u32| format!("https://host/photo?{query}={value}");
            assert_ne!(without_signature(&url(1)), without_signature(&url(2)), "{query}");
        }
    }
}
