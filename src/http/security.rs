//! Who may call what. A permission is a type: an endpoint that takes [`MayKick`] is entered only by those who may kick, and
//! the check comes before the body is read, so 401 and 403 come before 400 and 422. Its word goes into the OpenAPI document.

use std::net::IpAddr;
use std::sync::Arc;

use poem::Request;
use poem::http::{HeaderMap, header};
use poem_openapi::SecurityScheme;
use poem_openapi::auth::Bearer;

use super::error::Problem;
use super::key_rate::KeyRate;
use super::place::own_origin;
use crate::auth::{Identity, Permission, client_ip, looks_like_api_key, origin_allowed};
use crate::realtime::Agent;
use crate::services::{Denied, KeyDenied, Origin, Services};

/// Bytes of a `User-Agent` that are looked at.
const MAX_USER_AGENT: usize = 512;

macro_rules! callers {
    ($($(#[doc = $doc:literal])* $name:ident as $word:tt = $needs:expr;)*) => {$(
        $(#[doc = $doc])*
        #[derive(SecurityScheme)]
        #[oai(rename = $word, ty = "bearer", checker = "Self::check")]
        pub(crate) struct $name(pub(super) Identity);

        impl AsRef<Identity> for $name {
            fn as_ref(&self) -> &Identity {
                &self.0
            }
        }

        impl $name {
            async fn check(request: &Request, bearer: Bearer) -> poem::Result<Identity> {
                identify(request, &bearer.token, $needs).await
            }
        }
    )*};
}

callers! {
    /// Anybody who is logged in, also who needs a new password first: for what they must be able to do then.
    Unchanged as "login" = Needs::Account;
    /// Anybody who is logged in: for what is about oneself.
    Caller as "login" = Needs::Login;
    /// Anybody at all, an API key too: for what looks at permissions itself.
    AnyCaller as "any" = Needs::Nothing;
    /// May see who is online.
    MayReadOnline as "online:read" = Needs::Permission(Permission::OnlineRead);
    /// May end clients, sessions and logins.
    MayKick as "online:kick" = Needs::Permission(Permission::OnlineKick);
    /// May push events.
    MayPush as "push:send" = Needs::Permission(Permission::PushSend);
    /// May see accounts.
    MayReadUsers as "user:read" = Needs::Permission(Permission::UserRead);
    /// May change accounts.
    MayWriteUsers as "user:write" = Needs::Permission(Permission::UserWrite);
    /// May make and change roles.
    MayWriteRoles as "role:write" = Needs::Permission(Permission::RoleWrite);
    /// May read the audit log.
    MayReadAudit as "audit:read" = Needs::Permission(Permission::AuditRead);
    /// May make and revoke API keys.
    MayWriteKeys as "key:write" = Needs::Permission(Permission::KeyWrite);
    /// May end sessions of others.
    MayEndSessions as "session:write" = Needs::Permission(Permission::SessionWrite);
    /// May see how the server is doing.
    MayMonitor as "monitor:read" = Needs::Permission(Permission::MonitorRead);
    /// May change how the server runs.
    MayWriteSettings as "settings:write" = Needs::Permission(Permission::SettingsWrite);
    /// May run jobs.
    MayRunJobs as "job:run" = Needs::Permission(Permission::JobRun);
}

/// What a caller must have beside a good credential.
enum Needs {
    Nothing,
    Account,
    Login,
    Permission(Permission),
}

async fn identify(request: &Request, token: &str, needs: Needs) -> poem::Result<Identity> {
    let services = request.data::<Services>().expect("the outermost layer gives every request the hall");
    let identity = caller_behind(request, services, token).await.map_err(|denied| {
        // The session of a disabled account is over; only a login is told that the account is disabled.
        let over = Denied::Revoked { kind: None, reason: String::new() };
        Problem::from(if matches!(denied, Denied::Disabled) { over } else { denied })
    })?;
    match needs {
        Needs::Account | Needs::Login if identity.user.is_api_key() => Err(not_for_keys().into()),
        Needs::Account => Ok(identity),
        _ if identity.must_change_password => Err(Problem::from(Denied::PasswordChange).into()),
        Needs::Permission(permission) if !identity.may(permission) => Err(forbidden(permission).into()),
        _ => Ok(identity),
    }
}

/// The caller behind an access token or an API key.
async fn caller_behind(request: &Request, services: &Services, token: &str) -> Result<Identity, Denied> {
    if looks_like_api_key(token) {
        let identified = services.identify_key(token, peer(request, services)).await;
        if let Some(rate) = request.data::<KeyRate>() {
            match &identified {
                Ok((_, spent)) | Err(Denied::Key(KeyDenied::TooFast(spent))) => rate.note(*spent),
                Err(_) => {}
            }
        }
        return identified.map(|(identity, _)| identity);
    }
    services.identify(token).await
}

/// 403: an API key has no login, password or sessions of its own.
pub(crate) fn not_for_keys() -> Problem {
    let detail = "This is about oneself, and an API key is nobody; log in for it.";
    Problem::new(poem::http::StatusCode::FORBIDDEN, "not_for_keys", detail)
}

/// 403: what is missing.
pub(crate) fn forbidden(permission: Permission) -> Problem {
    let detail = format!("This needs the permission {permission}.");
    Problem::new(poem::http::StatusCode::FORBIDDEN, "forbidden", detail)
}

/// The caller behind an `Authorization` header, for routes outside of the OpenAPI document.
pub(crate) async fn bearer(request: &Request, services: &Services) -> Result<Identity, Denied> {
    let token = header_token(request.headers()).ok_or(Denied::Missing)?;
    let identity = caller_behind(request, services, token).await?;
    if identity.must_change_password { Err(Denied::PasswordChange) } else { Ok(identity) }
}

/// The token of an `Authorization` header: `Bearer <jwt>`, or the bare token as HotGo sends it.
pub(crate) fn header_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim();
    let token = match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        Some(_) => return None,
        None => value,
    };
    (!token.is_empty()).then_some(token)
}

/// From where a request comes: its address as far as trusted proxies tell, its browser, its id.
pub(crate) fn origin(request: &Request, services: &Services) -> Origin {
    let user_agent = request.header(header::USER_AGENT).unwrap_or_default();
    let end = user_agent.floor_char_boundary(MAX_USER_AGENT);
    let user_agent = user_agent[..end].to_owned();
    // Ten thousand sockets have a handful of browsers.
    let agent = services.agents().get(&user_agent).unwrap_or_else(|| {
        let agent = Arc::new(agent(&user_agent));
        services.agents().put(user_agent.clone(), agent.clone());
        agent
    });
    Origin { ip: peer(request, services), agent, user_agent, request_id: request_id(request) }
}

/// The caller's address, as far as trusted proxies tell.
pub(super) fn peer(request: &Request, services: &Services) -> IpAddr {
    let peer = request.remote_addr().as_socket_addr().map_or(IpAddr::from([0, 0, 0, 0]), |address| address.ip());
    let forwarded: Vec<&str> =
        request.headers().get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok()).collect();
    let forwarded = (!forwarded.is_empty()).then(|| forwarded.join(","));
    client_ip(peer, forwarded.as_deref(), &services.config().server.trusted_proxies)
}

/// Whether a browser's page that sends this request may: our own, or one of `server.allowed_origins`.
pub(crate) fn page_allowed(request: &Request, services: &Services) -> bool {
    let origin = match request.headers().get(header::ORIGIN) {
        Some(origin) => Some(origin.to_str().unwrap_or("null")),
        None => None,
    };
    let (scheme, host) = own_origin(request, services);
    origin_allowed(origin, scheme, &host, &services.config().server.allowed_origins)
}

/// The id of a request, as in its log lines and problems.
#[derive(Clone)]
pub(crate) struct RequestId(pub(crate) String);

pub(crate) fn request_id(request: &Request) -> String {
    request.data::<RequestId>().map(|id| id.0.clone()).unwrap_or_default()
}

/// What a `User-Agent` tells, in HotGo's words: `Chrome/142`, `Windows 10`.
fn agent(user_agent: &str) -> Agent {
    let Some(parsed) = woothee::parser::Parser::new().parse(user_agent) else {
        return Agent { browser: product(user_agent), ..Agent::default() };
    };
    let known = |text: &str| if text == "UNKNOWN" { String::new() } else { text.to_owned() };
    let major = parsed.version.split('.').next().filter(|major| !major.is_empty() && *major != "UNKNOWN");
    let browser = match (known(parsed.name), major) {
        (name, Some(major)) if !name.is_empty() => format!("{name}/{major}"),
        (name, _) if !name.is_empty() => name,
        _ => product(user_agent),
    };
    Agent { browser, os: known(parsed.os), device: known(parsed.category) }
}

/// The first word of an agent that no list knows, as `curl/8`: better than nothing in a list of scripts.
fn product(user_agent: &str) -> String {
    let word = user_agent.split_whitespace().next().unwrap_or_default();
    let (name, version) = word.split_once('/').unwrap_or((word, ""));
    let major = version.split('.').next().unwrap_or_default();
    let name: String = name.chars().filter(|letter| !letter.is_control()).take(40).collect();
    if major.is_empty() { name } else { format!("{name}/{}", major.chars().take(10).collect::<String>()) }
}
