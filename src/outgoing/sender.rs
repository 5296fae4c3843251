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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_util::task::TaskTracker;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);
    const KIB_64: usize = 64 * 1024;

    fn sender(allow: &[&str]) -> Sender {
        let allow = allow.iter().map(|net| net.parse().unwrap()).collect();
        let settings = config::Outgoing { allow, ..config::Config::defaults().outgoing };
        assert_eq!((settings.timeout, settings.max_answer), (Duration::from_secs(10), KIB_64));
        Sender::new(&settings).unwrap()
    }

    /// Says the same to everybody and keeps the line open; its address, and how many came.
    async fn somebody(answer: String) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, calls) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let (tasks, counted) = (TaskTracker::new(), calls.clone());
        tasks.spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                open.push(stream);
            }
        });
        (format!("http://{address}/"), calls)
    }

    fn with_body(bytes: usize) -> String {
        format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n{}", "x".repeat(bytes))
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_nobody_goes_there() {
        let (elsewhere, calls) = somebody(with_body(2)).await;
        let moved =
            format!("HTTP/1.1 307 Moved\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let (url, _) = somebody(moved).await;
        let sender = sender(&["127.0.0.0/8"]);
        assert_eq!(sender.ask(&url, "t", PATIENCE).await.unwrap().status, 307);
        assert_eq!(sender.post(&url, &[], "{}".to_owned(), PATIENCE).await.unwrap().status, 307);
        assert_eq!(calls.load(Ordering::SeqCst), 0);
        assert_eq!(sender.ask(&elsewhere, "t", PATIENCE).await.unwrap().status, 200, "it was there all the time");
    }

    #[tokio::test]
    async fn an_answer_has_64_kib_at_most_whether_it_says_so_or_not() {
        let sender = sender(&["127.0.0.0/8"]);
        let (fits, _) = somebody(with_body(KIB_64)).await;
        assert_eq!(sender.ask(&fits, "t", PATIENCE).await.unwrap().body.len(), KIB_64);
        let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(KIB_64 + 1));
        for larger in [with_body(KIB_64 + 1), endless] {
            let (url, _) = somebody(larger).await;
            let refused = sender.ask(&url, "t", PATIENCE).await.unwrap_err();
            assert!(matches!(refused, SendError::TooLarge(KIB_64)), "{refused}");
        }
    }

    #[tokio::test]
    async fn who_says_nothing_or_does_not_finish_is_given_up_in_time() {
        let sender = sender(&["127.0.0.0/8"]);
        for said in ["", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"] {
            let (url, _) = somebody(said.to_owned()).await;
            let refused = sender.ask(&url, "t", Duration::from_millis(200)).await.unwrap_err();
            assert!(matches!(refused, SendError::Timeout(_)), "{said:?}: {refused}");
        }
    }

    #[tokio::test]
    async fn a_name_is_resolved_once_and_what_it_leads_to_must_be_allowed() {
        let (url, calls) = somebody(with_body(2)).await;
        let named = url.replace("127.0.0.1", "localhost");
        assert_eq!(sender(&["127.0.0.0/8", "::1/128"]).ask(&named, "t", PATIENCE).await.unwrap().status, 200);
        for (url, allow) in [(&named, &["10.0.0.0/8"][..]), (&url, &[]), (&url.replace("http:", "https:"), &[])] {
            let refused = sender(allow).ask(url, "t", PATIENCE).await.unwrap_err();
            assert!(matches!(refused, SendError::Forbidden), "{url}: {refused}");
        }
        assert_eq!(calls.load(Ordering::SeqCst), 1, "nobody else connected");
    }
}
