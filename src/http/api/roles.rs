//! Roles, and the words they are made of. Who has a role: `GET /users?role=…`.

use std::collections::HashMap;

use poem::Request;
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};

use super::kick::sentence;
use super::{Done, Tag};
use crate::auth::{Permission, Permissions};
use crate::http::Problem;
use crate::http::body::Body;
use crate::http::security::{AnyCaller, MayWriteRoles, forbidden, origin};
use crate::services::Services;
use crate::store::{Role, RoleChange, StoreError};

/// Characters of a role's name, at most.
const MAX_NAME: usize = 64;
/// Words of a request, at most; there are fewer than that.
const MAX_WORDS: usize = 64;

pub(crate) struct RolesApi;

/// A thing that a role may allow.
#[derive(Object)]
#[oai(rename = "Permission")]
struct PermissionRow {
    /// As in roles, scopes and problems.
    word: String,
    /// What it allows.
    sentence: String,
}

/// Every permission there is.
#[derive(Object)]
struct Catalogue {
    /// In an order that stays.
    list: Vec<PermissionRow>,
}

/// A role.
#[derive(Object)]
#[oai(rename = "Role")]
struct RoleRow {
    /// Its name, which stays.
    name: String,
    /// What it is for.
    description: String,
    /// Permission words.
    permissions: Vec<String>,
    /// Whether it came with Rollcall.
    seed: bool,
    /// Users who were given it; who has it from another system is not counted.
    users: u64,
}

/// Every role there is, at most 200.
#[derive(Object)]
struct Roles {
    /// By name.
    list: Vec<RoleRow>,
}

#[derive(Object)]
struct CreateRole {
    /// 1 to 64 characters, without control characters, colons and slashes; stays as it is.
    name: String,
    /// At most 200 characters.
    description: Option<String>,
    /// Permission words, none that the caller does not have.
    permissions: Vec<String>,
}

#[derive(Object)]
struct ChangeRole {
    /// At most 200 characters.
    description: Option<String>,
    /// All permission words the role shall have. Of those it has not yet, none that the caller does not have.
    permissions: Option<Vec<String>>,
    /// For the audit log; at most 200 characters.
    reason: Option<String>,
}

#[derive(Object)]
struct DeleteRole {
    /// For the audit log; at most 200 characters.
    reason: Option<String>,
}

#[derive(ApiResponse)]
enum Created {
    /// The new row.
    #[oai(status = 201)]
    Created(Json<RoleRow>),
}

#[OpenApi(tag = "Tag::Roles")]
impl RolesApi {
    /// Permission words
    ///
    /// Each with a sentence.
    #[oai(path = "/permissions", method = "get")]
    async fn permissions(&self, _caller: AnyCaller) -> Json<Catalogue> {
        let row = |permission: &Permission| PermissionRow {
            word: permission.word().to_owned(),
            sentence: permission.sentence().to_owned(),
        };
        Json(Catalogue { list: Permission::ALL.iter().map(row).collect() })
    }

    /// Roles
    ///
    /// All of them, by name, for whoever may see users or change roles.
    #[oai(path = "/roles", method = "get")]
    async fn list(&self, caller: AnyCaller, Data(services): Data<&Services>) -> poem::Result<Json<Roles>> {
        may_read(&caller)?;
        let (roles, users) = (services.store().roles().await, services.store().users_by_role().await);
        let users = users.map_err(Problem::from)?;
        let list = roles.map_err(Problem::from)?.into_iter().map(|role| row(role, &users)).collect();
        Ok(Json(Roles { list }))
    }

    /// Create a role
    ///
    /// There are at most 200.
    #[oai(path = "/roles", method = "post")]
    async fn create(
        &self,
        caller: MayWriteRoles,
        request: &Request,
        Data(services): Data<&Services>,
        body: Body<CreateRole>,
    ) -> poem::Result<Created> {
        let body = body.take()?;
        let role = Role {
            name: check_name(&body.name)?,
            permissions: permissions("permissions", &body.permissions)?,
            description: sentence("description", body.description)?,
            seed: false,
        };
        let by = origin(request, services).actor(&caller.0);
        services.store().create_role(&role, &by, services.clock().now()).await.map_err(Problem::from)?;
        Ok(Created::Created(Json(row(role, &HashMap::new()))))
    }

    /// One role
    #[oai(path = "/roles/:name", method = "get")]
    async fn one(
        &self,
        caller: AnyCaller,
        Data(services): Data<&Services>,
        name: Path<String>,
    ) -> poem::Result<Json<RoleRow>> {
        may_read(&caller)?;
        Ok(Json(existing(services, &name).await?))
    }

    /// Change a role
    ///
    /// It reaches open sockets of everybody who has it at once: `auth/changed` says what they gained and lost, and which of their
    /// subscriptions ended. The role `admin` stays as it is: 409.
    #[oai(path = "/roles/:name", method = "patch")]
    async fn change(
        &self,
        caller: MayWriteRoles,
        request: &Request,
        Data(services): Data<&Services>,
        name: Path<String>,
        body: Body<ChangeRole>,
    ) -> poem::Result<Json<RoleRow>> {
        existing(services, &name).await?;
        let body = body.take()?;
        let change = RoleChange {
            permissions: body.permissions.map(|words| permissions("permissions", &words)).transpose()?,
            description: body.description.map(|text| sentence("description", Some(text))).transpose()?,
        };
        let (by, reason) = (origin(request, services).actor(&caller.0), sentence("reason", body.reason)?);
        let changed = services.store().change_role(&name, change, &by, &reason, services.clock().now()).await;
        if changed.map_err(Problem::from)?.is_some() {
            services.spread().await;
        }
        Ok(Json(existing(services, &name).await?))
    }

    /// Delete a role
    ///
    /// 409 while anybody has it, and for the role `admin`.
    #[oai(path = "/roles/:name", method = "delete")]
    async fn delete(
        &self,
        caller: MayWriteRoles,
        request: &Request,
        Data(services): Data<&Services>,
        name: Path<String>,
        body: Body<DeleteRole>,
    ) -> poem::Result<Done> {
        existing(services, &name).await?;
        let reason = sentence("reason", body.take()?.reason)?;
        let by = origin(request, services).actor(&caller.0);
        services.store().delete_role(&name, &by, &reason, services.clock().now()).await.map_err(Problem::from)?;
        Ok(Done::Done)
    }
}

/// Permission words as a set.
pub(super) fn permissions(field: &str, words: &[String]) -> Result<Permissions, Problem> {
    if words.len() > MAX_WORDS {
        return Err(Problem::invalid(field, format!("has at most {MAX_WORDS} entries")));
    }
    let known = words.iter().map(|word| word.parse::<Permission>());
    known.collect::<Result<_, _>>().map_err(|()| Problem::invalid(field, "holds something that is no permission"))
}

fn may_read(caller: &AnyCaller) -> Result<(), Problem> {
    let enough = [Permission::RoleWrite, Permission::UserRead];
    if enough.into_iter().any(|permission| caller.0.may(permission)) {
        return Ok(());
    }
    Err(forbidden(Permission::RoleWrite))
}

async fn existing(services: &Services, name: &str) -> Result<RoleRow, Problem> {
    let role = services.store().role(name).await?.ok_or(StoreError::NotFound("role"))?;
    Ok(row(role, &services.store().users_by_role().await?))
}

fn row(role: Role, users: &HashMap<String, u64>) -> RoleRow {
    RoleRow {
        users: users.get(&role.name).copied().unwrap_or_default(),
        name: role.name,
        description: role.description,
        permissions: role.permissions.words().into_iter().map(str::to_owned).collect(),
        seed: role.seed,
    }
}

fn check_name(name: &str) -> Result<String, Problem> {
    let (name, length) = (name.trim(), name.trim().chars().count());
    // With a colon it would look like another system's.
    if length == 0
        || length > MAX_NAME
        || name.chars().any(|letter| letter.is_control() || letter == ':' || letter == '/')
    {
        let why = format!("has 1 to {MAX_NAME} characters, without control characters, colons and slashes");
        return Err(Problem::invalid("name", why));
    }
    Ok(name.to_owned())
}
