//! Debian's nginx in front of a server, with the file we tell people to use.

use std::path::Path;
use std::process::Stdio;

use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, Command};

use super::eventually;

/// A running nginx; gone with the test.
pub(crate) struct Nginx {
    // First, so that the script hears of the end and stops nginx itself.
    _held: ChildStdin,
    _script: Child,
}

impl Nginx {
    /// On this port, before this server; `how` is `stripped`, `whole` or `root`. The certificate is in `folder`.
    pub(crate) async fn start(port: u16, upstream: std::net::SocketAddr, how: &str, folder: &Path) -> Nginx {
        let mut script = Command::new("tests/nginx.sh");
        script.args([format!("127.0.0.1:{port}"), upstream.to_string(), how.to_owned()]).arg(folder);
        let script = script.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::piped());
        let mut script = script.spawn().unwrap();
        let held = script.stdin.take().unwrap();
        eventually("nginx listens", || async { TcpStream::connect(("127.0.0.1", port)).await.is_ok() }).await;
        Nginx { _held: held, _script: script }
    }
}

/// A port that was free a moment ago: an address that is told before anybody listens there.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
