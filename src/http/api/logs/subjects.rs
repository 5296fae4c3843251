//! What is kept of one person: all of it, or gone.

use poem::{Request, web::Data};
use poem_openapi::param::Path;
use poem_openapi::{Object, OpenApi};
use serde_json::json;

use super::export::{AT_ONCE, File, Format};
use crate::auth::{Permission, UserKey};
use crate::http::Problem;
use crate::http::api::kick::{refused, sentence};
use crate::http::api::{Done, Tag};
use crate::http::body::Body;
use crate::http::security::{MayWriteUsers, forbidden, origin};
use crate::services::{KickRefused, Services};

pub(crate) struct SubjectsApi;

#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct EraseRequest {
    /// For the audit log, and for who is logged out; at most 200 characters. It stays: name nobody in it.
    reason: Option<String>,
    /// That the caller knows it is about themself.
    confirm_self: Option<bool>,
}

#[OpenApi(tag = "Tag::Subjects")]
impl SubjectsApi {
    /// Everything that is kept of a user
    ///
    /// One JSON object a line: `table`, and the `row` as it is stored, without secrets. That it was taken stands in the audit log. Since
    /// rows of the logs are in it, with whole addresses, it takes `audit:read` and `online:ip`, too: 403.
    #[oai(path = "/subjects/:id/export", method = "post")]
    async fn export(
        &self,
        caller: MayWriteUsers,
        request: &Request,
        Data(services): Data<&Services>,
        id: Path<String>,
    ) -> poem::Result<File> {
        let user = known(services, &id).await?;
        // It tells of addresses, and what the logs say.
        for needed in [Permission::AuditRead, Permission::OnlineIp] {
            if !caller.0.may(needed) {
                return Err(forbidden(needed).into());
            }
        }
        services.audit_export(&format!("subject {user}"), &origin(request, services).actor(&caller.0));
        let store = services.store().clone();
        Ok(File::of("rollcall-subject", Format::Jsonl, &[], (0, 0), move |(place, offset)| {
            let (store, user) = (store.clone(), user.clone());
            async move {
                let Some(table) = crate::store::PERSONAL.get(place) else { return Ok(None) };
                let rows = store.rows_of(&user, *table, offset, AT_ONCE).await?;
                let read = rows.len() as u64;
                let next = if read < AT_ONCE { (place + 1, 0) } else { (place, offset + read) };
                let rows = rows.into_iter().map(|row| json!({ "table": table.word(), "row": row })).collect();
                Ok(Some((rows, next)))
            }
        }))
    }

    /// Erase a user
    ///
    /// Sessions end, and the account goes. What must stay, rows of logs and of acts, names the user by id only; the logs stay whole.
    /// An account of another system stays without a name and disabled, or it would be back with its next token. The last administrator
    /// stays: 409. Erasing again erases what has come since.
    #[oai(path = "/subjects/:id/erase", method = "post")]
    async fn erase(
        &self,
        caller: MayWriteUsers,
        request: &Request,
        Data(services): Data<&Services>,
        id: Path<String>,
        body: Body<EraseRequest>,
    ) -> poem::Result<Done> {
        let user = known(services, &id).await?;
        let body = body.take()?;
        let reason = sentence("reason", body.reason)?;
        if user == caller.0.user && !body.confirm_self.unwrap_or(false) {
            return Err(refused(KickRefused::Oneself).into());
        }
        services.erase(&user, &origin(request, services).actor(&caller.0), &reason).await.map_err(Problem::from)?;
        Ok(Done::Done)
    }
}

/// 404 for somebody of whom nothing is kept.
async fn known(services: &Services, id: &str) -> Result<UserKey, Problem> {
    let user = UserKey::from_wire(id);
    for table in crate::store::PERSONAL {
        if !services.store().rows_of(&user, table, 0, 1).await?.is_empty() {
            return Ok(user);
        }
    }
    Err(Problem::not_found("user"))
}
