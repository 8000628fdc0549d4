//! What this side shows, and whom it believes.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

pub fn read(directory: &Path) -> Result<ServerConfig, String> {
    let file = |name: &str| {
        let path = directory.join(name);
        fs::read(&path).map_err(|error| format!("{}: {}", path.display(), error))
    };
    let authority = CertificateDer::from(file("authority")?);
    let chain = vec![CertificateDer::from(file("certificate")?), authority.clone()];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(file("key")?));
    let unusable = |error: &dyn std::fmt::Display| format!("{}: {}", directory.display(), error);
    let mut roots = RootCertStore::empty();
    roots.add(authority).map_err(|error| unusable(&error))?;
    let provider = Arc::new(default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| unusable(&error))?;
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| builder.with_client_cert_verifier(clients).with_single_cert(chain, key))
        .map_err(|error| unusable(&error))
}
