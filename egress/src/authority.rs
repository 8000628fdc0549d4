//! The authority that sandboxes with secret headers trust, and those that hosts are trusted by. It comes from the server, is never written anywhere here, and
//! issues a certificate for each host that a sandbox asks for, good for a few days.

use std::cell::RefCell;
use std::collections::HashMap;
use std::str::SplitAsciiWhitespace;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::string::PrintableString;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose,
};
use rustls::client::Resumption;
use rustls::crypto::{ring, CryptoProvider};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::hex;

const DAY: Duration = Duration::from_secs(86_400);
/// A clock may be behind by the first, and a connection go on as long as the second.
const VALID: (Duration, Duration) = (DAY, DAY.saturating_mul(3));
/// Issued anew after this.
const USED: Duration = DAY;
const MAX_KEPT: usize = 1024;

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Of all certificates that this process issues.
    key: KeyPair,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    kept: RefCell<HashMap<String, (Instant, CertificateDer<'static>)>>,
}

impl Authority {
    /// Of words in hexadecimal digits: its common name, its key's identifier and its key (PKCS #8), as its certificate has them, and the certificates by which hosts
    /// are trusted (DER).
    pub fn parse(words: &mut SplitAsciiWhitespace<'_>) -> Option<Authority> {
        let name = String::from_utf8(hex::bytes(words.next()?)?).ok()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        // In the same encoding, since some compare names byte by byte.
        let name = DnValue::PrintableString(PrintableString::try_from(name).ok()?);
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_identifier_method = KeyIdMethod::PreSpecified(hex::bytes(words.next()?)?);
        let key = PrivatePkcs8KeyDer::from(hex::bytes(words.next()?)?);
        let key = KeyPair::try_from(&PrivateKeyDer::Pkcs8(key)).ok()?;
        let mut roots = RootCertStore::empty();
        let trusted: Vec<CertificateDer<'static>> = words
            .map(|word| hex::bytes(word).map(CertificateDer::from))
            .collect::<Option<_>>()?;
        roots.add_parsable_certificates(trusted);
        Some(Authority {
            issuer: Issuer::new(params, key),
            key: KeyPair::generate().ok()?,
            roots: Arc::new(roots),
            provider: Arc::new(ring::default_provider()),
            kept: RefCell::default(),
        })
    }

    /// What a sandbox meets in the place of this host. @param protocol what both speak, where the sandbox has asked for that
    pub fn host(&self, name: &str, protocol: Option<&[u8]>) -> Option<Arc<ServerConfig>> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .ok()?
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate(name)?], key)
            .ok()?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.alpn_protocols = protocol.map(<[u8]>::to_vec).into_iter().collect();
        Some(Arc::new(config))
    }

    /// How the host itself is met: whoever has no certificate for its name is not it.
    pub fn client(&self, protocols: &[&[u8]]) -> Option<Arc<ClientConfig>> {
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .ok()?
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Some(Arc::new(config))
    }

    fn certificate(&self, name: &str) -> Option<CertificateDer<'static>> {
        let mut kept = self.kept.borrow_mut();
        if let Some((since, certificate)) = kept.get(name) {
            if since.elapsed() < USED {
                return Some(certificate.clone());
            }
        }
        let certificate = self.issue(name)?;
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(name.to_owned(), (Instant::now(), certificate.clone()));
        Some(certificate)
    }

    fn issue(&self, name: &str) -> Option<CertificateDer<'static>> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).ok()?;
        let now = SystemTime::now();
        params.not_before = OffsetDateTime::from(now - VALID.0);
        params.not_after = OffsetDateTime::from(now + VALID.1);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "skerry"); // a host's name may be longer than this may
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        Some(params.signed_by(&self.key, &self.issuer).ok()?.der().clone())
    }
}
