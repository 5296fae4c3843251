//! Debian's nginx in front of a server, with the file we tell people to use.

use std::path::Path;
use std::process::Stdio;

use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, Command};

use super::eventually;

/// A running nginx; gone with the test.
pub(crate) struct Nginx {
    // First, so that the script hears of the end and stops nginx itself.
    _held: ChildStdin,
    _script: Child,
    _port: Port,
}

impl Nginx {
    /// On this port, before this server; `how` is `stripped`, `whole` or `root`. The certificate is in `folder`.
    pub(crate) async fn start(port: Port, upstream: std::net::SocketAddr, how: &str, folder: &Path) -> Nginx {
        let mut script = Command::new("tests/nginx.sh");
        script.args([format!("127.0.0.1:{}", port.number), upstream.to_string(), how.to_owned()]).arg(folder);
        let script = script.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::piped());
        let mut script = script.spawn().unwrap();
        let held = script.stdin.take().unwrap();
        eventually("nginx listens", || async { TcpStream::connect(("127.0.0.1", port.number)).await.is_ok() }).await;
        Nginx { _held: held, _script: script, _port: port }
    }
}

/// An address of this machine where nobody listens, told before anybody does. As long as it is held, only who shares ports
/// (`SO_REUSEPORT`, nginx' `reuseport`) can take it.
pub(crate) struct Port {
    pub(crate) number: u16,
    _held: Socket,
}

impl Port {
    pub(crate) fn reserve() -> Port {
        let held = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        held.set_reuse_port(true).unwrap();
        held.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let number = held.local_addr().unwrap().as_socket().unwrap().port();
        Port { number, _held: held }
    }
}
