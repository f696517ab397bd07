//! Overlay of the environment, by `DARKROOM_<SECTION>__<KEY>` and by the names that other programs
//! use for the same.

use figment::Figment;
use figment::value::{Dict, Tag, Value};

use super::Error;

/// Names that other programs use, in ascending order of precedence, and their keys.
const USUAL: [(&str, &str); 17] = [
    ("DATABASE_URL", "database.url"),
    ("TEMPORAL_ADDRESS", "temporal.address"),
    ("TEMPORAL_NAMESPACE", "temporal.namespace"),
    ("TEMPORAL_API_KEY", "temporal.api_key"),
    ("TEMPORAL_TLS", "temporal.tls"),
    ("TEMPORAL_TLS_SERVER_CA_CERT_PATH", "temporal.tls_ca_path"),
    ("TEMPORAL_TLS_CLIENT_CERT_PATH", "temporal.tls_cert_path"),
    ("TEMPORAL_TLS_CLIENT_KEY_PATH", "temporal.tls_key_path"),
    ("TEMPORAL_TLS_SERVER_NAME", "temporal.tls_server_name"),
    ("AWS_ENDPOINT_URL", "storage.endpoint_url"),
    ("AWS_ENDPOINT_URL_S3", "storage.endpoint_url"),
    ("AWS_DEFAULT_REGION", "storage.region"),
    ("AWS_REGION", "storage.region"),
    ("AWS_ACCESS_KEY_ID", "storage.access_key_id"),
    ("AWS_SECRET_ACCESS_KEY", "storage.secret_access_key"),
    ("AWS_SESSION_TOKEN", "storage.session_token"),
    ("RUST_LOG", "worker.log"),
];

/// Settings from the environment, in ascending order of precedence.
pub(super) struct Environment(Vec<(Variable, Value)>);

struct Variable {
    name: String,
    key: String,
}

impl Environment {
    /// Takes each setting in the type that its key has in `under`. So a text of digits stays text.
    ///
    /// A `DARKROOM_…` without `__` names no key of a section. Such a variable belongs to the
    /// scripts or to an orchestrator. A variable that was meant as a setting is an error.
    pub(super) fn new(
        under: &Figment,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Error> {
        let known = keys(under);
        let mut settings = Vec::new();
        for (name, text) in variables {
            let usual = USUAL.iter().position(|(usual, _)| *usual == name);
            let (precedence, key) = match (usual, name.strip_prefix("DARKROOM_").map(str::to_lowercase)) {
                (Some(position), _) => (position, USUAL[position].1.to_owned()),
                (None, Some(path)) if path.contains("__") => (USUAL.len(), path.replace("__", ".")),
                (None, Some(path)) => match known.iter().find(|key| key.replace('.', "_") == path) {
                    Some(key) => return Err(misspelt(&name, key)),
                    None => continue,
                },
                (None, None) => continue,
            };
            let value = typed(under.find_value(&key).ok(), &text)
                .map_err(|wanted| Error(format!("{key}: expected {wanted}, found `{text}` in {name}")))?;
            settings.push((precedence, Variable { name, key }, value));
        }
        settings.sort_by(|(a, x, _), (b, y, _)| (a, &x.name).cmp(&(b, &y.name)));
        Ok(Self(settings.into_iter().map(|(_, variable, value)| (variable, value)).collect()))
    }

    pub(super) fn merge_into(self, mut figment: Figment) -> Figment {
        for (variable, value) in self.0 {
            figment = figment.merge(One { variable, value });
        }
        figment
    }
}

/// Returns every key of the configuration, such as `plans.pro.images`.
fn keys(configuration: &Figment) -> Vec<String> {
    let all: Dict = configuration.extract().unwrap_or_default();
    super::leaves(&all).into_iter().map(|(key, _)| key).collect()
}

/// Returns the error of a variable that was meant as a setting. Ignoring the variable would
/// silently leave the default in force.
fn misspelt(name: &str, key: &str) -> Error {
    let meant = key.to_uppercase().replace('.', "__");
    Error(format!(
        "{name}: the variable of {key} is DARKROOM_{meant}, with two underscores after the section"
    ))
}

/// Converts `text` into a value of the type that `default` has.
fn typed(default: Option<Value>, text: &str) -> Result<Value, &'static str> {
    let trimmed = text.trim();
    Ok(match default {
        Some(Value::String(..)) => Value::from(text),
        Some(Value::Bool(..)) => match trimmed {
            "true" | "1" => Value::from(true),
            "false" | "0" | "" => Value::from(false),
            _ => return Err("true or false"),
        },
        Some(Value::Num(_, number)) if number.to_f64().is_some() && number.to_i128().is_none() => {
            Value::from(trimmed.parse::<f64>().map_err(|_| "a number")?)
        }
        Some(Value::Num(..)) => Value::from(trimmed.parse::<i64>().map_err(|_| "a whole number")?),
        Some(Value::Array(..)) => {
            let entries = trimmed.split(',').map(str::trim).filter(|entry| !entry.is_empty());
            Value::from(entries.map(Value::from).collect::<Vec<Value>>())
        }
        // The key is not among the defaults. Either the provider has such an option, or the key
        // will be refused by name.
        Some(Value::Char(..) | Value::Empty(..) | Value::Dict(..)) | None => {
            trimmed.parse::<i64>().map(Value::from).unwrap_or_else(|_| Value::from(text))
        }
    })
}

/// One setting, with its variable's name for error messages.
struct One {
    variable: Variable,
    value: Value,
}

impl figment::Provider for One {
    fn metadata(&self) -> figment::Metadata {
        figment::Metadata::named(format!("the environment variable {}", self.variable.name))
    }

    fn data(&self) -> Result<figment::value::Map<figment::Profile, Dict>, figment::Error> {
        let mut path: Vec<&str> = self.variable.key.split('.').collect();
        let mut value = self.value.clone();
        while let Some(key) = path.pop() {
            value = Value::Dict(Tag::Default, Dict::from([(key.to_owned(), value)]));
        }
        let dict = value.into_dict().unwrap_or_default();
        Ok(figment::Profile::Default.collect(dict))
    }
}
