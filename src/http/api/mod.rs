//! REST under `/api/v1`: one file per resource with its paths, requests, responses and documentation.

mod api_keys;
mod auth;
mod jobs;
mod kick;
mod logs;
mod nodes;
mod online;
mod push;
mod roles;
mod server;
mod sessions;
mod users;

use poem_openapi::OpenApiService;

pub(super) use push::{check_event, publish};

/// Why a kick was refused, in a sentence.
pub(super) fn refusal_detail(refused: crate::services::KickRefused) -> String {
    kick::refused(refused).detail().to_owned()
}

/// Every API there is.
pub(super) type Apis = (
    auth::AuthApi,
    sessions::Apis,
    online::OnlineApi,
    online::LookupApi,
    kick::KickApi,
    push::PushApi,
    users::Apis,
    roles::RolesApi,
    api_keys::ApiKeysApi,
    jobs::JobsApi,
    nodes::NodesApi,
    logs::Apis,
    server::ServerApi,
);

/// The service, for requests and for its document.
/// Every resource; `base` is the path under which people see us, as `/`.
pub(super) fn service(base: &str) -> OpenApiService<Apis, ()> {
    let apis = (
        auth::AuthApi,
        sessions::APIS,
        online::OnlineApi,
        online::LookupApi,
        kick::KickApi,
        push::PushApi,
        users::APIS,
        roles::RolesApi,
        api_keys::ApiKeysApi,
        jobs::JobsApi,
        nodes::NodesApi,
        logs::APIS,
        server::ServerApi,
    );
    OpenApiService::new(apis, "Rollcall", env!("CARGO_PKG_VERSION"))
        .server(format!("{base}api/v1"))
        .description("Who is online, how the server is doing, and a way to tell them.")
}

/// An act that has nothing to say.
#[derive(poem_openapi::ApiResponse)]
pub(super) enum Done {
    /// It is done.
    #[oai(status = 204)]
    Done,
}

#[derive(poem_openapi::Tags)]
pub(super) enum Tag {
    /// Logins, tokens, tickets.
    Auth,
    /// Logins as rows: list and end them.
    Sessions,
    /// Who is online, and the door.
    Online,
    /// Telling them.
    Push,
    /// Accounts.
    Users,
    /// What roles allow.
    Roles,
    /// Keys of other programs.
    #[oai(rename = "API keys")]
    ApiKeys,
    /// Scheduled jobs.
    Jobs,
    /// Logins that were tried, and who did what: filtered, whole and as files.
    Logs,
    /// What is kept of one person.
    Subjects,
    /// The server itself.
    Server,
}
