//! Settings of the connection to Temporal.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use temporalio_client::{ClientOptions, ClientTlsOptions, ConnectionOptions, GrpcCompression, TlsOptions};
use url::Url;

use crate::{Error, retry};

/// Section `[temporal]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Address of Temporal's frontend, as `host:port`.
    pub address: String,
    /// Namespace that the workers serve.
    pub namespace: String,
    /// API key, as Temporal Cloud issues them. Empty means no key. A key turns TLS on.
    pub api_key: SecretString,
    /// True turns TLS on. An API key, a client's certificate or a CA turns TLS on by itself.
    pub tls: bool,
    /// PEM file of the server's CA. Empty means the system's CAs.
    pub tls_ca_path: PathBuf,
    /// PEM file of the client's certificate. Empty means no certificate.
    pub tls_cert_path: PathBuf,
    /// PEM file of the client's key, which belongs to the certificate.
    pub tls_key_path: PathBuf,
    /// Name against which the server's certificate is verified. Empty means the host of the
    /// address.
    pub tls_server_name: String,
}

impl Settings {
    /// Returns settings for a server on this machine, as `temporal server start-dev` starts it.
    pub fn local() -> Self {
        Self {
            address: "127.0.0.1:7233".into(),
            namespace: "default".into(),
            api_key: SecretString::default(),
            tls: false,
            tls_ca_path: PathBuf::new(),
            tls_cert_path: PathBuf::new(),
            tls_key_path: PathBuf::new(),
            tls_server_name: String::new(),
        }
    }

    /// Opens a new connection. Calls over the connection are retried for a minute while Temporal
    /// can't serve them. A worker's own polls and reports follow the SDK's rules.
    pub async fn connect(&self, identity: &str) -> Result<temporalio_client::Client, Error> {
        let failed = |why: String| {
            Error::Temporal(format!(
                "no connection to {} (namespace {}): {why}",
                self.address, self.namespace
            ))
        };
        let api_key = self.api_key.expose_secret();
        let file =
            |path: &Path| std::fs::read(path).map_err(|error| failed(format!("{}: {error}", path.display())));
        let given = |path: &Path| !path.as_os_str().is_empty();

        let tls = self.tls || !api_key.is_empty() || given(&self.tls_cert_path) || given(&self.tls_ca_path);
        let scheme = if tls { "https" } else { "http" };
        let url = Url::parse(&format!("{scheme}://{}", self.address))
            .map_err(|error| failed(format!("not a host:port: {error}")))?;
        let tls = if tls {
            let mut options = TlsOptions::default();
            if given(&self.tls_ca_path) {
                options.server_root_ca_cert = Some(file(&self.tls_ca_path)?);
            }
            if !self.tls_server_name.is_empty() {
                options.domain = Some(self.tls_server_name.clone());
            }
            if given(&self.tls_cert_path) {
                let (client_cert, client_private_key) =
                    (file(&self.tls_cert_path)?, file(&self.tls_key_path)?);
                options.client_tls_options = Some(
                    ClientTlsOptions::builder()
                        .client_cert(client_cert)
                        .client_private_key(client_private_key)
                        .build(),
                );
            }
            Some(options)
        } else {
            None
        };
        let options = ConnectionOptions::new(url)
            .identity(format!("{identity}@{}", std::process::id()))
            .connect_timeout(Duration::from_secs(10))
            .retry_options(retry::options())
            // Compression is worth its CPU only for a distant server, of which TLS is the sign.
            .grpc_compression(if tls.is_some() { GrpcCompression::Gzip } else { GrpcCompression::None })
            .maybe_tls_options(tls)
            .maybe_api_key((!api_key.is_empty()).then(|| api_key.to_owned()))
            .build();
        let connection = retry::connect(options).await.map_err(|error| failed(error.to_string()))?;
        temporalio_client::Client::new(connection, ClientOptions::new(&self.namespace).build())
            .map_err(|error| failed(error.to_string()))
    }
}
