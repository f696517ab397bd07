//! The real API's errors, word for word where known: `{"error":{message,type,param,code}}`.

use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::answer::Answer;

const MODERATION_BLOCKED: &str = "moderation_blocked";

/// One error of the API.
#[derive(Debug, Clone)]
pub(super) struct ApiError {
    status: u16,
    message: String,
    kind: &'static str,
    param: Option<String>,
    code: Option<&'static str>,
    headers: Vec<(&'static str, String)>,
}

impl ApiError {
    /// `invalid_request_error` without more.
    pub(super) fn invalid(status: u16, message: String) -> ApiError {
        ApiError {
            status,
            message,
            kind: "invalid_request_error",
            param: None,
            code: None,
            headers: Vec::new(),
        }
    }

    /// A 400 for one parameter.
    pub(super) fn parameter(param: &str, code: &'static str, message: String) -> ApiError {
        ApiError { param: Some(param.to_owned()), code: Some(code), ..ApiError::invalid(400, message) }
    }

    /// A parameter the API doesn't know.
    pub(super) fn unknown_parameter(param: &str) -> ApiError {
        ApiError::parameter(param, "unknown_parameter", format!("Unknown parameter: '{param}'."))
    }

    /// A parameter that must be there.
    pub(super) fn missing_parameter(param: &str) -> ApiError {
        ApiError::parameter(
            param,
            "missing_required_parameter",
            format!("Missing required parameter: '{param}'."),
        )
    }

    /// No such model.
    pub(super) fn model_not_found(model: &str) -> ApiError {
        ApiError {
            status: 404,
            ..ApiError::parameter("model", "model_not_found", format!("The model '{model}' does not exist."))
        }
    }

    /// The `Authorization` header is missing or wrong. The real message shows the key's ends; ours shows nothing of it.
    pub(super) fn invalid_api_key(sent: bool) -> ApiError {
        let message = if sent {
            "Incorrect API key provided. You can find your API key at your provider's dashboard."
        } else {
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth \
             (i.e. Authorization: Bearer YOUR_KEY)."
        };
        ApiError { code: sent.then_some("invalid_api_key"), ..ApiError::invalid(401, message.to_owned()) }
    }

    /// The prompt is against the rules.
    pub(super) fn moderation_blocked() -> ApiError {
        ApiError {
            kind: "image_generation_user_error",
            code: Some(MODERATION_BLOCKED),
            ..ApiError::invalid(
                400,
                "Your request was rejected by the safety system. If you believe this is an error, contact support."
                    .to_owned(),
            )
        }
    }

    /// The account is out of money.
    pub(super) fn insufficient_quota() -> ApiError {
        ApiError {
            kind: "insufficient_quota",
            code: Some("insufficient_quota"),
            ..ApiError::invalid(
                429,
                "You exceeded your current quota, please check your plan and billing details.".to_owned(),
            )
        }
    }

    /// Too many calls. `retry-after` is whole seconds, rounded up; `retry-after-ms` is exact.
    pub(super) fn rate_limited(retry_after_ms: Option<u64>) -> ApiError {
        let mut headers = vec![("x-ratelimit-remaining-requests", "0".to_owned())];
        if let Some(ms) = retry_after_ms {
            headers.push(("retry-after", ms.div_ceil(1000).to_string()));
            headers.push(("retry-after-ms", ms.to_string()));
            headers.push(("x-ratelimit-reset-requests", format!("{ms}ms")));
        }
        ApiError {
            kind: "requests",
            code: Some("rate_limit_exceeded"),
            headers,
            ..ApiError::invalid(429, "Rate limit reached for images. Please try again later.".to_owned())
        }
    }

    /// An error of the server's own.
    pub(super) fn status(status: u16, retry_after_s: Option<u64>) -> ApiError {
        if status == 429 {
            return ApiError::rate_limited(retry_after_s.map(|s| s * 1000));
        }
        let kind = if status >= 500 { "server_error" } else { "invalid_request_error" };
        let message = "The server had an error while processing your request. Sorry about that!".to_owned();
        let headers = retry_after_s.map(|s| ("retry-after", s.to_string())).into_iter().collect();
        ApiError { kind, headers, ..ApiError::invalid(status, message) }
    }
}

impl From<ApiError> for Answer {
    fn from(error: ApiError) -> Answer {
        let mut body = json!({
            "message": error.message,
            "type": error.kind,
            "param": error.param,
            "code": error.code,
        });
        if error.code == Some(MODERATION_BLOCKED) {
            body["moderation_details"] = json!({ "moderation_stage": "input", "categories": ["sexual"] });
        }
        let mut answer = Answer::json(error.status, &json!({ "error": body }));
        answer.error_code = error.code.map(str::to_owned);
        answer.headers.extend(error.headers);
        answer
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        Answer::from(self).into_response()
    }
}
