//! A password for somebody who has lost theirs.

use poem::Request;
use poem::http::StatusCode;
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};

use super::{existing, guard_administrator};
use crate::auth::{UserKey, random_password};
use crate::config::Secret;
use crate::http::Problem;
use crate::http::api::Tag;
use crate::http::api::auth::{check_password, hash_problem};
use crate::http::api::kick::sentence;
use crate::http::body::Body;
use crate::http::place::secure_only;
use crate::http::security::{MayWriteUsers, origin};
use crate::services::Services;
use crate::store::NewPassword;

pub(crate) struct PasswordApi;

#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct ResetPassword {
    /// 10 to 128 characters; absent: one is made up, and is in the answer.
    password: Option<String>,
    /// Whether it is good for one login only, which must choose another one. Default true.
    must_change_password: Option<bool>,
    /// For the audit log, and for who is logged out; at most 200 characters.
    reason: Option<String>,
}

/// The new password.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct Reset {
    /// The one that was made up, shown this once.
    #[oai(skip_serializing_if_is_none)]
    password: Option<String>,
    /// Whether the next login must choose another one.
    must_change_password: bool,
}

#[OpenApi(tag = "Tag::Users")]
impl PasswordApi {
    /// Reset a password
    ///
    /// Ends the user's sessions. Since a password opens all that its user may do, the caller must be allowed all of that: 403. One's own
    /// is changed with `POST /auth/password`.
    #[oai(path = "/users/:id/password", method = "post")]
    async fn reset(
        &self,
        caller: MayWriteUsers,
        request: &Request,
        Data(services): Data<&Services>,
        id: Path<String>,
        body: Body<ResetPassword>,
    ) -> poem::Result<Json<Reset>> {
        secure_only(request, services)?;
        let key = UserKey::from_wire(&id);
        if key == caller.0.user {
            let detail = "One's own password is changed with POST /api/v1/auth/password.";
            return Err(Problem::new(StatusCode::FORBIDDEN, "own_password", detail).into());
        }
        guard_administrator(&key, &caller.0, services).await?;
        let user = existing(services, &key).await?;
        let body = body.take()?;
        let reason = sentence("reason", body.reason)?;
        let must_change = body.must_change_password.unwrap_or(true);
        body.password.as_deref().map(|password| check_password("password", password)).transpose()?;
        let made_up = body.password.is_none().then(random_password);
        let password = body.password.as_ref().or(made_up.as_ref()).map_or("", String::as_str);
        let hash = Secret::new(services.passwords().hash(password).await.map_err(hash_problem)?);
        let new = NewPassword { hash: &hash, must_change, except: None, reason: &reason };
        let (by, now) = (origin(request, services).actor(&caller.0), services.clock().now());
        let ended = services.store().set_password_hash(&user.key, new, &by, now).await.map_err(Problem::from)?;
        services.announce(&ended).await;
        Ok(Json(Reset { password: made_up, must_change_password: must_change }))
    }
}
