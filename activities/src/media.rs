//! Fetches and reads files: a client for users' and the provider's URLs, photos, and the formats of
//! images.

pub(crate) mod decode;
pub mod fetch;
pub(crate) mod image_file;
pub(crate) mod incoming;
pub(crate) mod photo;
