//! Accounts: found, made, changed, deleted, unlocked; a password for somebody else; many at once. A user's logins and clients are
//! `GET /sessions?user=…` and `GET /online/clients?userId=…`, and end there.

mod import;
mod password;
mod rows;

use poem::Request;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};

use super::auth::{check_password, hash_problem};
use super::kick::{refused, sentence};
use super::online::order;
use super::{Done, Tag};
use crate::auth::{Identity, UserKey};
use crate::config::Secret;
use crate::http::Problem;
use crate::http::body::Body;
use crate::http::page::{List, Paging, filter};
use crate::http::security::{MayReadUsers, MayWriteUsers, origin};
use crate::services::{KickRefused, Services};
use crate::store::{NewUser, StoreError, User, UserChange, UserOrder, UserQuery};
use rows::{UserRow, check_display_name, check_email, check_roles, check_username, row, rows};

/// Accounts are three APIs for the document, since a tuple of APIs has only so many places.
pub(crate) type Apis = (UsersApi, password::PasswordApi, import::ImportApi);

pub(crate) const APIS: Apis = (UsersApi, password::PasswordApi, import::ImportApi);

pub(crate) struct UsersApi;

#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct CreateUser {
    /// 1 to 64 characters; unique whatever the case.
    username: String,
    /// 10 to 128 characters.
    password: String,
    /// None may allow what the caller may not.
    roles: Vec<String>,
    /// How people call the user; at most 128 characters.
    display_name: Option<String>,
    /// At most 254 characters.
    email: Option<String>,
    /// Whether the first login must choose another password. Default false.
    must_change_password: Option<bool>,
}

/// What is absent stays as it is; all of it changes, or nothing.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct ChangeUser {
    /// Disabling ends the sessions; enabling brings none of them back.
    disabled: Option<bool>,
    /// All roles the user shall have. Of those the user has not yet, none may allow what the caller may not.
    roles: Option<Vec<String>>,
    /// At most 128 characters; empty for none.
    display_name: Option<String>,
    /// At most 254 characters; empty for none.
    email: Option<String>,
    /// Whether the next login must choose another password. Asking for one ends the sessions, so that the next login is now.
    must_change_password: Option<bool>,
    /// For the audit log, and for who is logged out; at most 200 characters.
    reason: Option<String>,
}

#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct DeleteUser {
    /// For the audit log, and for who is logged out; at most 200 characters.
    reason: Option<String>,
    /// That the caller knows it is about themself.
    confirm_self: Option<bool>,
}

#[derive(ApiResponse)]
enum Created {
    /// The new row.
    #[oai(status = 201)]
    Created(Json<UserRow>),
}

#[OpenApi(tag = "Tag::Users")]
impl UsersApi {
    /// Users
    #[oai(path = "/users", method = "get")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the query")]
    async fn list(
        &self,
        _caller: MayReadUsers,
        Data(services): Data<&Services>,
        page: Query<Option<i64>>,
        #[oai(name = "pageSize")] page_size: Query<Option<i64>>,
        /// `id` (the order in which they were created), `username`, `displayName`, `email` or `lastLoginAt`; downwards with `-` before
        /// it. Default `id`.
        sort: Query<Option<String>>,
        /// Contained in the name, the display name or the address.
        q: Query<Option<String>>,
        /// Who was given this role here.
        role: Query<Option<String>>,
        disabled: Query<Option<bool>>,
        /// Who is kept out by a kick, or by wrong passwords.
        locked: Query<Option<bool>>,
        /// The system whose users they are; `-` for the default one.
        issuer: Query<Option<String>>,
    ) -> poem::Result<Json<List<UserRow>>> {
        let paging = Paging::new(page.0, page_size.0)?;
        let (order, descending) = order(sort.0.as_deref().unwrap_or("id"), column)?;
        let query = UserQuery {
            q: filter("q", q.0)?.unwrap_or_default(),
            role: filter("role", role.0)?,
            disabled: disabled.0,
            locked: locked.0,
            issuer: filter("issuer", issuer.0)?.map(|issuer| if issuer == "-" { String::new() } else { issuer }),
            locked_names: match locked.0 {
                Some(_) => services.locked_digests().await.map_err(Problem::from)?,
                None => Default::default(),
            },
            order,
            descending,
            paging: paging.into(),
        };
        let page = services.store().users(&query, services.clock().now()).await.map_err(Problem::from)?;
        Ok(Json(paging.list(rows(page.list, services).await?, page.total)))
    }

    /// Create a user
    #[oai(path = "/users", method = "post")]
    async fn create(
        &self,
        caller: MayWriteUsers,
        request: &Request,
        Data(services): Data<&Services>,
        body: Body<CreateUser>,
    ) -> poem::Result<Created> {
        let body = body.take()?;
        check_username(&body.username)?;
        check_password("password", &body.password)?;
        check_roles(&body.roles)?;
        let mut new = NewUser {
            username: body.username.trim().to_owned(),
            display_name: check_display_name(body.display_name.unwrap_or_default())?,
            email: check_email(body.email.unwrap_or_default())?,
            roles: body.roles,
            must_change_password: body.must_change_password.unwrap_or(false),
            ..NewUser::default()
        };
        let hash = services.passwords().hash(&body.password).await.map_err(hash_problem)?;
        new.password_hash = Some(Secret::new(hash));
        let by = origin(request, services).actor(&caller.0);
        let user = services.store().create_user(new, &by, services.clock().now()).await.map_err(user_problem)?;
        Ok(Created::Created(Json(row(user, services).await?)))
    }

    /// One user
    #[oai(path = "/users/:id", method = "get")]
    async fn one(
        &self,
        _caller: MayReadUsers,
        Data(services): Data<&Services>,
        id: Path<String>,
    ) -> poem::Result<Json<UserRow>> {
        Ok(Json(row(existing(services, &UserKey::from_wire(&id)).await?, services).await?))
    }

    /// Change a user
    ///
    /// Disabling ends the sessions and closes the sockets with 4403; new roles reach open sockets at once.
    #[oai(path = "/users/:id", method = "patch")]
    async fn change(
        &self,
        caller: MayWriteUsers,
        request: &Request,
        Data(services): Data<&Services>,
        id: Path<String>,
        body: Body<ChangeUser>,
    ) -> poem::Result<Json<UserRow>> {
        let key = UserKey::from_wire(&id);
        guard_administrator(&key, &caller.0, services).await?;
        let body = body.take()?;
        body.roles.as_deref().map(check_roles).transpose()?;
        let change = UserChange {
            display_name: body.display_name.map(check_display_name).transpose()?,
            email: body.email.map(check_email).transpose()?,
            roles: body.roles,
            disabled: body.disabled,
            must_change_password: body.must_change_password,
            reason: sentence("reason", body.reason)?,
        };
        let (by, now) = (origin(request, services).actor(&caller.0), services.clock().now());
        let heard = services.store().change_user(&key, change, &by, now).await.map_err(user_problem)?;
        for ended in heard.iter().filter(|revocation| revocation.ends_sessions) {
            services.announce(ended).await;
        }
        if !heard.is_empty() {
            services.spread().await;
        }
        Ok(Json(row(existing(services, &key).await?, services).await?))
    }

    /// Delete a user
    ///
    /// The sessions end and the sockets are closed with 4403. What logs say of the user stays, and the id is never given again. A user
    /// of another system would be back with the next token: 409, disable it instead.
    #[oai(path = "/users/:id", method = "delete")]
    async fn delete(
        &self,
        caller: MayWriteUsers,
        request: &Request,
        Data(services): Data<&Services>,
        id: Path<String>,
        body: Body<DeleteUser>,
    ) -> poem::Result<Done> {
        let key = UserKey::from_wire(&id);
        guard_administrator(&key, &caller.0, services).await?;
        let body = body.take()?;
        let reason = sentence("reason", body.reason)?;
        if key == caller.0.user && !body.confirm_self.unwrap_or(false) {
            return Err(refused(KickRefused::Oneself).into());
        }
        let (by, now) = (origin(request, services).actor(&caller.0), services.clock().now());
        let ended = services.store().delete_user(&key, &by, &reason, now).await.map_err(user_problem)?;
        services.announce(&ended).await;
        Ok(Done::Done)
    }

    /// Unlock a user
    ///
    /// Forgets failed logins and the lock they made, and lifts a lockout, on every node.
    #[oai(path = "/users/:id/unlock", method = "post")]
    async fn unlock(
        &self,
        caller: MayWriteUsers,
        request: &Request,
        Data(services): Data<&Services>,
        id: Path<String>,
    ) -> poem::Result<Done> {
        let user = existing(services, &UserKey::from_wire(&id)).await?;
        let (by, now) = (origin(request, services).actor(&caller.0), services.clock().now());
        services.store().unlock_user(&user.key, &by, now).await.map_err(Problem::from)?;
        services.unlock_name(&crate::store::username_key(&user.username)).await;
        services.store().lift_lockout(&user.key, &by, "", now).await.map_err(Problem::from)?;
        services.spread().await;
        Ok(Done::Done)
    }
}

async fn existing(services: &Services, key: &UserKey) -> Result<User, Problem> {
    services.store().user(key).await?.ok_or_else(|| Problem::not_found("user"))
}

/// Only an administrator may change an administrator. The store asks again when it does so; here it is said before what is wrong
/// with the body.
async fn guard_administrator(key: &UserKey, caller: &Identity, services: &Services) -> Result<(), Problem> {
    let rights = services.store().rights(key).await?.ok_or_else(|| Problem::not_found("user"))?;
    if rights.is_admin() && !caller.rights.is_admin() {
        return Err(StoreError::AdministratorsOnly.into());
    }
    Ok(())
}

fn user_problem(error: StoreError) -> Problem {
    match error {
        StoreError::NotFound("role") => Problem::invalid("roles", "holds something that is no role"),
        error => error.into(),
    }
}

fn column(name: &str) -> Option<UserOrder> {
    Some(match name {
        "id" => UserOrder::Created,
        "username" => UserOrder::Username,
        "displayName" => UserOrder::DisplayName,
        "email" => UserOrder::Email,
        "lastLoginAt" => UserOrder::LastLogin,
        _ => return None,
    })
}
