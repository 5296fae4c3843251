//! API keys: made, listed and revoked. The key itself is in the answer that makes it, and nowhere else.

use chrono::{DateTime, Utc};
use poem::Request;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::MaybeUndefined;
use poem_openapi::{ApiResponse, Object, OpenApi};

use super::kick::uuid;
use super::roles::permissions;
use super::{Done, Tag};
use crate::auth::{Identity, KeyTerms, MAX_KEY_ADDRESSES, Permission, masked, network};
use crate::http::Problem;
use crate::http::body::Body;
use crate::http::page::{List, Paging};
use crate::http::security::{MayWriteKeys, forbidden, origin};
use crate::services::Services;
use crate::store::ApiKeyRow;

pub(crate) struct ApiKeysApi;

/// One key, without the key.
#[derive(Object)]
#[oai(rename_all = "camelCase", rename = "ApiKey")]
struct KeyRow {
    id: String,
    name: String,
    /// The key's beginning, to recognize it by.
    hint: String,
    /// Permission words.
    scopes: Vec<String>,
    /// Networks it may be used from; empty is from everywhere.
    addresses: Vec<String>,
    /// Who made it: a user as on the wire, `key:` and an id, or `cli`.
    created_by: String,
    created_at: DateTime<Utc>,
    /// Absent for a key without an end.
    #[oai(skip_serializing_if_is_none)]
    expires_at: Option<DateTime<Utc>>,
    #[oai(skip_serializing_if_is_none)]
    revoked_at: Option<DateTime<Utc>>,
    /// At most a minute behind; absent before the first use.
    #[oai(skip_serializing_if_is_none)]
    last_used_at: Option<DateTime<Utc>>,
    /// Masked (/24, /48) without `online:ip`.
    #[oai(skip_serializing_if_is_none)]
    last_used_ip: Option<String>,
    /// Calls it may make a minute; absent is `auth.calls_per_key`.
    #[oai(skip_serializing_if_is_none)]
    calls_per_minute: Option<u32>,
}

/// A key, shown once.
#[derive(Object)]
struct NewKey {
    /// The key. Keep it: only its hash stays here.
    key: String,
    #[oai(flatten)]
    row: KeyRow,
}

#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct CreateKey {
    /// What it is for, 1 to 64 characters; shown as `key:<name>` where it acts.
    name: String,
    /// Permission words, none that the caller does not have.
    scopes: Vec<String>,
    /// Networks it may be used from, as `10.0.0.0/8` or a single address, at most 32; absent or empty is from everywhere.
    addresses: Option<Vec<String>>,
    /// Its end, at most 3650 days ahead. Absent: after `auth.key_ttl` (90 days). `null`: never.
    expires_at: MaybeUndefined<DateTime<Utc>>,
    /// Calls it may make a minute, on all nodes together, 1 to 1,000,000; beyond, they are answered 429. Absent is
    /// `auth.calls_per_key`. `RateLimit` of each answer says how many are left.
    calls_per_minute: Option<u32>,
}

#[derive(ApiResponse)]
enum Created {
    /// The new key and its row.
    #[oai(status = 201)]
    Created(Json<NewKey>),
}

#[OpenApi(tag = "Tag::ApiKeys")]
impl ApiKeysApi {
    /// API keys
    ///
    /// Newest first. Those that are over stay as long as logs do.
    #[oai(path = "/api-keys", method = "get")]
    async fn list(
        &self,
        caller: MayWriteKeys,
        Data(services): Data<&Services>,
        page: Query<Option<i64>>,
        #[oai(name = "pageSize")] page_size: Query<Option<i64>>,
    ) -> poem::Result<Json<List<KeyRow>>> {
        let paging = Paging::new(page.0, page_size.0)?;
        let page = services.store().api_keys(paging.into()).await.map_err(Problem::from)?;
        let list = page.list.into_iter().map(|row| key_row(row, &caller.0)).collect();
        Ok(Json(paging.list(list, page.total)))
    }

    /// Create an API key
    ///
    /// The key is in this answer only. It works with `Authorization: Bearer rk_…` wherever its scopes allow, and opens no
    /// socket.
    #[oai(path = "/api-keys", method = "post")]
    async fn create(
        &self,
        caller: MayWriteKeys,
        request: &Request,
        Data(services): Data<&Services>,
        body: Body<CreateKey>,
    ) -> poem::Result<Created> {
        let terms = terms(body.take()?, &caller.0, services)?;
        let by = origin(request, services).actor(&caller.0);
        let (key, row) = services.create_key(&terms, &by).await.map_err(Problem::from)?;
        Ok(Created::Created(Json(NewKey { key: key.expose().to_owned(), row: key_row(row, &caller.0) })))
    }

    /// One API key
    #[oai(path = "/api-keys/:id", method = "get")]
    async fn one(
        &self,
        caller: MayWriteKeys,
        Data(services): Data<&Services>,
        id: Path<String>,
    ) -> poem::Result<Json<KeyRow>> {
        let row = services.store().api_key(uuid(&id, "API key")?).await.map_err(Problem::from)?;
        Ok(Json(key_row(row.ok_or_else(|| Problem::not_found("API key"))?, &caller.0)))
    }

    /// Revoke an API key
    ///
    /// The next call with it is 401. Its row stays as long as logs do.
    #[oai(path = "/api-keys/:id", method = "delete")]
    async fn revoke(
        &self,
        caller: MayWriteKeys,
        request: &Request,
        Data(services): Data<&Services>,
        id: Path<String>,
    ) -> poem::Result<Done> {
        let by = origin(request, services).actor(&caller.0);
        services.revoke_key(uuid(&id, "API key")?, &by).await.map_err(Problem::from)?;
        Ok(Done::Done)
    }
}

fn terms(request: CreateKey, caller: &Identity, services: &Services) -> Result<KeyTerms, Problem> {
    let scopes = permissions("scopes", &request.scopes)?;
    // Nobody hands on what they do not have.
    if let Some(missing) = scopes.difference(caller.rights.permissions).iter().next() {
        return Err(forbidden(missing));
    }
    let terms = KeyTerms {
        name: request.name.trim().to_owned(),
        scopes,
        addresses: addresses(request.addresses.unwrap_or_default())?,
        expires_at: match request.expires_at {
            MaybeUndefined::Undefined => Some(services.default_key_end()),
            MaybeUndefined::Null => None,
            MaybeUndefined::Value(end) => Some(end),
        },
        calls_per_minute: request.calls_per_minute,
    };
    terms.check(services.clock().now()).map_err(|(field, why)| Problem::invalid(field, why))?;
    Ok(terms)
}

fn addresses(texts: Vec<String>) -> Result<Vec<ipnet::IpNet>, Problem> {
    if texts.len() > MAX_KEY_ADDRESSES {
        return Err(Problem::invalid("addresses", format!("has at most {MAX_KEY_ADDRESSES} entries")));
    }
    let networks = texts.iter().map(|text| network(text));
    let why = "holds something that is neither a network as 10.0.0.0/8 nor an address";
    networks.collect::<Option<_>>().ok_or_else(|| Problem::invalid("addresses", why))
}

fn key_row(row: ApiKeyRow, caller: &Identity) -> KeyRow {
    let (last_used_at, last_used_ip) = row.last_used.unzip();
    let shown = |ip: String| match ip.parse() {
        Ok(ip) if !caller.may(Permission::OnlineIp) => masked(ip),
        _ => ip,
    };
    KeyRow {
        id: row.id.to_string(),
        name: row.terms.name,
        hint: row.hint,
        scopes: row.terms.scopes.words().into_iter().map(str::to_owned).collect(),
        addresses: row.terms.addresses.iter().map(ToString::to_string).collect(),
        created_by: row.created_by,
        created_at: row.created_at,
        expires_at: row.terms.expires_at,
        revoked_at: row.revoked_at,
        last_used_at,
        last_used_ip: last_used_ip.map(shown),
        calls_per_minute: row.terms.calls_per_minute,
    }
}
