//! The door: ending clients, sessions and users' logins.

use std::time::Duration;

use chrono::{DateTime, Utc};
use poem::Request;
use poem::http::StatusCode;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use uuid::Uuid;

use super::online::{FilterFields, unavailable};
use super::{Done, Tag};
use crate::auth::{Permission, UserKey};
use crate::http::Problem;
use crate::http::body::Body;
use crate::http::security::{MayKick, origin};
use crate::protocol::MAX_REASON_CHARS;
use crate::services::{self, Found, KickRefused, Services, Whom};

/// Clients, sessions or users named in one kick, at most.
const MAX_NAMED: usize = 10_000;
/// Longest lockout in seconds: a year. What shall last longer is a disabled account.
const MAX_LOCKOUT: u64 = 365 * 24 * 3600;

/// `DELETE /online/users/{id}` stands beside its GET in `online.rs`: one path belongs to one API.
pub(crate) struct KickApi;

/// How somebody is shown the door.
#[derive(Object)]
#[oai(rename_all = "camelCase", rename = "KickOptions")]
pub(super) struct Options {
    /// Why, for the audit log and, without `message`, for the user; at most 200 characters.
    reason: Option<String>,
    /// What the user reads, where it differs from the reason; at most 200 characters.
    message: Option<String>,
    /// Whether the session ends, so all its tabs; otherwise only the socket. Default true.
    revoke: Option<bool>,
    /// How long the user stays out; 0 is not at all.
    lockout_seconds: Option<u64>,
    /// That the caller knows it is about themself.
    confirm_self: Option<bool>,
}

/// Whom and how.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct KickRequest {
    clients: Option<Vec<String>>,
    sessions: Option<Vec<String>>,
    users: Option<Vec<String>>,
    /// Every client that matches; may not be empty.
    filter: Option<FilterFields>,
    #[oai(flatten)]
    options: Options,
}

/// Clients a node has not closed yet; of a node that does not answer, those that it is known to have.
#[derive(Object)]
struct Pending {
    node: String,
    clients: u64,
}

/// What became of a kick.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(super) struct Kicked {
    /// Of `GET /online/kicks/{id}`; absent for a dry run.
    #[oai(skip_serializing_if_is_none)]
    id: Option<String>,
    /// Clients it is about.
    matched: u64,
    /// Of them removed from the client manager and shut down.
    closed: u64,
    pending: Vec<Pending>,
    complete: bool,
    dry_run: bool,
    /// Users it is about.
    users: Vec<String>,
    /// Whether the systems that the users come from know of it: `confirmed`, `pending`, or `none` when there is nobody to
    /// tell.
    upstream: String,
    /// Clients, sessions and users that were named and do not exist.
    unknown: Vec<String>,
    /// The end of the lockout.
    #[oai(skip_serializing_if_is_none)]
    until: Option<DateTime<Utc>>,
}

#[derive(ApiResponse)]
pub(super) enum KickAnswer {
    /// Everybody is out; or, for a dry run, would be.
    #[oai(status = 200)]
    Done(Json<Kicked>),
    /// Some sockets are not closed yet; the kick holds all the same.
    #[oai(status = 202)]
    Pending(Json<Kicked>),
}

/// What became of an earlier kick.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct KickRow {
    id: String,
    at: DateTime<Utc>,
    by: String,
    reason: String,
    matched: u64,
    closed: u64,
    pending: Vec<Pending>,
    complete: bool,
    /// As of now; `pending` as well when it was given up.
    upstream: String,
    #[oai(skip_serializing_if_is_none)]
    until: Option<DateTime<Utc>>,
}

#[OpenApi(tag = "Tag::Online")]
impl KickApi {
    /// End a client
    #[oai(path = "/online/clients/:id", method = "delete")]
    async fn client(
        &self,
        caller: MayKick,
        request: &Request,
        Data(services): Data<&Services>,
        id: Path<String>,
        #[oai(name = "dryRun")] dry_run: Query<Option<bool>>,
        options: Body<Options>,
    ) -> poem::Result<KickAnswer> {
        let whom = Whom { clients: vec![uuid(&id, "client")?], ..Whom::default() };
        kick(services, request, &caller, whom, options, dry_run.0).await
    }

    /// End a session
    #[oai(path = "/online/sessions/:id", method = "delete")]
    async fn session(
        &self,
        caller: MayKick,
        request: &Request,
        Data(services): Data<&Services>,
        id: Path<String>,
        #[oai(name = "dryRun")] dry_run: Query<Option<bool>>,
        options: Body<Options>,
    ) -> poem::Result<KickAnswer> {
        let whom = Whom { sessions: vec![uuid(&id, "session")?], ..Whom::default() };
        kick(services, request, &caller, whom, options, dry_run.0).await
    }

    /// End many
    ///
    /// Of several named, the known are ended and the others listed as `unknown`; 404 when none is known.
    #[oai(path = "/online/kick", method = "post")]
    async fn many(
        &self,
        caller: MayKick,
        request: &Request,
        Data(services): Data<&Services>,
        #[oai(name = "dryRun")] dry_run: Query<Option<bool>>,
        body: Body<KickRequest>,
    ) -> poem::Result<KickAnswer> {
        let KickRequest { clients, sessions, users, filter, options } = body.take()?;
        let whom = Whom {
            clients: uuids("clients", clients)?,
            sessions: uuids("sessions", sessions)?,
            users: bounded("users", users)?.iter().map(|user| UserKey::from_wire(user)).collect(),
            filter: match filter {
                Some(fields) if fields.is_empty() => {
                    return Err(Problem::invalid("filter", "is empty; say whom, or name users").into());
                }
                Some(fields) => Some(fields.check()?),
                None => None,
            },
        };
        if whom.clients.is_empty() && whom.sessions.is_empty() && whom.users.is_empty() && whom.filter.is_none() {
            return Err(Problem::invalid("filter", "is missing; name clients, sessions, users or a filter").into());
        }
        let found = find(services, &caller, &whom).await?;
        carry_out(services, request, &caller, found, options, dry_run.0).await
    }

    /// What became of a kick
    ///
    /// As of now: a node that could not be reached applies the kick when it can. One that has been silent for `cluster.dead` has
    /// nobody any more.
    #[oai(path = "/online/kicks/:id", method = "get")]
    async fn one(
        &self,
        _caller: MayKick,
        Data(services): Data<&Services>,
        id: Path<String>,
    ) -> poem::Result<Json<KickRow>> {
        let row = services.store().revocation(uuid(&id, "kick")?).await.map_err(Problem::from)?;
        let row = row.filter(|row| row.kind == crate::store::Kind::Kick).ok_or_else(|| Problem::not_found("kick"))?;
        let upstream = services.store().upstream_of(row.seq).await.map_err(Problem::from)?;
        let outcome = services.outcome_of(&row).await.map_err(refused)?;
        Ok(Json(KickRow {
            id: row.id.to_string(),
            at: row.at,
            by: row.actor_name,
            reason: row.reason,
            matched: outcome.matched as u64,
            closed: outcome.closed as u64,
            complete: outcome.complete,
            pending: shown(outcome.pending),
            upstream: upstream.word().to_owned(),
            until: row.until,
        }))
    }

    /// Lift a lockout
    #[oai(path = "/online/users/:id/lockout", method = "delete")]
    async fn lift(
        &self,
        caller: MayKick,
        request: &Request,
        Data(services): Data<&Services>,
        id: Path<String>,
    ) -> poem::Result<Done> {
        let by = origin(request, services).actor(&caller.0);
        let lifted = services.store().lift_lockout(&UserKey::from_wire(&id), &by, "", services.clock().now()).await;
        match lifted.map_err(Problem::from)? {
            Some(_) => Ok(Done::Done),
            None => Err(Problem::not_found("lockout").into()),
        }
    }
}

/// Ends the one that a path names: whether there is such a one is said before what is wrong with the body.
pub(super) async fn kick(
    services: &Services,
    request: &Request,
    caller: &MayKick,
    whom: Whom,
    options: Body<Options>,
    dry_run: Option<bool>,
) -> poem::Result<KickAnswer> {
    let found = find(services, caller, &whom).await?;
    carry_out(services, request, caller, found, options.take()?, dry_run).await
}

async fn find(services: &Services, caller: &MayKick, whom: &Whom) -> Result<Found, Problem> {
    services.find(whom, &caller.0, caller.0.may(Permission::OnlineIp)).await.map_err(refused)
}

async fn carry_out(
    services: &Services,
    request: &Request,
    caller: &MayKick,
    found: Found,
    options: Options,
    dry_run: Option<bool>,
) -> poem::Result<KickAnswer> {
    let (reason, message) = (sentence("reason", options.reason)?, sentence("message", options.message)?);
    let lockout = options.lockout_seconds.filter(|seconds| *seconds > 0);
    if lockout.is_some_and(|seconds| seconds > MAX_LOCKOUT) {
        return Err(Problem::invalid("lockoutSeconds", format!("is at most {MAX_LOCKOUT}, a year")).into());
    }
    let dry_run = dry_run.unwrap_or(false);
    let (reason, note) = if message.is_empty() { (reason, String::new()) } else { (message, reason) };
    let from = origin(request, services);
    let kicked = services
        .kick(services::Kick {
            found,
            reason,
            note,
            revoke: options.revoke.unwrap_or(true),
            lockout: lockout.map(Duration::from_secs),
            confirm_self: options.confirm_self.unwrap_or(false),
            dry_run,
            by: &caller.0,
            origin: &from,
        })
        .await
        .map_err(refused)?;
    let answer = Kicked {
        id: kicked.id.map(|id| id.to_string()),
        matched: kicked.matched as u64,
        closed: kicked.closed as u64,
        complete: kicked.complete,
        pending: shown(kicked.pending),
        dry_run,
        users: kicked.users.iter().map(ToString::to_string).collect(),
        upstream: kicked.upstream.word().to_owned(),
        unknown: kicked.unknown,
        until: kicked.until,
    };
    Ok(if answer.complete { KickAnswer::Done(Json(answer)) } else { KickAnswer::Pending(Json(answer)) })
}

pub(crate) fn refused(refused: KickRefused) -> Problem {
    match refused {
        KickRefused::Nobody(what) => Problem::not_found(what),
        KickRefused::Unheard => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Not every node answers, and the client may be on one that does not; end its session or its user instead.",
        ),
        KickRefused::Oneself => Problem::new(
            StatusCode::CONFLICT,
            "confirm_self",
            "This would end your own session; say confirmSelf if that is meant.",
        ),
        KickRefused::Administrator => {
            Problem::new(StatusCode::FORBIDDEN, "forbidden", "Only an administrator may kick an administrator.")
        }
        KickRefused::Store(error) => error.into(),
        KickRefused::Presence(error) => unavailable(error),
    }
}

fn shown(pending: Vec<services::Pending>) -> Vec<Pending> {
    pending.into_iter().map(|left| Pending { node: left.node.to_string(), clients: left.clients as u64 }).collect()
}

pub(crate) fn sentence(field: &str, text: Option<String>) -> Result<String, Problem> {
    let text = text.unwrap_or_default();
    if text.chars().count() > MAX_REASON_CHARS {
        return Err(Problem::invalid(field, format!("has at most {MAX_REASON_CHARS} characters")));
    }
    Ok(text.trim().to_owned())
}

/// An id in a path: one that is none cannot exist.
pub(crate) fn uuid(text: &str, what: &str) -> Result<Uuid, Problem> {
    Uuid::parse_str(text).map_err(|_| Problem::not_found(what))
}

pub(crate) fn uuids(field: &str, texts: Option<Vec<String>>) -> Result<Vec<Uuid>, Problem> {
    let parse =
        |text: &String| Uuid::parse_str(text).map_err(|_| Problem::invalid(field, "holds something that is no id"));
    bounded(field, texts)?.iter().map(parse).collect()
}

pub(crate) fn bounded(field: &str, texts: Option<Vec<String>>) -> Result<Vec<String>, Problem> {
    let texts = texts.unwrap_or_default();
    if texts.len() > MAX_NAMED {
        return Err(Problem::invalid(field, format!("has at most {MAX_NAMED} entries")));
    }
    Ok(texts)
}
