//! One HTTP call, within bounds: no redirects, no proxies, a time, a size, and only to where it may go.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, RequestBuilder, Response, Url};

use super::guard::{Forbidden, GuardedNames, allowed};
use crate::config;

/// Makes calls to other systems.
pub struct Sender {
    /// For https; the other is for http, which only reaches `outgoing.allow`.
    secure: Client,
    plain: Client,
    allow: Arc<[IpNet]>,
    max_answer: usize,
}

/// What the other system said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, at most `outgoing.max_answer` bytes.
    pub body: Vec<u8>,
}

/// Why there is no answer. No URL is in it: one may hold a secret.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The URL is none, or leads where calls may not go.
    #[error("the address may not be called: it is private, or http without TLS, and not in outgoing.allow")]
    Forbidden,
    /// Nothing came in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The answer was larger than anybody needs.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// Not connected, or not kept so.
    #[error("{0}")]
    Failed(String),
}

/// The HTTP client wants one provider of cryptography for the process; it is always this one, whoever comes first.
pub fn install_crypto() {
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
}

impl Sender {
    /// As `[outgoing]` says. The error names the key.
    pub fn new(settings: &config::Outgoing) -> Result<Sender, String> {
        install_crypto();
        let allow: Arc<[IpNet]> = settings.allow.clone().into();
        let client = |tls| {
            let names = GuardedNames { allow: allow.clone(), tls };
            let mut builder = Client::builder()
                .https_only(tls)
                .dns_resolver(Arc::new(names))
                .redirect(Policy::none())
                .no_proxy()
                .timeout(settings.timeout)
                // A connection is not kept for long: its address was checked when it was made.
                .pool_idle_timeout(Duration::from_secs(10))
                .user_agent(concat!("rollcall/", env!("CARGO_PKG_VERSION")));
            for certificate in certificates(settings)? {
                builder = builder.add_root_certificate(certificate);
            }
            builder.build().map_err(|error| format!("outgoing: calls cannot be made: {error}."))
        };
        Ok(Sender {
            secure: client(true)?,
            plain: client(false)?,
            allow: allow.clone(),
            max_answer: settings.max_answer,
        })
    }

    /// Asks with a token as a Bearer.
    pub async fn ask(&self, url: &str, token: &str, limit: Duration) -> Result<Answer, SendError> {
        let request = self.request(url, |client, url| client.get(url))?;
        self.send(request.bearer_auth(token).header("accept", "application/json").timeout(limit), limit).await
    }

    /// Sends JSON with these headers.
    pub async fn post(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        body: String,
        limit: Duration,
    ) -> Result<Answer, SendError> {
        let mut request = self.request(url, |client, url| client.post(url))?;
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        self.send(request.header("content-type", "application/json").body(body).timeout(limit), limit).await
    }

    fn request(
        &self,
        url: &str,
        make: impl FnOnce(&Client, Url) -> RequestBuilder,
    ) -> Result<RequestBuilder, SendError> {
        let url = Url::parse(url).map_err(|_| SendError::Forbidden)?;
        let tls = url.scheme() == "https";
        // An address in the URL itself is never resolved, so the resolver does not see it.
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        if host.parse::<IpAddr>().is_ok_and(|ip| !allowed(ip, &self.allow, tls)) {
            return Err(SendError::Forbidden);
        }
        Ok(make(if tls { &self.secure } else { &self.plain }, url))
    }

    async fn send(&self, request: RequestBuilder, limit: Duration) -> Result<Answer, SendError> {
        let told = |error: reqwest::Error| {
            if error.is_timeout() { SendError::Timeout(limit) } else { failure(&error) }
        };
        let response = request.send().await.map_err(told)?;
        let status = response.status().as_u16();
        Ok(Answer { status, body: self.body(response).await?.map_err(told)? })
    }

    async fn body(&self, mut response: Response) -> Result<Result<Vec<u8>, reqwest::Error>, SendError> {
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(None) => return Ok(Ok(body)),
                Ok(Some(chunk)) if body.len() + chunk.len() <= self.max_answer => body.extend_from_slice(&chunk),
                Ok(Some(_)) => return Err(SendError::TooLarge(self.max_answer)),
                Err(error) => return Ok(Err(error)),
            }
        }
    }
}

/// The innermost cause says most, and holds no URL.
fn failure(error: &reqwest::Error) -> SendError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    if cause.is::<Forbidden>() {
        return SendError::Forbidden;
    }
    SendError::Failed(if error.is_connect() { format!("not connected: {cause}") } else { cause.to_string() })
}

fn certificates(settings: &config::Outgoing) -> Result<Vec<Certificate>, String> {
    let path = &settings.ca_file;
    if path.as_os_str().is_empty() {
        return Ok(Vec::new());
    }
    let pem = std::fs::read(path)
        .map_err(|error| format!("outgoing.ca_file: {} cannot be read: {error}.", path.display()))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(format!("outgoing.ca_file: {} holds no certificate in PEM.", path.display())),
    }
}
