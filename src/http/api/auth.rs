//! Logins, tokens, tickets.

use chrono::{DateTime, Utc};
use poem::Request;
use poem::http::StatusCode;
use poem::web::Data;
use poem::web::cookie::{Cookie, CookieJar, SameSite};
use poem_openapi::param::Header;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};

use super::{Done, Tag};
use crate::auth::{MAX_PASSWORD, MIN_PASSWORD, PasswordError, check_rule};
use crate::config::Secret;
use crate::http::Problem;
use crate::http::body::Body;
use crate::http::place::{base_path, scheme, secure_only};
use crate::http::security::{Caller, Unchanged, origin, page_allowed};
use crate::services::{Attempt, LoggedIn, LoginDenied, Services, Ticket};
use crate::store::NewPassword;

/// Characters of a username, at most.
pub(crate) const MAX_USERNAME: usize = 64;
/// The refresh cookie over https; the prefix ties it to this host, to TLS and to all of its paths.
const HOST_COOKIE: &str = "__Host-rollcall_refresh";
/// The same under a base path, which that prefix does not allow.
const SECURE_COOKIE: &str = "__Secure-rollcall_refresh";
/// The same over http.
const PLAIN_COOKIE: &str = "rollcall_refresh";

pub(crate) struct AuthApi;

#[derive(Object)]
struct LoginRequest {
    username: String,
    password: String,
}

/// An access token; the refresh token is only in its cookie.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct LoginAnswer {
    access_token: String,
    token_type: String,
    /// Seconds.
    expires_in: i64,
    user: LoginUser,
    /// Until a new password is chosen the token opens nothing but `POST /auth/password`, `POST /auth/logout` and `GET /auth/me`.
    must_change_password: bool,
}

#[derive(Object)]
struct LoginUser {
    id: String,
    username: String,
    roles: Vec<String>,
}

#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct TicketAnswer {
    /// For one handshake.
    ticket: String,
    /// Seconds.
    expires_in: u64,
}

#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct Me {
    user: LoginUser,
    permissions: Vec<String>,
    session_id: String,
    /// When the token ends.
    expires_at: DateTime<Utc>,
    /// Whether nothing else is open until a new password is chosen.
    must_change_password: bool,
}

#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct PasswordRequest {
    current_password: String,
    /// 10 to 128 characters.
    new_password: String,
}

#[OpenApi(tag = "Tag::Auth")]
impl AuthApi {
    /// Log in
    #[oai(path = "/auth/login", method = "post")]
    async fn login(
        &self,
        request: &Request,
        Data(services): Data<&Services>,
        cookies: &CookieJar,
        body: Body<LoginRequest>,
    ) -> poem::Result<Json<LoginAnswer>> {
        page_only(request, services)?;
        secure_only(request, services)?;
        let body = body.take()?;
        if body.username.chars().count() > MAX_USERNAME {
            return Err(Problem::invalid("username", format!("has at most {MAX_USERNAME} characters")).into());
        }
        if body.password.chars().count() > MAX_PASSWORD {
            return Err(Problem::invalid("password", format!("has at most {MAX_PASSWORD} characters")).into());
        }
        let from = origin(request, services);
        let attempt = Attempt { username: &body.username, password: &body.password, origin: &from };
        let login = services.login(attempt).await.map_err(problem)?;
        Ok(answer(login, request, services, cookies))
    }

    /// Refresh
    ///
    /// Needs the refresh cookie, the header `X-Rollcall: 1`, and an allowed origin.
    #[oai(path = "/auth/refresh", method = "post")]
    async fn refresh(
        &self,
        request: &Request,
        Data(services): Data<&Services>,
        cookies: &CookieJar,
        /// Always `1`.
        #[oai(name = "X-Rollcall")]
        x_rollcall: Header<Option<String>>,
    ) -> poem::Result<Json<LoginAnswer>> {
        page_only(request, services)?;
        secure_only(request, services)?;
        // A form of another site can carry the cookie, but not a header of its own.
        if x_rollcall.0.as_deref() != Some("1") {
            let detail = "This needs the header X-Rollcall: 1.";
            return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail).into());
        }
        let name = cookie_name(request, services);
        let Some(token) = cookies.get(name).map(|cookie| cookie.value_str().to_owned()) else {
            let detail = "There is no refresh cookie; log in.";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).into());
        };
        match services.refresh(&token).await {
            Ok(login) => Ok(answer(login, request, services, cookies)),
            Err(denied) => {
                let problem = problem(denied);
                if problem.status() == StatusCode::UNAUTHORIZED {
                    forget(request, services, cookies);
                }
                Err(problem.into())
            }
        }
    }

    /// Log out
    ///
    /// Ends the session: its tokens open nothing any more, its sockets are closed.
    #[oai(path = "/auth/logout", method = "post")]
    async fn logout(
        &self,
        caller: Unchanged,
        request: &Request,
        Data(services): Data<&Services>,
        cookies: &CookieJar,
    ) -> poem::Result<Done> {
        let by = origin(request, services).actor(&caller.0);
        services.log_out(&caller.0.user, caller.0.session, "", &by, false).await.map_err(Problem::from)?;
        forget(request, services, cookies);
        Ok(Done::Done)
    }

    /// A ticket for one handshake
    #[oai(path = "/auth/ticket", method = "post")]
    async fn ticket(&self, caller: Caller, Data(services): Data<&Services>) -> poem::Result<Json<TicketAnswer>> {
        let ticket = Ticket { session: caller.0.session, expires_at: caller.0.expires_at };
        Ok(Json(TicketAnswer {
            ticket: services.issue_ticket(ticket).await.map_err(Problem::from)?,
            expires_in: services.config().auth.ticket_ttl.as_secs(),
        }))
    }

    /// Who am I
    #[oai(path = "/auth/me", method = "get")]
    async fn me(&self, caller: Unchanged) -> poem::Result<Json<Me>> {
        let identity = caller.0;
        Ok(Json(Me {
            permissions: identity.rights.permissions.words().into_iter().map(str::to_owned).collect(),
            session_id: identity.session.to_string(),
            expires_at: identity.expires_at,
            must_change_password: identity.must_change_password,
            user: user(&identity),
        }))
    }

    /// Change my password
    ///
    /// Ends the other sessions. Where a new one was asked for, everything else is open again.
    #[oai(path = "/auth/password", method = "post")]
    async fn password(
        &self,
        caller: Unchanged,
        request: &Request,
        Data(services): Data<&Services>,
        body: Body<PasswordRequest>,
    ) -> poem::Result<Done> {
        secure_only(request, services)?;
        let body = body.take()?;
        let identity = &caller.0;
        check_password("newPassword", &body.new_password)?;
        let account = services.store().user(&identity.user).await.map_err(Problem::from)?;
        let account = account.ok_or_else(|| Problem::not_found("user"))?;
        let name = crate::store::username_key(&account.username);
        if let Some(until) = services.locked_until(&name).await.map_err(Problem::from)? {
            return Err(locked(until, services).into());
        }
        let hash = account.password_hash.as_ref().map(Secret::expose);
        if !services.passwords().verify(hash, &body.current_password).await.map_err(hash_problem)? {
            services.name_failed(&name).await.map_err(Problem::from)?;
            return Err(Problem::invalid("currentPassword", "is not your password").code("bad_credentials").into());
        }
        if identity.must_change_password && body.new_password == body.current_password {
            return Err(Problem::invalid("newPassword", "is the one that must be changed").into());
        }
        let hash = Secret::new(services.passwords().hash(&body.new_password).await.map_err(hash_problem)?);
        let by = origin(request, services).actor(identity);
        let now = services.clock().now();
        let new = NewPassword { hash: &hash, must_change: false, except: Some(identity.session), reason: "" };
        let ended = services.store().set_password_hash(&identity.user, new, &by, now).await;
        services.announce(&ended.map_err(Problem::from)?).await;
        Ok(Done::Done)
    }
}

fn answer(login: LoggedIn, request: &Request, services: &Services, cookies: &CookieJar) -> Json<LoginAnswer> {
    let now = services.clock().now();
    let seconds = (login.refresh_expires_at - now).num_seconds().max(0) as u64;
    let mut cookie = cookie(request, services, login.refresh);
    cookie.set_max_age(std::time::Duration::from_secs(seconds));
    cookies.add(cookie);
    Json(LoginAnswer {
        access_token: login.access,
        token_type: "Bearer".to_owned(),
        // Rounded up: the token's own end is cut to a second.
        expires_in: ((login.expires_at - now).num_milliseconds() + 999) / 1000,
        user: user(&login.identity),
        must_change_password: login.identity.must_change_password,
    })
}

fn user(identity: &crate::auth::Identity) -> LoginUser {
    LoginUser {
        id: identity.user.to_string(),
        username: identity.rights.username.to_string(),
        roles: identity.rights.roles.iter().map(ToString::to_string).collect(),
    }
}

fn cookie_name(request: &Request, services: &Services) -> &'static str {
    match (scheme(request, services), base_path(services).as_str()) {
        ("https", "/") => HOST_COOKIE,
        ("https", _) => SECURE_COOKIE,
        _ => PLAIN_COOKIE,
    }
}

fn cookie(request: &Request, services: &Services, value: String) -> Cookie {
    let mut cookie = Cookie::new_with_str(cookie_name(request, services), value);
    cookie.set_path(base_path(services));
    cookie.set_http_only(true);
    cookie.set_same_site(SameSite::Strict);
    cookie.set_secure(scheme(request, services) == "https");
    cookie
}

fn forget(request: &Request, services: &Services, cookies: &CookieJar) {
    let mut cookie = cookie(request, services, String::new());
    cookie.set_max_age(std::time::Duration::ZERO);
    cookies.add(cookie);
}

fn page_only(request: &Request, services: &Services) -> Result<(), Problem> {
    if page_allowed(request, services) {
        return Ok(());
    }
    let detail = "This origin may not log in here; add it to server.allowed_origins.";
    Err(Problem::new(StatusCode::FORBIDDEN, "origin_not_allowed", detail))
}

/// 10 to 128 characters, no rule of composition.
pub(crate) fn check_password(field: &str, password: &str) -> Result<(), Problem> {
    check_rule(password)
        .map_err(|_| Problem::invalid(field, format!("has {MIN_PASSWORD} to {MAX_PASSWORD} characters")))
}

pub(crate) fn hash_problem(error: PasswordError) -> Problem {
    match error {
        PasswordError::Overloaded => overloaded(),
        error => {
            tracing::error!(%error, "a password could not be computed");
            Problem::unavailable()
        }
    }
}

fn overloaded() -> Problem {
    let detail = "Too many logins at once; try again in a moment.";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail).retry_after(1)
}

fn locked(until: DateTime<Utc>, services: &Services) -> Problem {
    let detail = "This account is locked for a while after too many wrong passwords.";
    Problem::new(StatusCode::FORBIDDEN, "locked", detail).until(until, services.clock().now())
}

fn problem(denied: LoginDenied) -> Problem {
    match denied {
        LoginDenied::Credentials => {
            Problem::new(StatusCode::UNAUTHORIZED, "bad_credentials", "The name or the password is wrong.")
        }
        LoginDenied::TooMany(seconds) => {
            let detail = "Too many logins from this address; wait a moment.";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail).retry_after(seconds)
        }
        LoginDenied::Overloaded => overloaded(),
        LoginDenied::Denied(denied) => denied.into(),
    }
}
