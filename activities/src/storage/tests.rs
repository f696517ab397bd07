//! Whose trouble an answer of the store is: the caller's, who named the key, or the operator's.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use workflows::failure::{FailureKind, Retry};

use super::*;
use crate::failure::Failure;

/// A server that gives every request the same answer, and its address.
async fn answering(status: u16, body: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = format!(
        "HTTP/1.1 {status} Answer\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    format!("http://{address}")
}

fn storage(endpoint: &str) -> Storage {
    Storage::new(&Settings {
        // Credentials in a URL stay out of messages.
        endpoint_url: endpoint.replace("http://", "http://user:hunter2@"),
        region: "auto".into(),
        bucket: "photos".into(),
        access_key_id: "id".into(),
        secret_access_key: "secret".into(),
        session_token: SecretString::default(),
        request_timeout_ms: 10_000,
    })
}

/// S3's XML with that code.
fn s3(code: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>words</Message></Error>"
    )
}

#[tokio::test]
async fn only_what_the_store_says_of_the_key_is_the_callers_trouble() {
    const CALLER: FailureKind = FailureKind::InvalidInput;
    const OPERATOR: FailureKind = FailureKind::StorageUnavailable;
    let page = "<html><head><title>404</title></head><body>Not Found</body></html>";
    let table = [
        (404, s3("NoSuchKey"), CALLER),
        (400, s3("InvalidURI"), CALLER),
        (400, s3("KeyTooLongError"), CALLER),
        (400, s3("KeyTooLong"), CALLER),
        (400, s3("InvalidObjectName"), CALLER),
        (400, s3("XMinioInvalidObjectName"), CALLER),
        (400, s3("XMinioInvalidResourceName"), CALLER),
        (403, s3("InvalidObjectState"), CALLER),
        (414, page.to_owned(), CALLER),
        (404, s3("NoSuchBucket"), OPERATOR),
        (404, s3("NotFound"), OPERATOR),
        (404, page.to_owned(), OPERATOR),
        (404, String::new(), OPERATOR),
        (404, "{\"code\":\"NoSuchKey\"}".to_owned(), OPERATOR),
        (301, s3("PermanentRedirect"), OPERATOR),
        (400, s3("InvalidBucketName"), OPERATOR),
        (400, s3("AuthorizationHeaderMalformed"), OPERATOR),
        (400, s3("ExpiredToken"), OPERATOR),
        (400, page.to_owned(), OPERATOR),
        (401, s3("Unauthorized"), OPERATOR),
        (403, s3("AccessDenied"), OPERATOR),
        (403, s3("AllAccessDisabled"), OPERATOR),
        (403, s3("InvalidAccessKeyId"), OPERATOR),
        (403, s3("RequestTimeTooSkewed"), OPERATOR),
        (403, s3("SignatureDoesNotMatch"), OPERATOR),
        (403, page.to_owned(), OPERATOR),
        (405, s3("MethodNotAllowed"), OPERATOR),
        (429, s3("TooManyRequests"), OPERATOR),
        (500, s3("InternalError"), OPERATOR),
        (503, s3("SlowDown"), OPERATOR),
        (502, page.to_owned(), OPERATOR),
    ];
    for (status, body, kind) in table {
        let endpoint = answering(status, &body).await;
        let error = storage(&endpoint).get("uploads/ann.jpg", 1_000).await.unwrap_err();
        let failure = Failure::of_photo_key(error);
        let told = format!("HTTP {status} {body}: {failure:?}");
        assert_eq!(failure.kind, kind, "{told}");
        assert_eq!(failure.retry == Retry::Never, kind == CALLER, "{told}");
        assert!(failure.message.contains("`uploads/ann.jpg`"), "{told}");
        assert!(!failure.message.contains("hunter2"), "{told}");
        if kind == OPERATOR {
            assert!(failure.message.contains(&format!("bucket `photos` at {endpoint}")), "{told}");
            assert!(failure.message.contains(&format!("HTTP {status}")), "{told}");
        }
    }
}

#[tokio::test]
async fn a_delete_in_a_bucket_that_is_not_there_has_deleted_nothing() {
    for (status, body, deleted) in [
        (204, String::new(), true),
        (404, s3("NoSuchKey"), true),
        (404, s3("NoSuchBucket"), false),
        (404, "<html></html>".to_owned(), false),
        (404, String::new(), false),
    ] {
        let endpoint = answering(status, &body).await;
        let result = storage(&endpoint).delete("staging/x/1/0").await;
        assert_eq!(result.is_ok(), deleted, "HTTP {status} {body}: {result:?}");
    }
}

#[tokio::test]
async fn a_long_key_leaves_room_for_the_reason() {
    let endpoint = answering(403, &s3("AccessDenied")).await;
    let error = storage(&endpoint).get(&"ж".repeat(512), 1_000).await.unwrap_err();
    assert!(Failure::of_photo_key(error).message.contains("HTTP 403 AccessDenied"));
}
