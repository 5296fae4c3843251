//! Who did what to whom, and why. Acts write their row in their own transaction; what only reads goes through the
//! [`LogWriter`](super::LogWriter).

use chrono::{DateTime, SubsecRound, Utc};
use sea_orm::entity::prelude::*;
use sea_orm::{IntoActiveModel, QueryOrder, QuerySelect};

use super::StoreError;
use super::log_chains::{Link, Place};
use super::log_people::{self, ABOUT, BY};
use super::text::{cut, new_id};
use crate::auth::Permissions;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) id: String,
    pub(super) at: DateTime<Utc>,
    pub(super) actor: String,
    pub(super) actor_name: String,
    pub(super) action: String,
    pub(super) target: String,
    pub(super) reason: String,
    pub(super) detail: Json,
    pub(super) ip: String,
    pub(super) request_id: String,
    pub(super) chain: Option<String>,
    pub(super) seq: Option<i64>,
    pub(super) hash: Option<String>,
    pub(super) by_digest: Option<String>,
    pub(super) about_digest: Option<String>,
}

super::entity!(AuditLog);

/// Who does something, and through what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// The user as on the wire, `key:` and an API key's id, `cli` or `system`.
    pub key: String,
    /// The name shown.
    pub name: String,
    /// The address it came from; empty for none.
    pub ip: String,
    /// Its `User-Agent`, at most 512 bytes of it; empty for none.
    pub user_agent: String,
    /// The request it came with; empty for none.
    pub request_id: String,
    /// What they may hand on to others: nobody gives what they do not have.
    pub grants: Permissions,
    /// Whether they may make administrators, and change them.
    pub makes_admins: bool,
}

impl Actor {
    /// The server itself: a job, a policy, the first start.
    pub fn system() -> Actor {
        Actor { key: "system".into(), name: "system".into(), ..Actor::almighty() }
    }

    /// Whoever types commands on the machine.
    pub fn command_line() -> Actor {
        Actor { key: "cli".into(), name: "command line".into(), ..Actor::almighty() }
    }

    fn almighty() -> Actor {
        Actor { grants: Permissions::all(), makes_admins: true, ..Actor::default() }
    }
}

/// A row to be. Texts beyond the columns' lengths are cut.
#[derive(Clone, Debug)]
pub struct NewAudit {
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub by: Actor,
    /// What, as `user.disable`; at most 64 characters.
    pub action: String,
    /// To whom, at most 320 characters.
    pub target: String,
    /// The operator's sentence, at most 200 characters.
    pub reason: String,
    /// What else matters, by action.
    pub detail: serde_json::Value,
}

impl NewAudit {
    /// An empty row of this time, to be filled.
    pub fn at(at: DateTime<Utc>) -> NewAudit {
        NewAudit {
            at,
            by: Actor::default(),
            action: String::new(),
            target: String::new(),
            reason: String::new(),
            detail: serde_json::json!({}),
        }
    }
}

/// What these acts say of whom they are done to is that person's; everything else is the server's.
const ABOUT_PEOPLE: [&str; 5] = ["lockout.", "online.", "session.", "token.", "user."];

/// Writes rows, each at the place that its chain gives it.
pub(super) async fn append(
    db: &impl ConnectionTrait,
    rows: Vec<NewAudit>,
    mut place: impl FnMut(&[String]) -> Place,
) -> Result<(), StoreError> {
    let (mut models, mut people) = (Vec::new(), Vec::new());
    for new in rows {
        let (mut model, parts) = model(new);
        let Place { chain, seq, hash } = place(&says(&model));
        (model.chain, model.seq, model.hash) = (Some(chain), Some(seq), Some(hash));
        models.push(model.into_active_model().reset_all());
        people.extend(parts);
    }
    Entity::insert_many(models).exec_without_returning(db).await?;
    log_people::insert(db, people).await
}

fn model(new: NewAudit) -> (Model, Vec<log_people::Model>) {
    let (id, at) = (new_id(new.at).to_string(), new.at.trunc_subsecs(6));
    let (actor, target) = (cut(&new.by.key, 320), cut(&new.target, 320));
    let by = log_people::Model {
        name: cut(&new.by.name, 128),
        ip: cut(&new.by.ip, 45),
        user_agent: cut(&new.by.user_agent, 512),
        ..log_people::Model::of(&id, BY, Some(actor.clone()))
    };
    let (mut reason, mut detail, mut about) = (cut(&new.reason, 200), new.detail, None);
    if ABOUT_PEOPLE.iter().any(|word| new.action.starts_with(word)) {
        // Several at once are nobody's alone: that goes with the row.
        let subject = Some(target.clone()).filter(|target| !target.contains(' '));
        about = Some(log_people::Model {
            reason: std::mem::take(&mut reason),
            detail: std::mem::replace(&mut detail, serde_json::json!({})).to_string(),
            ..log_people::Model::of(&id, ABOUT, subject)
        });
    }
    let model = Model {
        id,
        at,
        actor,
        actor_name: String::new(),
        action: cut(&new.action, 64),
        target,
        reason,
        detail,
        ip: String::new(),
        request_id: cut(&new.by.request_id, 64),
        chain: None,
        seq: None,
        hash: None,
        by_digest: Some(by.digest()),
        about_digest: about.as_ref().map(log_people::Model::digest),
    };
    (model, std::iter::once(by).chain(about).collect())
}

/// What a row's hash covers. The columns that stay empty are covered, too: filled they would be shown.
fn says(row: &Model) -> Vec<String> {
    let digest = |digest: &Option<String>| digest.clone().unwrap_or_default();
    vec![
        row.id.clone(),
        row.at.timestamp_micros().to_string(),
        row.actor.clone(),
        row.actor_name.clone(),
        row.action.clone(),
        row.target.clone(),
        row.reason.clone(),
        row.detail.to_string(),
        row.ip.clone(),
        row.request_id.clone(),
        digest(&row.by_digest),
        digest(&row.about_digest),
    ]
}

/// The rows of a chain after one, in order.
pub(super) async fn links(
    db: &impl ConnectionTrait,
    chain: &str,
    after: i64,
    limit: u64,
) -> Result<Vec<Link>, StoreError> {
    let select = Entity::find().filter(Column::Chain.eq(chain)).filter(Column::Seq.gt(after));
    let rows = select.order_by_asc(Column::Seq).order_by_asc(Column::Id).limit(limit).all(db).await?;
    let link = |row: Model| Link {
        says: says(&row),
        seq: row.seq.unwrap_or_default(),
        hash: row.hash.unwrap_or_default(),
        at: row.at,
        parts: [(BY, row.by_digest), (ABOUT, row.about_digest)]
            .into_iter()
            .filter_map(|(part, digest)| Some((part, digest?)))
            .collect(),
        id: row.id,
    };
    Ok(rows.into_iter().map(link).collect())
}
