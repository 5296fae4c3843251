//! Accounts: as much as logging in, disabling and unlocking needs.

use chrono::{DateTime, Utc};
use poem::Request;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};

use super::auth::{MAX_USERNAME, check_password, hash_problem};
use super::{Done, Tag};
use crate::auth::{Identity, Permission, UserKey};
use crate::config::Secret;
use crate::http::Problem;
use crate::http::body::Body;
use crate::http::page::{List, Paging, filter};
use crate::http::security::{MayReadUsers, MayWriteUsers, forbidden, origin};
use crate::services::Services;
use crate::store::{NewUser, StoreError, User, UserQuery};

/// Roles of an account, at most.
const MAX_ROLES: usize = 32;

pub(crate) struct UsersApi;

/// One account.
#[derive(Object)]
#[oai(rename_all = "camelCase", rename = "User")]
struct UserRow {
    id: String,
    username: String,
    roles: Vec<String>,
    disabled: bool,
    created_at: DateTime<Utc>,
    #[oai(skip_serializing_if_is_none)]
    last_login_at: Option<DateTime<Utc>>,
    /// Until when a kick keeps the user out, or wrong passwords the name.
    #[oai(skip_serializing_if_is_none)]
    locked_until: Option<DateTime<Utc>>,
}

#[derive(Object)]
struct CreateUser {
    /// 1 to 64 characters; unique whatever the case.
    username: String,
    /// 10 to 128 characters.
    password: String,
    roles: Vec<String>,
}

#[derive(Object)]
struct ChangeUser {
    disabled: Option<bool>,
    /// All roles the user shall have.
    roles: Option<Vec<String>>,
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
    async fn list(
        &self,
        _caller: MayReadUsers,
        Data(services): Data<&Services>,
        page: Query<Option<i64>>,
        #[oai(name = "pageSize")] page_size: Query<Option<i64>>,
        /// Contained in the name.
        q: Query<Option<String>>,
    ) -> poem::Result<Json<List<UserRow>>> {
        let paging = Paging::new(page.0, page_size.0)?;
        let query = UserQuery { q: filter("q", q.0)?.unwrap_or_default(), paging: paging.into() };
        let page = services.store().users(&query).await.map_err(Problem::from)?;
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
        let CreateUser { username, password, roles } = body.take()?;
        check_username(&username)?;
        check_password("password", &password)?;
        check_roles(&roles, &caller.0, services).await?;
        let hash = services.passwords().hash(&password).await.map_err(hash_problem)?;
        let new = NewUser {
            username: username.trim().to_owned(),
            password_hash: Some(Secret::new(hash)),
            roles,
            ..NewUser::default()
        };
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
        let (by, now) = (origin(request, services).actor(&caller.0), services.clock().now());
        guard_administrator(&key, &caller.0, services).await?;
        let body = body.take()?;
        if let Some(roles) = &body.roles {
            check_roles(roles, &caller.0, services).await?;
            services.store().set_roles(&key, roles, &by, now).await.map_err(user_problem)?;
            services.refresh_rights(&key).await;
        }
        if let Some(disabled) = body.disabled {
            let ended = services.store().set_disabled(&key, disabled, &by, "", now).await.map_err(user_problem)?;
            if let Some(ended) = ended {
                services.announce(&ended).await;
            }
        }
        Ok(Json(row(existing(services, &key).await?, services).await?))
    }

    /// Forget failed logins
    #[oai(path = "/users/:id/unlock", method = "post")]
    async fn unlock(
        &self,
        caller: MayWriteUsers,
        request: &Request,
        Data(services): Data<&Services>,
        id: Path<String>,
    ) -> poem::Result<Done> {
        let user = existing(services, &UserKey::from_wire(&id)).await?;
        let by = origin(request, services).actor(&caller.0);
        services.store().unlock_user(&user.key, &by, services.clock().now()).await.map_err(Problem::from)?;
        services.unlock_name(&crate::store::username_key(&user.username)).await;
        Ok(Done::Done)
    }
}

async fn existing(services: &Services, key: &UserKey) -> Result<User, Problem> {
    services.store().user(key).await?.ok_or_else(|| Problem::not_found("user"))
}

async fn row(user: User, services: &Services) -> Result<UserRow, Problem> {
    rows(vec![user], services).await?.pop().ok_or_else(|| Problem::not_found("user"))
}

async fn rows(users: Vec<User>, services: &Services) -> Result<Vec<UserRow>, Problem> {
    let now = services.clock().now();
    let names: Vec<String> = users.iter().map(|user| crate::store::username_key(&user.username)).collect();
    let by_password = services.locked_names(&names).await?;
    let row = |(user, by_password): (User, Option<DateTime<Utc>>)| UserRow {
        id: user.key.to_string(),
        username: user.username,
        roles: user.roles,
        disabled: user.disabled_at.is_some(),
        created_at: user.created_at,
        last_login_at: user.last_login_at,
        locked_until: user.locked_until.filter(|until| *until > now).max(by_password),
    };
    Ok(users.into_iter().zip(by_password).map(row).collect())
}

fn check_username(name: &str) -> Result<(), Problem> {
    let length = name.trim().chars().count();
    // A colon separates an issuer from an id on the wire; a name with one would look like somebody else's user.
    if length == 0 || length > MAX_USERNAME || name.chars().any(|letter| letter.is_control() || letter == ':') {
        let why = format!("has 1 to {MAX_USERNAME} characters, without control characters and colons");
        return Err(Problem::invalid("username", why));
    }
    Ok(())
}

/// Roles that exist, and none with a permission the caller does not have.
async fn check_roles(roles: &[String], caller: &Identity, services: &Services) -> Result<(), Problem> {
    if roles.len() > MAX_ROLES {
        return Err(Problem::invalid("roles", format!("has at most {MAX_ROLES} entries")));
    }
    let known = services.store().roles().await?;
    for name in roles {
        let Some(role) = known.iter().find(|role| role.name == *name) else {
            return Err(Problem::invalid("roles", format!("holds {name}, which is no role")));
        };
        let beyond = role.permissions.difference(caller.rights.permissions);
        if let Some(missing) = beyond.iter().next() {
            return Err(forbidden(missing));
        }
    }
    Ok(())
}

/// Only an administrator may change an administrator.
async fn guard_administrator(key: &UserKey, caller: &Identity, services: &Services) -> Result<(), Problem> {
    let rights = services.store().rights(key).await?.ok_or_else(|| Problem::not_found("user"))?;
    if rights.is_admin() && !caller.rights.is_admin() {
        return Err(forbidden(Permission::RoleWrite));
    }
    Ok(())
}

fn user_problem(error: StoreError) -> Problem {
    match error {
        StoreError::NotFound("role") => Problem::invalid("roles", "holds something that is no role"),
        error => error.into(),
    }
}
