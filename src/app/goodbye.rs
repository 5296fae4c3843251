//! The goodbye, in this order: nobody comes in any more, sockets are told and close spread over `server.drain` while requests
//! end, jobs stop, the other nodes are told, background tasks end, the log is written, the database closes.

use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::App;
use crate::realtime::{Cause, Target};

/// Between two looks whether somebody is left.
const STEP: Duration = Duration::from_millis(50);

/// Waits as long as a stop may take.
pub(super) async fn deadline(app: &App) -> io::Result<()> {
    let limit = app.services.config().server.stop_timeout;
    sleep(limit).await;
    let left = (app.services.manager().len(), app.sockets.len(), app.tasks.len());
    tracing::warn!(clients = left.0, sockets = left.1, tasks = left.2, "server.stop_timeout is over; leaving at once");
    Err(io::Error::new(io::ErrorKind::TimedOut, "stopping took longer than server.stop_timeout"))
}

/// After the stop: sends everyone away as a drain does, the last one within `server.drain`.
pub(super) async fn send_away(app: &App) {
    app.stop.cancelled().await;
    app.services.drain_to_stop();
    let end = Instant::now() + app.services.config().server.drain;
    while app.services.drain_progress().remaining > 0 && Instant::now() < end {
        sleep(STEP.min(end.saturating_duration_since(Instant::now()))).await;
    }
    app.services.send_everyone_away();
}

/// When requests and sockets are done: ends everything else. A socket whose handshake had begun before the stop is closed
/// here.
pub(super) async fn close_house(app: &App) {
    let manager = app.services.manager();
    app.sockets.close();
    while !app.sockets.is_empty() {
        app.services.send_everyone_away();
        tokio::select! { () = app.sockets.wait() => {}, () = sleep(STEP) => {} }
    }
    // Nobody comes back within the grace.
    manager.select(&Target::Everyone, true).iter().for_each(|leaving| manager.dismiss(leaving, Cause::Shutdown));
    app.board.stop().await;
    if let Some(cluster) = app.services.cluster() {
        cluster.members.goodbye().await;
    }
    app.ending.cancel();
    app.tasks.close();
    app.tasks.wait().await;
    app.services.writer().stop().await;
    app.services.store().close().await;
    tracing::info!("stopped");
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;

    use bytes::Bytes;
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio_util::task::TaskTracker;
    use uuid::Uuid;

    use super::*;
    use crate::app::testing;
    use crate::auth::{Permissions, Rights, UserKey};
    use crate::realtime::{ConnectionLimits, NewClient, Wire, run};
    use crate::services::Services;

    fn somebody(services: &Services) -> NewClient {
        let rights = Rights { username: "bob".into(), roles: [].into(), permissions: Permissions::default() };
        let now = services.clock().now();
        NewClient {
            user: UserKey::new("", "7"),
            session: Uuid::now_v7(),
            app: "".into(),
            rights: Arc::new(rights),
            scopes: Permissions::all(),
            avatar: "".into(),
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            agent: Arc::default(),
            logged_in_at: now,
            expires_at: now + chrono::TimeDelta::days(1),
            answer: Bytes::new(),
        }
    }

    /// A socket beyond its handshake; the peer's end.
    async fn connected(app: &App) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let stream = Arc::new(Wire::plain(listener.accept().await.unwrap().0));
        let services = app.services.clone();
        let registration = services.manager().register(somebody(&services), stream.clone()).unwrap();
        let registry = app.registry.clone();
        app.sockets.spawn(async move {
            let limits = ConnectionLimits { max_frame: 1024, frames_per_second: 10, frame_burst: 10 };
            run(registration, stream, Vec::new(), registry, limits).await;
        });
        peer
    }

    async fn hear(peer: &mut TcpStream) -> Vec<u8> {
        let mut heard = Vec::new();
        peer.read_to_end(&mut heard).await.unwrap();
        heard
    }

    struct Left {
        services: Services,
        tasks: TaskTracker,
        sockets: TaskTracker,
    }

    fn serve(app: App, listener: TcpListener) -> (Left, impl Future<Output = io::Result<()>>) {
        app.stop.cancel();
        let left = Left { services: app.services.clone(), tasks: app.tasks.clone(), sockets: app.sockets.clone() };
        (left, app.serve(listener))
    }

    #[tokio::test]
    async fn everyone_is_told_and_sent_away_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let app = testing::app_in(folder.path()).await;
        let (mut first, mut second) = (connected(&app).await, connected(&app).await);
        let (left, serving) = serve(app, App::listen("server.listen", "127.0.0.1:0", 64).await.unwrap());
        let (served, first, second) = tokio::join!(serving, hear(&mut first), hear(&mut second));
        served.unwrap();
        for heard in [first, second] {
            let at = |part: &[u8]| heard.windows(part.len()).position(|window| window == part);
            let (told, closed) =
                (at(b"server/draining").unwrap(), at(br#"{"reason":"restart","retryAfterMs":"#).unwrap());
            assert!(told < closed);
            assert_eq!(heard[closed - 2..closed], 4000u16.to_be_bytes());
        }
        assert!(left.services.is_draining() && left.services.manager().is_empty());
        assert!(left.tasks.is_empty() && left.sockets.is_empty());
        assert!(left.services.store().ping().await.is_err(), "the database is closed");
    }

    #[tokio::test]
    async fn a_stop_ends_when_its_time_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let app = testing::app_in_with(folder.path(), |config| config.server.stop_timeout = STEP).await;
        app.tasks.spawn(std::future::pending::<()>());
        let (_left, serving) = serve(app, App::listen("server.listen", "127.0.0.1:0", 64).await.unwrap());
        assert_eq!(serving.await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
