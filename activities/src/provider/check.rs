//! Checks an account without a paid call, and names the facts that only a paid call could show.

use std::fmt::{self, Display, Formatter};

use serde_json::Value;

use super::answer::{Reply, other_base_url, parse};
use super::complaint::Complaint;
use super::verdict::{Verdict, Voice, judge};
use super::{Error, Provider, Settings};
use workflows::failure::one_line;

/// Result for an account that may work, as far as the list of models shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// The provider accepts the key, and the list names the model.
    ModelListed,
    /// The provider accepts the key, and the list doesn't name the model.
    ModelNotListed,
    /// The API answers, and doesn't let this key list models. Holds the API's words.
    MayNotList(String),
    /// The API answers, but not with a list of models. Holds a short description of the answer.
    NoList(String),
}

impl Display for Checked {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let unknown = "can't be told without a paid call";
        match self {
            Self::ModelListed => {
                write!(f, "the key is accepted and the model is listed; whether there is credit {unknown}")
            }
            Self::ModelNotListed => write!(
                f,
                "the key is accepted, but the list of models doesn't name this one; whether it makes images {unknown}"
            ),
            Self::MayNotList(said) => {
                write!(f, "this key may not list models ({said}); whether it may make images {unknown}")
            }
            Self::NoList(found) => write!(
                f,
                "it answers, but not with a list of models ({found}); whether the base URL, the key and the model are right {unknown}"
            ),
        }
    }
}

/// Reason why an account can't work.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CheckFailed {
    /// The API refuses the account, is unavailable, or can't be reached.
    #[error(transparent)]
    Provider(#[from] Error),
    /// Something else answers in the API's place.
    #[error("no API answers there, but {found}; {hint}")]
    NotTheApi {
        /// Description of the answer, without quoting it.
        found: String,
        /// Base URL that was asked, and one to try.
        hint: String,
    },
}

impl Provider {
    /// Checks that the API answers at the base URL, accepts the key and lists the model. The check
    /// costs nothing, because it only asks for the list of models.
    pub async fn check(&self) -> Result<Checked, CheckFailed> {
        understand(&self.models().await?, self.settings())
    }
}

fn understand(reply: &Reply, settings: &Settings) -> Result<Checked, CheckFailed> {
    let Some(answer) = parse(&reply.body) else {
        return Err(without_json(reply, other_base_url(&settings.base_url)));
    };
    let status = reply.status;
    let is_success = (200..300).contains(&status);
    let said = if is_success { Complaint::of_success(&answer) } else { Complaint::of_error(&answer) };
    let verdict = said.as_ref().and_then(|said| judge(status, None, Voice::Api, said, &settings.words));
    let in_short = one_line(&format!("HTTP {status} {}", said.unwrap_or_default().in_short()));
    match verdict {
        Some(Verdict::Failed(Error::AccountRefused { certain: false, .. })) if status == 403 => {
            Ok(Checked::MayNotList(in_short))
        }
        Some(Verdict::Failed(Error::AccountRefused { certain: false, .. })) if status == 404 => {
            Ok(Checked::NoList(in_short))
        }
        Some(Verdict::Failed(error @ (Error::AccountRefused { .. } | Error::Unavailable { .. }))) => {
            Err(error.into())
        }
        None if matches!(status, 401..=403) => {
            Err(Error::AccountRefused { message: in_short, certain: false }.into())
        }
        _ if status >= 500 => Err(Error::Unavailable { retry_after: None, message: in_short }.into()),
        Some(_) => Ok(Checked::NoList(in_short)),
        None => Ok(listed(&answer, &settings.model).unwrap_or(Checked::NoList(in_short))),
    }
}

/// Looks for the model in a list: OpenAI's `data` with `id`, or Google's `models` with `name`.
/// Returns `None` if the answer has no list.
fn listed(answer: &Value, model: &str) -> Option<Checked> {
    let lists = [&answer["data"], &answer["models"], answer];
    let models = lists.into_iter().find_map(Value::as_array)?;
    let is_it = |entry: &Value| {
        let names = [&entry["id"], &entry["name"], entry];
        names
            .into_iter()
            .filter_map(Value::as_str)
            .any(|name| name.strip_prefix("models/").unwrap_or(name) == model)
    };
    Some(if models.iter().any(is_it) { Checked::ModelListed } else { Checked::ModelNotListed })
}

/// Judges an answer that is no JSON and therefore not the API's. The statuses 401 and 5xx still
/// tell something about the account or the provider.
fn without_json(reply: &Reply, hint: String) -> CheckFailed {
    let found = format!("{} with HTTP {}", reply.without_json(), reply.status);
    match (reply.status, &reply.location) {
        (401, _) => Error::AccountRefused { message: found, certain: false }.into(),
        (500.., _) => Error::Unavailable { retry_after: None, message: found }.into(),
        (300..=399, Some(to)) => CheckFailed::NotTheApi { found: format!("a redirect to {to}"), hint },
        _ => CheckFailed::NotTheApi { found, hint },
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::tests::settings;
    use super::*;

    #[test]
    fn a_check_says_what_it_found_and_what_it_could_not_know() {
        let listed = r#"{"object":"list","data":[{"id":"other"},{"id":"the-model"}]}"#;
        let cases = [
            (
                200,
                listed,
                "ok: the key is accepted and the model is listed; whether there is credit can't be told",
            ),
            (
                200,
                r#"{"models":[{"name":"models/the-model"}]}"#,
                "ok: the key is accepted and the model is listed",
            ),
            (
                200,
                r#"{"data":[{"id":"other"}]}"#,
                "ok: the key is accepted, but the list of models doesn't name this one",
            ),
            (200, r#"{"hello":1}"#, "ok: it answers, but not with a list of models"),
            (
                200,
                "<!doctype html><html>",
                "no API answers there, but a web page (21 bytes) with HTTP 200; provider.base_url is http://gateway/api; try http://gateway/api/v1",
            ),
            (200, "ok", "no API answers there, but a text that is no JSON"),
            (200, r#"{"error":{"code":401,"message":"bad key"}}"#, "the provider refuses the account"),
            (301, "", "no API answers there, but a redirect to https://elsewhere/"),
            (
                401,
                r#"{"error":{"message":"m","code":"invalid_api_key"}}"#,
                "the provider refuses the account",
            ),
            (401, r#"{"error":{"message":"m"}}"#, "the provider refuses the account"),
            (401, "", "the provider refuses the account"),
            (
                403,
                r#"{"error":{"message":"You have insufficient permissions: api.model.read"}}"#,
                "ok: this key may not list models (HTTP 403 You have insufficient permissions: api.model.read); whether it may make images can't be told without a paid call",
            ),
            (
                403,
                r#"{"error":{"code":"insufficient_user_quota","message":"m"}}"#,
                "the provider refuses the account",
            ),
            (403, "<html>blocked</html>", "no API answers there, but a web page (20 bytes) with HTTP 403"),
            (
                404,
                r#"{"error":{"message":"Invalid URL (GET /models)"}}"#,
                "ok: it answers, but not with a list of models (HTTP 404 Invalid URL (GET /models)); whether the base URL, the key and the model are right can't be told",
            ),
            (
                404,
                "404 page not found",
                "no API answers there, but a text that is no JSON (18 bytes) with HTTP 404",
            ),
            (404, "<html>", "no API answers there, but a web page"),
            (
                429,
                r#"{"error":{"message":"slow down"}}"#,
                "ok: it answers, but not with a list of models (HTTP 429 slow down)",
            ),
            (502, "<html>", "the provider is unavailable"),
            (504, r#"{"error":{"message":"m"}}"#, "the provider is unavailable"),
        ];
        for (status, body, expected) in cases {
            let location = (status == 301).then(|| "https://elsewhere/".to_owned());
            let body = Bytes::from(body);
            let reply = Reply { status, wait: None, is_html: false, location, body };
            let text = match understand(&reply, &settings()) {
                Ok(found) => format!("ok: {found}"),
                Err(error) => error.to_string(),
            };
            assert!(text.starts_with(expected), "{reply:?}: {text}");
        }
    }
}
