//! `rollcall drain`: asks the server of these settings to send its clients elsewhere, as before a restart.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;

use super::serve::address_of;
use super::{Done, Failure, health, say, token};
use crate::auth::Permission;
use crate::config::Config;

pub(super) const HELP: &str = "\
The server of these settings says that it is not ready, refuses handshakes, and tells its clients one after the other to come back,
which is elsewhere. It stays so until it is restarted, or resumed on the page of nodes or with POST /api/v1/nodes/NAME/resume.

As a preStop hook: rollcall drain --wait --clients-per-second 500";

/// Between two looks at how far it is.
const PERIOD: Duration = Duration::from_secs(1);
/// How long the command may take.
const LIFE: Duration = Duration::from_secs(24 * 3600);

#[derive(clap::Args)]
pub(super) struct Drain {
    /// Return when the last client has left, and say how far it is meanwhile
    #[arg(long)]
    wait: bool,
    /// Clients sent elsewhere a second; without this all of them within server.drain
    #[arg(long, value_name = "N")]
    clients_per_second: Option<NonZeroU32>,
    /// Who asks; must have the permissions settings:write and monitor:read
    #[arg(long, value_name = "NAME", default_value = crate::app::ADMIN_NAME)]
    user: String,
}

#[derive(Deserialize)]
struct Nodes {
    list: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    name: String,
    #[serde(rename = "self")]
    own: bool,
    drain: Option<Progress>,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Progress {
    remaining: u64,
    eta_seconds: u64,
    moved_away: u64,
}

/// The server of these settings, and a token for it.
struct OwnNode {
    http: reqwest::Client,
    url: String,
    token: String,
}

pub(super) async fn run(config: &Config, drain: Drain) -> Done {
    let wish = token::Issue {
        user: drain.user,
        name: "rollcall drain".to_owned(),
        scopes: vec![Permission::SettingsWrite, Permission::MonitorRead],
        expires: LIFE,
    };
    let node = OwnNode {
        http: health::client()?,
        url: format!("{}/api/v1", address_of(config, &config.server.listen)),
        token: token::issue(config, &wish).await?,
    };
    let drained = node.drain(drain.clients_per_second, drain.wait).await;
    // The token has done what it was for; without an answer it ends by itself.
    let _ = node.call("POST", "auth/logout", None).await;
    drained
}

impl OwnNode {
    async fn drain(&self, per_second: Option<NonZeroU32>, wait: bool) -> Done {
        let name = self.own().await?.name;
        let wish = json!({ "clientsPerSecond": per_second });
        let wish = if per_second.is_some() { wish } else { json!({}) };
        let mut last: Progress = read(self.call("POST", &format!("nodes/{name}/drain"), Some(wish)).await?).await?;
        say(format_args!("{name} takes nobody in any more; {last}"));
        while wait && last.remaining > 0 {
            sleep(PERIOD).await;
            let Some(now) = self.own().await?.drain else {
                return Err(Failure::new(format!("{name} was resumed; {} clients stay.", last.remaining)));
            };
            if now != last {
                say(&now);
            }
            last = now;
        }
        Ok(())
    }

    async fn own(&self) -> Result<Node, Failure> {
        let nodes: Nodes = read(self.call("GET", "nodes", None).await?).await?;
        let own = nodes.list.into_iter().find(|node| node.own);
        own.ok_or_else(|| Failure::new(format!("{} does not say which node it is.", self.url)))
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<serde_json::Value>,
    ) -> Result<reqwest::Response, Failure> {
        let url = format!("{}/{path}", self.url);
        let method = method.parse().map_err(|_| Failure::new(format!("{method} is no method.")))?;
        let request = self.http.request(method, &url).bearer_auth(&self.token);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = request.send().await.map_err(|_| Failure::new(format!("Nobody answers at {url}.")))?;
        match answer.status() {
            status if status.is_success() => Ok(answer),
            status => Err(Failure::new(format!("{url} answers {status}."))),
        }
    }
}

async fn read<T: serde::de::DeserializeOwned>(answer: reqwest::Response) -> Result<T, Failure> {
    let url = answer.url().clone();
    answer.json().await.map_err(|_| Failure::new(format!("{url} does not answer as Rollcall does.")))
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.remaining {
            0 => write!(f, "nobody is left, {} sent elsewhere", self.moved_away),
            left => write!(f, "{left} left, {} sent elsewhere, about {} s to go", self.moved_away, self.eta_seconds),
        }
    }
}
