//! Ending logins for another system, and those that are older than a time.

use chrono::{DateTime, Utc};
use poem::Request;
use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use uuid::Uuid;

use super::guard_administrator;
use crate::auth::{Identity, Issuers, UserKey};
use crate::http::Problem;
use crate::http::api::Tag;
use crate::http::api::kick::{sentence, uuid};
use crate::http::body::Body;
use crate::http::page::filter;
use crate::http::security::{MayEndSessions, origin};
use crate::services::{OlderLogins, Services};
use crate::store::MAX_FOREIGN_ID;

pub(crate) struct RevokeApi;

/// Whose login is over: a user's, one session, or what is older than a time.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct RevokeRequest {
    /// Whose user or session it is; absent is the default issuer.
    issuer: Option<String>,
    /// The user's id with that issuer, or, without `issuer`, the user as on the wire; without `session` all logins end, and
    /// tokens of another system issued until now open nothing any more.
    user: Option<String>,
    /// One session, as in `GET /sessions`, or with `issuer` as that system calls it: the `sid` or `jti` of its token, or else
    /// the token's SHA-256 in hexadecimal digits. With `user`, it must be that user's.
    session: Option<String>,
    /// Without `session`: only sessions that were begun before that; without `user` everybody's, at most 1,000 at a time, oldest
    /// first.
    created_before: Option<DateTime<Utc>>,
    /// What the user reads; at most 200 characters.
    reason: Option<String>,
    /// Whether the session that asks ends, too, where it is among those that are older than a time. Default false.
    confirm_self: Option<bool>,
}

/// What ended.
#[derive(Object)]
struct RevokeAnswer {
    /// Of the durable row.
    id: String,
    /// Sessions that stood until now.
    sessions: u64,
    /// Open sockets of theirs; each hears `kick` and is closed with 4410.
    clients: u64,
    /// Whether all of these are closed already.
    complete: bool,
    /// Whether there are older ones yet: ask again.
    more: bool,
    /// Whether the system that the user comes from knows of it: `confirmed`, `pending`, or `none` when there is nobody to tell,
    /// as when an API key says so, which is that system's own.
    upstream: String,
}

#[OpenApi(tag = "Tag::Sessions")]
impl RevokeApi {
    /// A user logged out or changed role elsewhere
    ///
    /// For the backend whose user it is: ends one session, or all of the user, and their sockets. Asking again is fine. With
    /// `createdBefore` it ends what is older; the session that asks stays, and so do those of administrators where the caller is none.
    #[oai(path = "/sessions/revoke", method = "post")]
    async fn revoke(
        &self,
        caller: MayEndSessions,
        request: &Request,
        Data(services): Data<&Services>,
        body: Body<RevokeRequest>,
    ) -> poem::Result<Json<RevokeAnswer>> {
        let RevokeRequest { issuer, user, session, created_before, reason, confirm_self } = body.take()?;
        if let Some(time) = created_before {
            if issuer.is_some() || session.is_some() {
                return Err(Problem::invalid("createdBefore", "goes with user alone, or with nothing else").into());
            }
            let older = Older { time, user: filter("user", user)?.map(|user| UserKey::from_wire(&user)) };
            return end_older(services, request, &caller.0, older, reason, confirm_self).await;
        }
        let (user, session) = whose(services, issuer, user, session).await?;
        guard_administrator(services, &caller.0, &user).await?;
        let reason = sentence("reason", reason)?;
        let by = origin(request, services).actor(&caller.0);
        // A key is the backend that says so; it need not be told.
        let by_operator = !caller.0.user.is_api_key();
        let ended = services.end_logins(&user, session, &reason, &by, by_operator).await.map_err(Problem::from)?;
        Ok(Json(RevokeAnswer {
            id: ended.id.to_string(),
            sessions: ended.sessions,
            clients: ended.clients as u64,
            complete: ended.complete,
            more: false,
            upstream: ended.upstream.word().to_owned(),
        }))
    }
}

/// What is older than a time.
struct Older {
    time: DateTime<Utc>,
    user: Option<UserKey>,
}

async fn end_older(
    services: &Services,
    request: &Request,
    caller: &Identity,
    older: Older,
    reason: Option<String>,
    confirm_self: Option<bool>,
) -> poem::Result<Json<RevokeAnswer>> {
    if let Some(user) = &older.user {
        services.store().rights(user).await.map_err(Problem::from)?.ok_or_else(|| Problem::not_found("user"))?;
        guard_administrator(services, caller, user).await?;
    }
    let reason = sentence("reason", reason)?;
    let by = origin(request, services).actor(caller);
    let but = (!confirm_self.unwrap_or(false)).then_some(caller.session);
    let spare_admins = !caller.user.is_api_key() && !caller.rights.is_admin();
    let which = OlderLogins { before: older.time, user: older.user, but, spare_admins };
    let (ended, more) = services.end_older(which, &reason, &by).await.map_err(Problem::from)?;
    Ok(Json(RevokeAnswer {
        id: ended.id.to_string(),
        sessions: ended.sessions,
        clients: ended.clients as u64,
        complete: ended.complete,
        more,
        upstream: ended.upstream.word().to_owned(),
    }))
}

/// Whose login it is, and which one when one is named; 404 where there is no such.
async fn whose(
    services: &Services,
    issuer: Option<String>,
    user: Option<String>,
    session: Option<String>,
) -> Result<(UserKey, Option<Uuid>), Problem> {
    let issuer = filter("issuer", issuer)?;
    if issuer.as_deref().is_some_and(|issuer| issuer.contains(':')) {
        return Err(Problem::invalid("issuer", "is a word without a colon"));
    }
    let (user, session) = (filter("user", user)?, filter("session", session)?);
    if let Some(issuer) = issuer.as_deref().and_then(|issuer| services.issuers().named(issuer)) {
        return whose_elsewhere(services, &issuer.name, user, session).await;
    }
    let named = user.map(|user| UserKey::new(issuer.as_deref().unwrap_or_default(), &user));
    let Some(session) = session else {
        let user = named.ok_or_else(|| Problem::invalid("user", "is missing; name a user or a session"))?;
        return match services.store().rights(&user).await? {
            Some(_) => Ok((user, None)),
            None => Err(Problem::not_found("user")),
        };
    };
    let id = uuid(&session, "session")?;
    let owner = services.store().session(id).await?.map(|row| row.user);
    let owner = owner.filter(|owner| named.as_ref().is_none_or(|named| named == owner));
    let owner = owner.filter(|owner| issuer.as_deref().is_none_or(|issuer| issuer == owner.issuer()));
    owner.map(|owner| (owner, Some(id))).ok_or_else(|| Problem::not_found("session"))
}

/// The same for a system of `auth.issuers`, in its own words. What never came here is revoked all the same: its tokens
/// are good, and may come yet.
async fn whose_elsewhere(
    services: &Services,
    issuer: &str,
    user: Option<String>,
    session: Option<String>,
) -> Result<(UserKey, Option<Uuid>), Problem> {
    let named = user.and_then(|user| services.issuers().user(issuer, &user));
    if named.as_ref().is_some_and(|user| user.id().chars().count() > MAX_FOREIGN_ID) {
        return Err(Problem::invalid("user", format!("has at most {MAX_FOREIGN_ID} characters")));
    }
    let session = session.map(|session| (Issuers::session(issuer, &session), session));
    let known = match &session {
        Some((id, _)) => services.store().session(*id).await?.map(|row| row.user),
        None => None,
    };
    match (known, named, session) {
        (Some(owner), named, Some((id, _))) if named.as_ref().is_none_or(|named| *named == owner) => {
            Ok((owner, Some(id)))
        }
        (None, Some(user), session) => {
            services.expect_foreign(&user, session.as_ref().map(|(_, name)| name.as_str()), issuer).await?;
            Ok((user, session.map(|(id, _)| id)))
        }
        (None, None, None) => Err(Problem::invalid("user", "is missing; name a user or a session")),
        _ => Err(Problem::not_found("session")),
    }
}
