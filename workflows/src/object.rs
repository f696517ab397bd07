//! Reads input as a JSON object, and as nothing else.
//!
//! Serde's derived structs also accept an array that has the fields in the order of declaration. A
//! list that somebody sends by mistake would be read as a task and paid for.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::types::GenerateImagesInput;

/// Reads a `T` from the text of one JSON object. Text after the object is an error.
pub(crate) fn from_slice<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let Object(value) = Object::deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// A `T` that was read from a JSON object, never from an array.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields(PhantomData)).map(Object)
    }
}

struct Fields<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields))
    }
}

impl<'de> Deserialize<'de> for GenerateImagesInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Object(Request(input)) = Object::deserialize(deserializer)?;
        Ok(input)
    }
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Request(#[serde(with = "RequestFields")] GenerateImagesInput);

/// The fields of [`GenerateImagesInput`]. An unknown field is an error, because a misspelt one
/// would otherwise be ignored silently.
#[derive(Deserialize)]
#[serde(remote = "GenerateImagesInput", deny_unknown_fields)]
struct RequestFields {
    task_id: String,
    user_id: String,
    plan: String,
    #[serde(default)]
    prompt: Option<String>,
    #[serde(default)]
    prompts: Vec<String>,
    photo: String,
}
