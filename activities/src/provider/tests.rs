//! Every answer of the tables that providers are known by, and what it is taken for.

use figment::Figment;
use figment::providers::{Format, Toml};

use super::answer::{Read, Reply};
use super::*;

const BASE_URL: &str = "https://gateway.example/api";

/// The default words.
fn words() -> Words {
    let defaults = Toml::string(include_str!("../../../worker/config.toml"));
    Figment::from(defaults).extract_inner("provider.words").unwrap()
}

/// The default settings, with an account.
pub(super) fn settings() -> Settings {
    let account = r#"
        provider.base_url = "http://gateway/api"
        provider.api_key = "a key"
        provider.model = "the-model"
    "#;
    let defaults = Toml::string(include_str!("../../../worker/config.toml"));
    Figment::from(defaults).merge(Toml::string(account)).extract_inner("provider").unwrap()
}

/// Reads an answer to a call for two images.
fn read(status: u16, body: &str) -> Result<Read, Error> {
    let body = Bytes::from(body.to_owned());
    Reply { status, wait: None, is_html: false, location: None, body }.read(2, &words(), BASE_URL)
}

/// What an answer is taken for, in short.
fn kind(status: u16, body: &str) -> String {
    match read(status, body) {
        Ok(Read::Images { images, billed, left_out }) => {
            let left_out = if left_out.is_some() { ", says why" } else { "" };
            format!("{} images, {billed} billed{left_out}", images.len())
        }
        Ok(Read::Rejected(_)) => "rejected".into(),
        Err(error) => match error {
            Error::Throttled { .. } => "throttled",
            Error::Unavailable { .. } => "unavailable",
            Error::Ambiguous { may_run: true, .. } => "ambiguous, may run",
            Error::Ambiguous { may_run: false, .. } => "ambiguous",
            Error::AccountRefused { certain: true, .. } => "account refused",
            Error::AccountRefused { certain: false, .. } => "account refused, by its status",
            Error::TimedOut => "timed out",
            Error::Cut { .. } => "cut",
            Error::BadRequest { .. } => "bad request",
            Error::BadAnswer { .. } => "unreadable",
            Error::AsyncJob { .. } => "job",
            Error::WebPage { .. } => "web page",
            Error::Unstored { .. } => unreachable!("the provider knows nothing of our store"),
        }
        .into(),
    }
}

fn assert_kinds(cases: &[(u16, &str, &str)]) {
    let wrong: Vec<String> = cases
        .iter()
        .filter(|(status, body, expected)| kind(*status, body) != *expected)
        .map(|(status, body, expected)| {
            format!(
                "{status} {body}\n    is {} ({:?}), not {expected}",
                kind(*status, body),
                read(*status, body)
            )
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn openai_and_those_who_speak_like_it() {
    assert_kinds(&[
        (
            400,
            r#"{"error":{"message":"Your request was rejected.","type":"image_generation_user_error","param":null,"code":"moderation_blocked","moderation_details":{"moderation_stage":"input","categories":["sexual"]}}}"#,
            "rejected",
        ),
        (
            400,
            r#"{"error":{"message":"m","type":"invalid_request_error","code":"content_policy_violation"}}"#,
            "rejected",
        ),
        (
            400,
            r#"{"error":{"message":"The image file is invalid.","type":"image_generation_user_error","code":"invalid_image_file"}}"#,
            "bad request",
        ),
        (
            400,
            r#"{"error":{"message":"Rejected by the safety system.","type":"image_generation_user_error","code":null}}"#,
            "rejected",
        ),
        (400, r#"{"error":{"message":"m","type":"image_generation_user_error","code":null}}"#, "bad request"),
        (
            400,
            r#"{"error":{"message":"m","type":"image_generation_user_error","code":"invalid_input_fidelity_model"}}"#,
            "bad request",
        ),
        (
            400,
            r#"{"error":{"message":"Invalid size.","type":"invalid_request_error","param":"size","code":null}}"#,
            "bad request",
        ),
        (
            400,
            r#"{"error":{"message":"Invalid value: 'high'. Supported values for 'moderation' are 'auto' and 'low'.","type":"invalid_request_error","param":"moderation","code":"invalid_value"}}"#,
            "bad request",
        ),
        (413, "too large", "bad request"),
        (422, r#"{"error":{"message":"m","type":"invalid_request_error","code":null}}"#, "bad request"),
        (
            401,
            r#"{"error":{"message":"m","type":"invalid_request_error","code":"invalid_api_key"}}"#,
            "account refused",
        ),
        (
            401,
            r#"{"error":{"message":"m","type":"invalid_request_error","code":null}}"#,
            "account refused, by its status",
        ),
        (
            403,
            r#"{"error":{"message":"m","type":"permission_error","code":null}}"#,
            "account refused, by its status",
        ),
        (
            404,
            r#"{"error":{"message":"m","type":"invalid_request_error","code":"model_not_found"}}"#,
            "account refused",
        ),
        (
            429,
            r#"{"error":{"message":"m","type":"insufficient_quota","code":"insufficient_quota"}}"#,
            "account refused",
        ),
        (429, r#"{"error":{"message":"m","type":"insufficient_quota","code":null}}"#, "account refused"),
        (
            429,
            r#"{"error":{"message":"m","type":"insufficient_quota","code":"credit_balance_exhausted"}}"#,
            "account refused",
        ),
        (
            429,
            r#"{"error":{"message":"m","type":"insufficient_quota","code":"organization_spend_limit_exceeded"}}"#,
            "account refused",
        ),
        (
            429,
            r#"{"error":{"message":"m","type":"insufficient_quota","code":"project_spend_limit_exceeded"}}"#,
            "account refused",
        ),
        (
            429,
            r#"{"error":{"message":"m","type":"insufficient_quota","code":"organization_usage_limit_exceeded"}}"#,
            "account refused",
        ),
        (
            400,
            r#"{"error":{"message":"Billing hard limit has been reached","type":"billing_limit_user_error","code":"billing_hard_limit_reached"}}"#,
            "account refused",
        ),
        (
            403,
            r#"{"error":{"message":"Your account has been flagged for abuse.","code":null}}"#,
            "account refused",
        ),
        (429, r#"{"error":{"message":"m","type":"requests","code":"rate_limit_exceeded"}}"#, "throttled"),
        (429, r#"{"error":{"message":"m","type":"","code":"slow_down"}}"#, "throttled"),
        (
            429,
            r#"{"error":{"message":"Rate limit reached on input-images per min: Limit 5, Used 5, Requested 1.","type":"input-images","code":"rate_limit_exceeded"}}"#,
            "throttled",
        ),
        (
            429,
            r#"{"error":{"message":"Rate limit reached on input-images per min: Limit 5, Requested 10.","type":"input-images","code":"rate_limit_exceeded"}}"#,
            "bad request",
        ),
        (429, r#"{"error":{"message":"m","code":429}}"#, "throttled"),
        (429, "<html>slow down</html>", "throttled"),
        (429, "", "throttled"),
        (409, r#"{"error":{"message":"m","code":null}}"#, "unavailable"),
        (500, r#"{"error":{"message":"m","type":"server_error","code":null}}"#, "unavailable"),
        (503, r#"{"error":{"message":"m","type":"server_error","code":null}}"#, "unavailable"),
        (504, r#"{"error":{"message":"m","type":"server_error","code":"504"}}"#, "unavailable"),
    ]);
}

#[test]
fn gemini() {
    assert_kinds(&[
        (400, r#"{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}"#, "bad request"),
        (
            400,
            r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}"#,
            "account refused",
        ),
        (
            400,
            r#"[{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}]"#,
            "account refused",
        ),
        (
            404,
            r#"{"error":{"code":404,"message":"models/x is not found for API version v1beta, or is not supported for generateContent.","status":"NOT_FOUND"}}"#,
            "account refused",
        ),
        (
            429,
            r#"{"error":{"code":429,"message":"Resource has been exhausted.","status":"RESOURCE_EXHAUSTED"}}"#,
            "throttled",
        ),
        (
            429,
            r#"{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"GenerateRequestsPerMinutePerProjectPerModel"}]}]}}"#,
            "throttled",
        ),
        (
            429,
            r#"{"error":{"code":429,"message":"You exceeded your current quota.","status":"RESOURCE_EXHAUSTED","details":[{"violations":[{"quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}]}}"#,
            "account refused",
        ),
        (
            429,
            r#"{"error":{"code":429,"message":"Quota exceeded for metric: x, limit: 0, model: y","status":"RESOURCE_EXHAUSTED"}}"#,
            "account refused",
        ),
        (
            503,
            r#"{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}"#,
            "unavailable",
        ),
        (500, r#"{"error":{"code":500,"message":"m","status":"INTERNAL"}}"#, "unavailable"),
        (504, r#"{"error":{"code":504,"message":"m","status":"DEADLINE_EXCEEDED"}}"#, "unavailable"),
        (200, r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#, "rejected"),
        (200, r#"{"candidates":[{"finishReason":"IMAGE_SAFETY","finishMessage":"m"}]}"#, "rejected"),
        (200, r#"{"candidates":[{"finishReason":"PROHIBITED_CONTENT"}]}"#, "rejected"),
        (200, r#"{"candidates":[{"finishReason":"IMAGE_PROHIBITED_CONTENT"}]}"#, "rejected"),
        (200, r#"{"candidates":[{"finishReason":"BLOCKLIST"}]}"#, "rejected"),
        (200, r#"{"candidates":[{"finishReason":"SPII"}]}"#, "rejected"),
        (200, r#"{"candidates":[{"finishReason":"RECITATION"}]}"#, "rejected"),
        (200, r#"{"candidates":[{"finishReason":"IMAGE_RECITATION"}]}"#, "rejected"),
        (200, r#"{"candidates":[{"finishReason":"NO_IMAGE"}]}"#, "0 images, 0 billed, says why"),
        (200, r#"{"candidates":[{"finishReason":"IMAGE_OTHER"}]}"#, "0 images, 0 billed, says why"),
        (200, r#"{"candidates":[{"finishReason":"OTHER"}]}"#, "0 images, 0 billed, says why"),
        (200, r#"{"candidates":[{"finishReason":"MAX_TOKENS"}]}"#, "0 images, 0 billed, says why"),
        (
            200,
            r#"{"candidates":[{"finishReason":"STOP","content":{"parts":[{"text":"Here you are."}]}}]}"#,
            "0 images, 0 billed, says why",
        ),
    ]);
}

#[test]
fn gateways_refuse_in_words_of_their_own() {
    assert_kinds(&[
        // Moderation, at any status.
        (
            400,
            r#"{"error":{"message":"m","type":"new_api_error","code":"sensitive_words_detected"}}"#,
            "rejected",
        ),
        (400, r#"{"error":{"message":"m","type":"upstream_error","code":"prompt_blocked"}}"#, "rejected"),
        (
            500,
            r#"{"error":{"message":"m","type":"new_api_error","code":"sensitive_words_detected"}}"#,
            "rejected",
        ),
        (400, r#"{"error":{"message":"m","code":"contentFilter"}}"#, "rejected"),
        (
            400,
            r#"{"error":{"message":"m","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"sexual":{"filtered":true}}}}}"#,
            "rejected",
        ),
        (
            400,
            r#"{"error":{"message":"m","code":"BadRequest","inner_error":{"code":"ResponsibleAIPolicyViolation"}}}"#,
            "rejected",
        ),
        (
            400,
            r#"{"error":{"message":"m","code":"BadRequest","innererror":{"content_filter_results":{"hate":{"filtered":true}}}}}"#,
            "rejected",
        ),
        (
            400,
            r#"{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT","details":[{"reason":"PROHIBITED_CONTENT"}]}}"#,
            "rejected",
        ),
        (
            400,
            r#"{"error":{"message":"litellm.ContentPolicyViolationError: litellm.BadRequestError: m","type":null,"param":null,"code":"400"}}"#,
            "rejected",
        ),
        (
            403,
            r#"{"error":{"code":403,"message":"Your input was flagged","metadata":{"reasons":["sexual"],"flagged_input":"a …","provider_name":"OpenAI"}}}"#,
            "rejected",
        ),
        (
            403,
            r#"{"error":{"code":403,"message":"m","metadata":{"reasons":["sexual"],"flagged_input":"a …"}}}"#,
            "rejected",
        ),
        (403, r#"{"error":{"message":"This is against our content policy."}}"#, "rejected"),
        (
            502,
            r#"{"error":{"code":502,"message":"Provider returned error","metadata":{"raw":"{\"error\":{\"message\":\"m\",\"code\":\"moderation_blocked\"}}"}}}"#,
            "rejected",
        ),
        (
            500,
            r#"{"error":{"message":"{\"error\":{\"code\":\"content_policy_violation\"}}","type":"upstream_error","code":null}}"#,
            "rejected",
        ),
        (
            500,
            r#"{"error":{"message":"Your request was rejected as a result of our safety system.","type":"server_error"}}"#,
            "rejected",
        ),
        (
            422,
            r#"{"detail":[{"loc":["body","prompt"],"msg":"The content was flagged","type":"content_policy_violation"}]}"#,
            "rejected",
        ),
        (451, r#"{"message":"Unavailable"}"#, "rejected"),
        (451, "Unavailable", "rejected"),
        (451, "<html>not in your country</html>", "account refused, by its status"),
        // The account.
        (
            402,
            r#"{"error":{"code":402,"message":"This request requires more credits."}}"#,
            "account refused, by its status",
        ),
        (402, r#"{"error":{"code":402,"message":"Insufficient credits. Add more."}}"#, "account refused"),
        (
            403,
            r#"{"error":{"message":"m","type":"new_api_error","code":"insufficient_user_quota"}}"#,
            "account refused",
        ),
        (
            403,
            r#"{"error":{"message":"m","type":"new_api_error","code":"pre_consume_token_quota_failed"}}"#,
            "account refused",
        ),
        (
            400,
            r#"{"error":{"message":"Budget has been exceeded! Current cost: 1","type":"budget_exceeded","param":null,"code":"400"}}"#,
            "account refused",
        ),
        (
            429,
            r#"{"error":{"message":"Budget has been exceeded! Current cost: 1","type":"budget_exceeded","param":null,"code":"429"}}"#,
            "account refused",
        ),
        (400, r#"{"error":{"message":"m","code":"model_not_found"}}"#, "account refused"),
        (500, r#"{"error":{"message":"m","code":"model_not_found"}}"#, "account refused"),
        (503, r#"{"error":{"message":"m","code":"model_not_found"}}"#, "account refused"),
        (
            503,
            r#"{"error":{"message":"No available channel for model x under group default","type":"new_api_error"}}"#,
            "account refused",
        ),
        (
            503,
            r#"{"error":{"message":"当前分组 default 下对于模型 x 无可用渠道","type":"new_api_error"}}"#,
            "account refused",
        ),
        (403, "<html>Access denied</html>", "account refused, by its status"),
        (404, "<html>not found, flagged</html>", "account refused, by its status"),
        (403, "insufficient balance", "account refused"),
        // Waiting.
        (403, r#"{"message":"API rate limit exceeded"}"#, "throttled"),
        (
            500,
            r#"{"error":{"message":"m","type":"upstream_error","code":"rate_limit_exceeded"}}"#,
            "throttled",
        ),
        // By the inner status.
        (500, r#"{"error":{"message":"m","code":403}}"#, "account refused, by its status"),
        (500, r#"{"error":{"message":"m","code":"402"}}"#, "account refused, by its status"),
        (500, r#"{"error":{"message":"m","code":429}}"#, "throttled"),
        (500, r#"{"code":429,"message":"m","data":null}"#, "throttled"),
        (500, r#"{"error":{"message":"m","code":400}}"#, "bad request"),
        (400, r#"{"error":{"message":"m","code":429}}"#, "throttled"),
        (429, r#"{"error":{"message":"m","code":500}}"#, "throttled"),
        // The provider's own failure, in each of its forms.
        (
            500,
            r#"{"error":{"message":"m","type":"new_api_error","code":"do_request_failed"}}"#,
            "unavailable",
        ),
        (500, r#"{"error":"text"}"#, "unavailable"),
        (503, r#"{"detail":"text"}"#, "unavailable"),
        (500, r#"{"detail":[{"msg":"text"}]}"#, "unavailable"),
        (500, r#"{"detail":{"message":"text"}}"#, "unavailable"),
        (500, r#"{"code":"InternalServiceError","message":"text","data":null}"#, "unavailable"),
        (502, r#"[{"error":{"message":"text"}}]"#, "unavailable"),
        (502, r#"{"errors":[{"message":"text"}]}"#, "unavailable"),
        (502, r#"{"type":"about:blank","title":"Bad Gateway","status":502,"detail":"text"}"#, "unavailable"),
        (500, r#"{"code":500,"msg":"text"}"#, "unavailable"),
        (529, r#"{"type":"error","error":{"type":"overloaded_error","message":"text"}}"#, "unavailable"),
        // A gateway that got tired of waiting.
        (
            408,
            r#"{"error":{"message":"litellm.Timeout: APITimeoutError - Request timed out.","type":null,"param":null,"code":"408"}}"#,
            "ambiguous, may run",
        ),
        (
            504,
            r#"{"error":{"message":"litellm.Timeout","type":null,"param":null,"code":"504"}}"#,
            "ambiguous, may run",
        ),
        (504, r#"{"message":"Endpoint request timed out"}"#, "ambiguous, may run"),
        (
            504,
            r#"{"error":{"message":"m","type":"new_api_error","code":"do_request_failed"}}"#,
            "ambiguous, may run",
        ),
        (524, r#"{"error":{"message":"m","code":500}}"#, "ambiguous, may run"),
        // Not this API's business.
        (
            422,
            r#"{"detail":[{"loc":["body","size"],"msg":"Input should be a string","type":"string_type"}]}"#,
            "bad request",
        ),
        (301, "", "bad request"),
        (405, r#"{"detail":"Method Not Allowed"}"#, "bad request"),
    ]);
}

#[test]
fn pages_of_somebody_on_the_way() {
    assert_kinds(&[
        (200, "<!doctype html><html>one-api</html>", "web page"),
        (200, "\n <html>flagged</html>", "web page"),
        (200, "", "unreadable"),
        (200, "ok", "unreadable"),
        (500, "<html>oops</html>", "ambiguous"),
        (502, "<html>bad gateway</html>", "ambiguous"),
        (503, "", "ambiguous"),
        (503, "{}", "ambiguous"),
        (520, "<html>unknown</html>", "ambiguous"),
        (409, "<html>conflict</html>", "ambiguous"),
        (500, "Internal Server Error", "ambiguous"),
        (408, "", "ambiguous, may run"),
        (504, "<html>timeout</html>", "ambiguous, may run"),
        (524, "<html>a timeout occurred</html>", "ambiguous, may run"),
        // No connection to the origin came about.
        (521, "<html>down</html>", "unavailable"),
        (522, "<html>connection timed out</html>", "unavailable"),
        (523, "error code: 523", "unavailable"),
        (525, "<html>handshake</html>", "unavailable"),
        (526, "<html>certificate</html>", "unavailable"),
        (530, "error code: 1033", "unavailable"),
    ]);
}

#[test]
fn errors_inside_a_200() {
    assert_kinds(&[
        (200, r#"{"error":{"code":429,"message":"m"}}"#, "throttled"),
        (200, r#"{"error":{"code":402,"message":"m"}}"#, "account refused, by its status"),
        (200, r#"{"error":{"code":403,"message":"m"}}"#, "account refused, by its status"),
        (200, r#"{"error":{"code":502,"message":"m"}}"#, "unavailable"),
        (200, r#"{"error":{"code":504,"message":"m"}}"#, "ambiguous, may run"),
        (200, r#"{"error":{"code":"400","message":"m"}}"#, "bad request"),
        (200, r#"[{"error":{"code":429,"message":"m"}}]"#, "throttled"),
        (200, r#"{"error":{"type":"insufficient_quota","code":null}}"#, "account refused"),
        (200, r#"{"error":{"type":"server_error","code":null}}"#, "unavailable"),
        (200, r#"{"error":{"type":"image_generation_user_error","code":"moderation_blocked"}}"#, "rejected"),
        (200, r#"{"error":"rate limit exceeded"}"#, "throttled"),
        (200, r#"{"error":"something"}"#, "unreadable"),
        (200, r#"{"code":"InternalServiceError","message":"m","data":null}"#, "unavailable"),
        (200, r#"{"code":401,"msg":"You do not have access permissions"}"#, "account refused, by its status"),
        (200, r#"{"code":50411,"message":"m","data":null}"#, "unreadable"),
        (200, r#"{"success":false,"message":"insufficient balance"}"#, "account refused"),
        (200, r#"{"data":[],"error":{"code":429,"message":"m"}}"#, "throttled"),
        // Beside an empty `data`, and in an entry: this is what became of the images.
        (200, r#"{"data":[],"error":{"message":"m","code":"some_filter"}}"#, "rejected"),
        (200, r#"{"data":[],"error":"not possible with this prompt"}"#, "rejected"),
        (
            200,
            r#"{"data":[{"error":{"code":"OutputImageSensitiveContentDetected","message":"m"}}]}"#,
            "rejected",
        ),
        (200, r#"{"data":[{"error":{"code":"whatever","message":"m"}},{}]}"#, "rejected"),
        (200, r#"{"data":[{"error":{"code":"InternalServiceError","message":"m"}}]}"#, "unavailable"),
        (200, r#"{"data":[{"url":"","respect_moderation":false}]}"#, "rejected"),
        (200, r#"{"data":[{"url":"https://x/placeholder.png","respect_moderation":false}]}"#, "rejected"),
        (
            200,
            r#"{"data":[{"content_filter_results":{"sexual":{"filtered":true,"severity":"high"}}}]}"#,
            "rejected",
        ),
        (200, r#"{"data":[{"raiFilteredReason":"blocked"}]}"#, "rejected"),
    ]);
}

#[test]
fn jobs_of_an_asynchronous_api() {
    assert_kinds(&[
        (200, r#"{"code":200,"data":[{"status":"submitted","task_id":"t"}]}"#, "job"),
        (200, r#"{"data":[{"status":"submitted","task_id":"t"}]}"#, "job"),
        (200, r#"{"task_id":"t","status":"pending"}"#, "job"),
        (200, r#"{"id":"t","object":"generation.task"}"#, "job"),
        (
            200,
            r#"{"id":"t","object":"image.generation.task","status":"pending","progress":0,"error":null}"#,
            "job",
        ),
        (200, r#"{"code":200,"msg":"success","data":{"taskId":"t"}}"#, "job"),
        (200, r#"{"code":0,"message":"SUCCEED","data":{"task_id":"t","task_status":"submitted"}}"#, "job"),
        (200, r#"{"output":{"task_status":"PENDING","task_id":"t"},"request_id":"r"}"#, "job"),
        (
            202,
            r#"{"request_id":"r","status":"IN_QUEUE","status_url":"https://x/s","queue_position":3}"#,
            "job",
        ),
        (201, r#"{"id":"t","status":"starting","output":null,"error":null,"urls":{}}"#, "job"),
        (200, r#"{"id":"t","polling_url":"https://x/p"}"#, "job"),
        // Images are images, whatever else stands beside them.
        (
            200,
            r#"{"data":[{"url":"https://x/1","task_id":"t"}],"id":"t","status":"succeeded"}"#,
            "1 images, 1 billed",
        ),
        (200, r#"{"data":[],"request_id":"r"}"#, "0 images, 0 billed"),
    ]);
}

#[test]
fn images_in_every_form() {
    let png = "iVBORw0KGgo=";
    let cases = [
        (
            r#"{"created":1,"data":[{"url":"https://x/1"},{"b64_json":"PNG"}],"usage":{"total_tokens":1},"size":"1x1","metadata":{}}"#,
            "2 images, 2 billed",
        ),
        (
            r#"{"data":[{"url":"https://x/1","revised_prompt":"p","error":null}],"error":null}"#,
            "1 images, 1 billed",
        ),
        (r#"{"data":[{"url":"data:image/png;base64,PNG"}]}"#, "1 images, 1 billed"),
        (r#"{"data":[{"b64_json":"data:image/png;base64,PNG"}]}"#, "1 images, 1 billed"),
        (r#"{"data":[{"b64_json":"data:image/png;base64,PNG","url":"https://x/1"}]}"#, "1 images, 1 billed"),
        (r#"{"data":[{"b64_json":"<omitted>","url":"https://x/1"}]}"#, "1 images, 1 billed"),
        (r#"{"data":[{"b64_json":"","url":"https://x/1"}]}"#, "1 images, 1 billed"),
        (r#"{"data":[{"b64_json":"https://x/1"}]}"#, "1 images, 1 billed"),
        (
            r#"{"data":[{"url":{"url":"https://x/1"}},{"image_url":{"url":"https://x/2"}}]}"#,
            "2 images, 2 billed",
        ),
        (r#"{"data":["https://x/1","PNG"]}"#, "2 images, 2 billed"),
        (r#"{"data":{"url":"https://x/1"}}"#, "1 images, 1 billed"),
        (r#"{"images":[{"url":"https://x/1"}]}"#, "1 images, 1 billed"),
        (r#"{"data":[{"b64_json":"iVBO\nRw0KGgo"}]}"#, "1 images, 1 billed"),
        ("{\"data\":[{\"b64_json\":\"iVBO\nRw0KGgo\"}]}", "1 images, 1 billed"),
        ("\u{feff}{\"data\":[{\"url\":\"https://x/1\"}]}", "1 images, 1 billed"),
        (
            r#"{"data":[{"url":"https://x/1","revised_prompt":"a \\ud83d beach \ud83d"}]}"#,
            "1 images, 1 billed",
        ),
        (r#"{"data":[{"url":"https:\/\/x\/1","revised_prompt":"\u0000"}]}"#, "1 images, 1 billed"),
        (
            r#"{"candidates":[{"content":{"parts":[{"text":"t"},{"inlineData":{"mimeType":"image/png","data":"PNG"}}]},"finishReason":"STOP"}]}"#,
            "1 images, 1 billed",
        ),
        (
            r#"{"candidates":[{"content":{"parts":[{"inline_data":{"data":"PNG"},"thought":true},{"inline_data":{"data":"PNG"}}]}}]}"#,
            "1 images, 1 billed",
        ),
        (
            r#"{"choices":[{"message":{"content":"","images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,PNG"}}]}}]}"#,
            "1 images, 1 billed",
        ),
        (
            r#"{"choices":[{"message":{"content":"Here: ![a](https://x/1) and ![b](data:image/png;base64,PNG) ![c](nowhere)"}}]}"#,
            "2 images, 2 billed",
        ),
        // The same image in two places is one.
        (r#"{"data":[{"url":"https://x/1"}],"images":[{"url":"https://x/1"}]}"#, "1 images, 1 billed"),
        (
            r#"{"choices":[{"message":{"content":"![](https://x/1)","images":[{"image_url":{"url":"https://x/1"}}]}}]}"#,
            "1 images, 1 billed",
        ),
        // More than asked for are billed, and left.
        (
            r#"{"data":[{"url":"https://x/1"},{"url":"https://x/2"},{"url":"https://x/3"}]}"#,
            "2 images, 3 billed",
        ),
        // One odd entry costs no other; it is billed, as far as images were asked for.
        (r#"{"data":[null,{"url":"https://x/2"}]}"#, "1 images, 2 billed, says why"),
        (
            r#"{"data":[{"url":{"a":1}},{"url":"https://x/2"},{"url":7},{"b64_json":[]}]}"#,
            "1 images, 2 billed, says why",
        ),
        (r#"{"data":[{"url":"ftp://x/1"},{"url":"https://x/2"}]}"#, "1 images, 2 billed, says why"),
        (r#"{"data":[{"url":"https://x/\u0000"},{"url":"https://x/2"}]}"#, "1 images, 2 billed, says why"),
        (r#"{"data":[{"url":"none"},{"url":"https://x/2"}]}"#, "1 images, 2 billed, says why"),
        // What says that it was rejected isn't billed.
        (
            r#"{"data":[{"error":{"code":"c","message":"m"}},{"url":"https://x/2"}]}"#,
            "1 images, 1 billed, says why",
        ),
        (
            r#"{"data":[{"url":"https://x/2","error":{"message":"m"}},{"respect_moderation":false}]}"#,
            "1 images, 1 billed, says why",
        ),
        // No image, perhaps billed.
        (r#"{"data":[]}"#, "0 images, 0 billed"),
        (r#"{"data":[],"error":null,"usage":{}}"#, "0 images, 0 billed"),
        (
            r#"{"choices":[{"message":{"content":"I can't."},"finish_reason":"stop"}]}"#,
            "0 images, 0 billed, says why",
        ),
        (r#"{"choices":[{"message":{"content":""},"finish_reason":"content_filter"}]}"#, "rejected"),
        // Nothing that can be read.
        (r#"{"data":[{}]}"#, "unreadable"),
        (r#"{"data":[null]}"#, "unreadable"),
        (r#"{"data":[{"revised_prompt":"p"}]}"#, "unreadable"),
        (r#"{"data":[{"url":"/files/1.png"},{"b64_json":"%%%"}]}"#, "unreadable"),
        (r#"{"data":"a text"}"#, "unreadable"),
        (r#"{"created":1}"#, "unreadable"),
        (r#"{"data":[{"url":"https://x/1"#, "unreadable"),
        ("null", "unreadable"),
        ("[]", "unreadable"),
    ];
    let cases: Vec<(String, &str)> =
        cases.into_iter().map(|(body, expected)| (body.replace("PNG", png), expected)).collect();
    let cases: Vec<(u16, &str, &str)> =
        cases.iter().map(|(body, expected)| (200, body.as_str(), *expected)).collect();
    assert_kinds(&cases);
}

#[test]
fn an_image_is_taken_from_where_it_is_best() {
    let images = |body: &str| {
        let Ok(Read::Images { images, .. }) = read(200, body) else { panic!("{body}") };
        let text = |image| match image {
            Payload::Url(url) => url,
            Payload::Bytes(bytes) => format!("{} bytes", bytes.len()),
        };
        images.into_iter().map(text).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(images(r#"{"data":[{"b64_json":"iVBORw0KGgo=","url":"https://x/1"}]}"#), "8 bytes");
    assert_eq!(images(r#"{"data":[{"b64_json":"null","url":"https://x/1"}]}"#), "https://x/1");
    assert_eq!(
        images(r#"{"data":[{"b64_json":"b25l"}]}"#),
        "3 bytes",
        "the transfer says what is wrong with it"
    );
}

#[test]
fn nothing_that_goes_on_is_long_or_has_control_characters() {
    let long = "x".repeat(10_000);
    let bodies = [
        (
            400,
            format!(
                r#"{{"error":{{"message":"a\u0000b\n{long}","code":"c\u0000{long}","param":"{long}"}}}}"#
            ),
        ),
        (200, format!(r#"{{"data":[{{"error":{{"message":"a\u0000{long}"}}}}]}}"#)),
        (200, format!(r#"{{"data":[{{"\u0000{long}":1,"url":"{long}"}}]}}"#)),
        (200, format!(r#"{{"data":[{{"url":"https://x/1"}},{{"error":"a\u0000{long}"}}]}}"#)),
        (500, format!("a\0b{long}")),
    ];
    for (status, body) in bodies {
        let text = match read(status, &body) {
            Ok(Read::Images { left_out, .. }) => left_out.unwrap(),
            Ok(Read::Rejected(message)) => message,
            Err(error) => error.to_string(),
        };
        assert!(text.chars().count() < 700, "{text}");
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}

#[test]
fn an_unreadable_answer_is_described_and_not_quoted() {
    let says = |body: &str| read(200, body).unwrap_err().to_string();
    let unreadable = says(r#"{"data":[{"url":"a secret","revised_prompt":"a secret"},null]}"#);
    assert!(
        unreadable.ends_with("none of 2 entries holds an image: url: 8 bytes of text that are no URL; null"),
        "{unreadable}"
    );
    let other = says(r#"{"created":1,"a secret":2}"#);
    assert!(other.ends_with("no images, but an object of 2 fields (created)"), "{other}");
    let cut = says(r#"{"data":[{"url":"a secret"#);
    assert!(cut.ends_with("a text that is no JSON (25 bytes)"), "{cut}");
}

#[test]
fn a_wrong_base_url_is_named_with_one_to_try() {
    let page = read(200, "<html>").unwrap_err().to_string();
    assert!(page.contains("is https://gateway.example/api; try https://gateway.example/api/v1"), "{page}");
    assert_eq!(
        super::answer::other_base_url("https://u:p@x/v1beta/"),
        "provider.base_url is https://x/v1beta; the API is somewhere else"
    );
}

#[test]
fn waits_stand_in_headers_details_and_words() {
    let wait = |header: Option<u64>, body: &str| {
        let reply = Reply {
            status: 429,
            wait: header.map(std::time::Duration::from_secs),
            is_html: false,
            location: None,
            body: Bytes::from(body.to_owned()),
        };
        match reply.read(1, &words(), BASE_URL) {
            Err(Error::Throttled { retry_after, .. }) => retry_after.map(|wait| wait.as_millis()),
            other => panic!("{other:?}"),
        }
    };
    let google = r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"Please retry in 37.5s.","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"37s"}]}}"#;
    assert_eq!(wait(Some(5), google), Some(5_000));
    assert_eq!(wait(None, google), Some(37_000));
    assert_eq!(wait(None, r#"{"error":{"message":"Please try again in 467ms."}}"#), Some(467));
    assert_eq!(
        wait(None, r#"{"detail":"Request was throttled. Your rate limit resets in ~30s."}"#),
        Some(30_000)
    );
    assert_eq!(wait(None, r#"{"error":{"message":"Slow down.","retry_after":2.5}}"#), Some(2_500));
    assert_eq!(wait(None, r#"{"error":{"message":"Slow down."}}"#), None);
}

#[test]
fn an_operator_adds_words_and_takes_some_away() {
    let body = r#"{"error":{"message":"Not with this picture, please","code":"moderation_blocked_by_us"}}"#;
    let judged = |changes: Words| {
        let words = words().amended_by(changes);
        let body = Bytes::from(body);
        let reply = Reply { status: 400, wait: None, is_html: false, location: None, body };
        matches!(reply.read(1, &words, BASE_URL), Ok(Read::Rejected(_)))
    };
    let rejected = |words: &[&str]| Kinds {
        rejected: words.iter().map(|word| (*word).to_owned()).collect(),
        ..Kinds::default()
    };
    assert!(!judged(Words::default()), "a code is compared as a whole");
    assert!(judged(Words { codes: rejected(&["Moderation_Blocked_By_Us"]), ..Words::default() }));
    assert!(judged(Words { messages: rejected(&["not with this PICTURE"]), ..Words::default() }));
    assert!(words().codes.rejected.contains(&"content_filter".to_owned()));
    let fewer = words().amended_by(Words { codes: rejected(&["-CONTENT_filter"]), ..Words::default() });
    assert_eq!(fewer.codes.rejected.len() + 1, words().codes.rejected.len());
    assert_eq!(words().amended_by(words()), words(), "nothing is there twice");
}

#[test]
fn overload_is_what_the_preset_says() {
    let answers = [
        (529, r#"{"type":"error","error":{"type":"overloaded_error","message":"text"}}"#),
        (529, r#"{"error":{"message":"text"}}"#),
        (503, r#"{"error":{"message":"The engine is currently overloaded, please try again later"}}"#),
        (503, r#"{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}"#),
    ];
    for (overloaded, kind) in [(Overloaded::Throttled, "throttled"), (Overloaded::Unavailable, "unavailable")]
    {
        for (status, body) in answers {
            let words = words().with_overloaded_as(overloaded);
            let reply = Reply { status, wait: None, is_html: false, location: None, body: Bytes::from(body) };
            let read = match reply.read(1, &words, BASE_URL) {
                Err(Error::Throttled { .. }) => "throttled",
                Err(Error::Unavailable { .. }) => "unavailable",
                _ => "something else",
            };
            assert_eq!(read, kind, "{status} {body}");
        }
    }
    for (preset, overloaded) in
        [(Preset::Openai, Overloaded::Throttled), (Preset::Aggregator, Overloaded::Unavailable)]
    {
        assert_eq!(Settings { preset, ..settings() }.overloaded(), overloaded, "{preset:?}");
    }
}
