//! Accounts as they are shown, and what may be written into them.

use chrono::{DateTime, Utc};
use poem_openapi::Object;

use crate::auth::UserKey;
use crate::http::Problem;
use crate::http::api::auth::MAX_USERNAME;
use crate::services::Services;
use crate::store::{User, username_key};

/// Roles of an account, at most.
const MAX_ROLES: usize = 32;
/// Characters of a display name, at most.
const MAX_DISPLAY_NAME: usize = 128;
/// Characters of an address, at most: RFC 5321 section 4.5.3.1.3.
const MAX_EMAIL: usize = 254;

/// One account.
#[derive(Object)]
#[oai(rename_all = "camelCase", rename = "User")]
pub(super) struct UserRow {
    id: String,
    /// The system whose user it is; empty is the default one.
    issuer: String,
    username: String,
    /// How people call the user; may be empty.
    display_name: String,
    /// May be empty.
    email: String,
    roles: Vec<String>,
    disabled: bool,
    /// Whether nothing is open to the user until a new password is chosen.
    must_change_password: bool,
    created_at: DateTime<Utc>,
    #[oai(skip_serializing_if_is_none)]
    last_login_at: Option<DateTime<Utc>>,
    /// Until when a kick keeps the user out, or wrong passwords the name.
    #[oai(skip_serializing_if_is_none)]
    locked_until: Option<DateTime<Utc>>,
}

pub(super) async fn row(user: User, services: &Services) -> Result<UserRow, Problem> {
    rows(vec![user], services).await?.pop().ok_or_else(|| Problem::not_found("user"))
}

pub(super) async fn rows(users: Vec<User>, services: &Services) -> Result<Vec<UserRow>, Problem> {
    let now = services.clock().now();
    let names: Vec<String> = users.iter().map(|user| username_key(&user.username)).collect();
    let by_password = services.locked_names(&names).await?;
    let row = |(user, by_password): (User, Option<DateTime<Utc>>)| UserRow {
        id: user.key.to_string(),
        issuer: UserKey::issuer(&user.key).to_owned(),
        username: user.username,
        display_name: user.display_name,
        email: user.email,
        roles: user.roles,
        disabled: user.disabled_at.is_some(),
        must_change_password: user.must_change_password,
        created_at: user.created_at,
        last_login_at: user.last_login_at,
        locked_until: user.locked_until.filter(|until| *until > now).max(by_password),
    };
    Ok(users.into_iter().zip(by_password).map(row).collect())
}

pub(super) fn check_username(name: &str) -> Result<(), Problem> {
    let length = name.trim().chars().count();
    // A colon separates an issuer from an id on the wire; a name with one would look like somebody else's user.
    if length == 0 || length > MAX_USERNAME || name.chars().any(|letter| letter.is_control() || letter == ':') {
        let why = format!("has 1 to {MAX_USERNAME} characters, without control characters and colons");
        return Err(Problem::invalid("username", why));
    }
    Ok(())
}

pub(super) fn check_display_name(name: String) -> Result<String, Problem> {
    let name = name.trim();
    if name.chars().count() > MAX_DISPLAY_NAME || name.contains(char::is_control) {
        let why = format!("has at most {MAX_DISPLAY_NAME} characters, none of them a control character");
        return Err(Problem::invalid("displayName", why));
    }
    Ok(name.to_owned())
}

/// Whether it is somebody's is found out by writing there; this only keeps out what is no address at all.
pub(super) fn check_email(email: String) -> Result<String, Problem> {
    let email = email.trim();
    let whole = email.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
    let odd = email.chars().count() > MAX_EMAIL || email.contains(|letter: char| letter.is_control() || letter == ' ');
    if odd || !(whole || email.is_empty()) {
        return Err(Problem::invalid(
            "email",
            format!("is an address as ann@example.com of at most {MAX_EMAIL} characters"),
        ));
    }
    Ok(email.to_owned())
}

/// Whether they exist, and may be given, the store says.
pub(super) fn check_roles(roles: &[String]) -> Result<(), Problem> {
    if roles.len() > MAX_ROLES {
        return Err(Problem::invalid("roles", format!("has at most {MAX_ROLES} entries")));
    }
    Ok(())
}
