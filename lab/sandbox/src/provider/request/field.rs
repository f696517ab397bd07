//! A request's fields, with the API's own words for what is wrong with one.

use serde_json::{Map, Value};

use super::super::error::ApiError;

/// Fields by name. In a form all values are text, so numbers may be.
#[derive(Debug)]
pub(crate) struct Fields {
    values: Map<String, Value>,
    form: bool,
}

impl Fields {
    pub(crate) fn of_json(values: Map<String, Value>) -> Fields {
        Fields { values, form: false }
    }

    pub(crate) fn of_form(values: Map<String, Value>) -> Fields {
        Fields { values, form: true }
    }

    /// Fails for the first field that isn't among the known ones.
    pub(crate) fn refuse_unknown(&self, known: &[&str]) -> Result<(), ApiError> {
        match self.values.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(ApiError::unknown_parameter(name)),
            None => Ok(()),
        }
    }

    /// A value, unless it is absent or null.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.values.remove(name).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong_type(name, "a string")),
        }
    }

    pub(crate) fn integer(&mut self, name: &str) -> Result<Option<i64>, ApiError> {
        let form = self.form;
        let Some(value) = self.take(name) else { return Ok(None) };
        let text = value.as_str().filter(|_| form);
        let number = text.map_or_else(|| value.as_i64(), |text| text.parse().ok());
        number.map(Some).ok_or_else(|| wrong_type(name, "an integer"))
    }

    pub(crate) fn one_of(&mut self, name: &str, allowed: &[&str]) -> Result<Option<String>, ApiError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        if allowed.contains(&text.as_str()) {
            return Ok(Some(text));
        }
        let values: Vec<String> = allowed.iter().map(|value| format!("'{value}'")).collect();
        let message = format!("Invalid value: '{text}'. Supported values are: {}.", values.join(", "));
        Err(ApiError::parameter(name, "invalid_value", message))
    }
}

pub(crate) fn wrong_type(name: &str, expected: &str) -> ApiError {
    let message = format!("Invalid type for '{name}': expected {expected}, but got something else instead.");
    ApiError::parameter(name, "invalid_type", message)
}

/// An integer between these two, both included.
pub(crate) fn within(name: &str, number: i64, least: u32, most: u32) -> Result<u32, ApiError> {
    if number < i64::from(least) {
        let message = format!(
            "Invalid '{name}': integer below minimum value. Expected a value >= {least}, but got {number} instead."
        );
        return Err(ApiError::parameter(name, "integer_below_min_value", message));
    }
    u32::try_from(number).ok().filter(|number| *number <= most).ok_or_else(|| {
        let message =
            format!("Invalid '{name}': integer above maximum value. Expected a value <= {most}, but got {number} instead.");
        ApiError::parameter(name, "integer_above_max_value", message)
    })
}
