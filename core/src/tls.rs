//! TLS configurations: the gateway's own certificate towards clients, and what a server's certificate must satisfy.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, CommonState, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn invalid(what: &str, error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(format!("{what}: {error}"))
}

fn certificates(pem: &[u8], what: &str) -> PyResult<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| invalid(what, error))?;
    if found.is_empty() {
        return Err(invalid(what, "no certificate in it"));
    }
    Ok(found)
}

fn private_key(pem: &[u8]) -> PyResult<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| invalid("private key", error))
}

fn protocols(alpn: Vec<String>) -> Vec<Vec<u8>> {
    alpn.into_iter().map(String::into_bytes).collect()
}

fn root_store(certificates: &[CertificateDer<'static>], what: &str) -> PyResult<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.clone()).map_err(|error| invalid(what, error))?;
    }
    Ok(roots)
}

/// A certificate that is given must chain to these roots; none need be given.
fn client_verifier(pem: &[u8]) -> PyResult<Arc<dyn ClientCertVerifier>> {
    let what = "client roots";
    let roots = root_store(&certificates(pem, what)?, what)?;
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| invalid(what, error))
}

#[pyclass(frozen, module = "pgwitness._core")]
pub struct TlsServer {
    pub config: Arc<ServerConfig>,
}

#[pymethods]
impl TlsServer {
    #[new]
    #[pyo3(signature = (certificate_chain, private_key, alpn, client_roots=None))]
    fn new(
        certificate_chain: &[u8],
        private_key: &[u8],
        alpn: Vec<String>,
        client_roots: Option<&[u8]>,
    ) -> PyResult<Self> {
        let chain = certificates(certificate_chain, "certificate chain")?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid("TLS", error))?;
        let builder = match client_roots {
            Some(pem) => builder.with_client_cert_verifier(client_verifier(pem)?),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(chain, self::private_key(private_key)?)
            .map_err(|error| invalid("certificate and key", error))?;
        config.alpn_protocols = protocols(alpn);
        config.send_tls13_tickets = 0; // PostgreSQL's clients do not resume sessions
        Ok(TlsServer { config: Arc::new(config) })
    }
}

#[pyclass(frozen, module = "pgwitness._core")]
pub struct TlsClient {
    pub named: Arc<ClientConfig>,
    pub nameless: Arc<ClientConfig>,
}

#[pymethods]
impl TlsClient {
    #[new]
    #[pyo3(signature = (*, roots, certificate_chain=None, private_key=None, alpn=vec!["postgresql".into()]))]
    fn new(
        roots: Option<&[u8]>,
        certificate_chain: Option<&[u8]>,
        private_key: Option<&[u8]>,
        alpn: Vec<String>,
    ) -> PyResult<Self> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid("TLS", error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ChainVerifier::new(roots)?));
        let mut config = match (certificate_chain, private_key) {
            (Some(chain), Some(key)) => builder
                .with_client_auth_cert(certificates(chain, "client certificate")?, self::private_key(key)?)
                .map_err(|error| invalid("client certificate and key", error))?,
            (None, None) => builder.with_no_client_auth(),
            _ => {
                return Err(PyValueError::new_err(
                    "a client certificate needs its private key, and the reverse",
                ));
            }
        };
        config.alpn_protocols = protocols(alpn);
        config.resumption = Resumption::disabled();
        let mut nameless = config.clone();
        nameless.enable_sni = false;
        Ok(TlsClient { named: Arc::new(config), nameless: Arc::new(nameless) })
    }
}

/// libpq's `verify-ca` when there are roots, its `require` when there are none. Names are checked by the caller.
#[derive(Debug)]
struct ChainVerifier {
    roots: Option<RootCertStore>,
    /// Roots as given: a self-signed server certificate may be its own root, which webpki alone would refuse.
    given: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ChainVerifier {
    fn new(pem: Option<&[u8]>) -> PyResult<Self> {
        let Some(pem) = pem else {
            return Ok(ChainVerifier { roots: None, given: Vec::new(), provider: provider() });
        };
        let given = certificates(pem, "root certificates")?;
        let roots = root_store(&given, "root certificates")?;
        Ok(ChainVerifier { roots: Some(roots), given, provider: provider() })
    }
}

impl ServerCertVerifier for ChainVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(roots) = &self.roots else { return Ok(ServerCertVerified::assertion()) };
        let algorithms = self.provider.signature_verification_algorithms.all;
        let certificate = ParsedCertificate::try_from(end_entity)?;
        match verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms) {
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if self.given.iter().any(|root| root == end_entity) =>
            {
                Ok(ServerCertVerified::assertion())
            }
            result => result.map(|()| ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What was negotiated on a stream.
#[pyclass(frozen, module = "pgwitness._core")]
#[derive(Clone)]
pub struct TlsInfo {
    #[pyo3(get)]
    version: String,
    #[pyo3(get)]
    cipher: String,
    #[pyo3(get)]
    alpn: Option<String>,
    certificate: Option<Vec<u8>>,
}

#[pymethods]
impl TlsInfo {
    #[getter]
    fn peer_certificate<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.certificate.as_ref().map(|der| PyBytes::new(py, der))
    }
}

impl TlsInfo {
    pub fn of(state: &CommonState) -> Self {
        let version = state.protocol_version().and_then(|version| version.as_str().map(str::to_owned));
        let cipher =
            state.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str().map(str::to_owned));
        TlsInfo {
            version: version.map_or_else(String::new, |text| text.replace("TLSv1_", "TLSv1.")),
            cipher: cipher.map_or_else(String::new, |text| text.replacen("TLS13_", "TLS_", 1)),
            alpn: state.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
            certificate: state.peer_certificates().and_then(<[_]>::first).map(|der| der.to_vec()),
        }
    }
}
