//! Logins that were tried. Written through the [`LogWriter`](super::LogWriter) only.

use chrono::{DateTime, SubsecRound, Utc};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::ExprTrait;
use sea_orm::{Condition, IntoActiveModel, QueryOrder, QuerySelect, Select};
use uuid::Uuid;

use super::log_chains::{Link, Place};
use super::log_people::{self, BY};
use super::page::older;
use super::text::{contains, cut, new_id, uuid};
use super::{Page, Paging, Store, StoreError};
use crate::auth::UserKey;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) id: String,
    pub(super) at: DateTime<Utc>,
    pub(super) user: Option<String>,
    pub(super) username: String,
    pub(super) outcome: String,
    pub(super) session_id: Option<String>,
    pub(super) ip: String,
    pub(super) device: String,
    pub(super) os: String,
    pub(super) browser: String,
    pub(super) request_id: String,
    pub(super) chain: Option<String>,
    pub(super) seq: Option<i64>,
    pub(super) hash: Option<String>,
    pub(super) by_digest: Option<String>,
}

super::entity!(LoginLog);

/// A login that was tried. Texts beyond the columns' lengths are cut.
#[derive(Clone, Debug)]
pub struct NewLogin {
    /// When.
    pub at: DateTime<Utc>,
    /// Whose account it was; none when there is no such name.
    pub user: Option<UserKey>,
    /// The name as typed, at most 128 characters. Never a password.
    pub username: String,
    /// `ok`, or the code of the problem it was answered with.
    pub outcome: &'static str,
    /// The session it made.
    pub session: Option<Uuid>,
    /// The address it came from.
    pub ip: String,
    /// As in the online list.
    pub device: String,
    /// Operating system.
    pub os: String,
    /// Browser.
    pub browser: String,
    /// The request's id, as in log lines.
    pub request_id: String,
}

/// A login that was tried, as it is told. Names, addresses and devices are empty once they are erased.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in NewLogin")]
pub struct LoginRow {
    pub id: Uuid,
    pub at: DateTime<Utc>,
    pub user: Option<String>,
    pub username: String,
    pub outcome: String,
    pub session: Option<String>,
    pub ip: String,
    pub device: String,
    pub os: String,
    pub browser: String,
    pub request_id: String,
    /// Its chain and its number there, if it has any.
    pub place: Option<(String, i64)>,
    /// Whether something of it was erased.
    pub erased: bool,
}

/// Which rows; what is none filters nothing.
#[derive(Clone, Debug, Default)]
pub struct LoginQuery {
    /// Exactly this user, as on the wire.
    pub user: Option<String>,
    /// Contained in the name as typed.
    pub username: Option<String>,
    /// Exactly this outcome; `failed` is every one but `ok`.
    pub outcome: Option<String>,
    /// Exactly this address.
    pub ip: Option<String>,
    /// Not before.
    pub from: Option<DateTime<Utc>>,
    /// Before.
    pub to: Option<DateTime<Utc>>,
    /// Which page.
    pub paging: Paging,
}

impl Store {
    /// A page of the login log, newest first.
    pub async fn logins(&self, query: &LoginQuery) -> Result<Page<LoginRow>, StoreError> {
        let page = self.page(selected(query), query.paging).await?;
        Ok(Page { list: self.login_rows(page.list).await?, total: page.total })
    }

    /// The rows that a page would show after this one, at most so many.
    pub async fn logins_after(
        &self,
        query: &LoginQuery,
        after: Option<(DateTime<Utc>, Uuid)>,
        limit: u64,
    ) -> Result<Vec<LoginRow>, StoreError> {
        let select = selected(query).filter(older(Column::At, Column::Id, after)).limit(limit);
        self.login_rows(select.all(self.db()).await?).await
    }

    /// One row.
    pub async fn login_row(&self, id: Uuid) -> Result<Option<LoginRow>, StoreError> {
        let found = Entity::find_by_id(id.to_string()).all(self.db()).await?;
        Ok(self.login_rows(found).await?.pop())
    }

    async fn login_rows(&self, models: Vec<Model>) -> Result<Vec<LoginRow>, StoreError> {
        let ids: Vec<&str> = models.iter().map(|row| row.id.as_str()).collect();
        let mut people = log_people::beside(self.db(), &ids).await?;
        models.into_iter().map(|model| row(people.remove(&(model.id.clone(), BY.to_owned())), model)).collect()
    }
}

fn selected(query: &LoginQuery) -> Select<Entity> {
    let outcome = query.outcome.as_deref().map(|outcome| match outcome {
        "failed" => Column::Outcome.ne("ok"),
        outcome => Column::Outcome.eq(outcome),
    });
    let ip = query.ip.as_deref().map(|ip| {
        let beside = log_people::rows_by(log_people::Column::Ip.eq(ip).into());
        Condition::any().add(Column::Ip.eq(ip)).add(Column::Id.in_subquery(beside))
    });
    let username = query.username.as_deref().map(|name| {
        let like = |column: Expr| column.like(contains(name));
        let beside = log_people::rows_by(like(Expr::col(log_people::Column::Name)).into());
        Condition::any().add(like(Expr::col(Column::Username))).add(Column::Id.in_subquery(beside))
    });
    let which = Condition::all()
        .add_option(query.user.as_deref().map(|user| Column::User.eq(user)))
        .add_option(outcome)
        .add_option(query.from.map(|from| Column::At.gte(from)))
        .add_option(query.to.map(|to| Column::At.lt(to)))
        .add_option(ip)
        .add_option(username);
    Entity::find().filter(which).order_by_desc(Column::At).order_by_desc(Column::Id)
}

/// Writes rows, each at the place that its chain gives it.
pub(super) async fn append(
    db: &impl ConnectionTrait,
    rows: Vec<NewLogin>,
    mut place: impl FnMut(&[String]) -> Place,
) -> Result<(), StoreError> {
    let (mut models, mut people) = (Vec::new(), Vec::new());
    for new in rows {
        let (mut model, by) = model(new);
        let Place { chain, seq, hash } = place(&says(&model));
        (model.chain, model.seq, model.hash) = (Some(chain), Some(seq), Some(hash));
        models.push(model.into_active_model().reset_all());
        people.push(by);
    }
    Entity::insert_many(models).exec_without_returning(db).await?;
    log_people::insert(db, people).await
}

fn model(new: NewLogin) -> (Model, log_people::Model) {
    let (id, at) = (new_id(new.at).to_string(), new.at.trunc_subsecs(6));
    let user = new.user.map(|user| user.to_string());
    let by = log_people::Model {
        name: cut(&new.username, 128),
        ip: cut(&new.ip, 45),
        device: cut(&new.device, 64),
        os: cut(&new.os, 64),
        browser: cut(&new.browser, 64),
        ..log_people::Model::of(&id, BY, user.clone())
    };
    let model = Model {
        id,
        at,
        user,
        username: String::new(),
        outcome: new.outcome.to_owned(),
        session_id: new.session.map(|session| session.to_string()),
        ip: String::new(),
        device: String::new(),
        os: String::new(),
        browser: String::new(),
        request_id: cut(&new.request_id, 64),
        chain: None,
        seq: None,
        hash: None,
        by_digest: Some(by.digest()),
    };
    (model, by)
}

/// What a row's hash covers. The columns that stay empty are covered, too: filled they would be shown.
fn says(row: &Model) -> Vec<String> {
    vec![
        row.id.clone(),
        row.at.timestamp_micros().to_string(),
        row.user.clone().unwrap_or_default(),
        row.outcome.clone(),
        row.session_id.clone().unwrap_or_default(),
        [&*row.username, &row.ip, &row.device, &row.os, &row.browser].concat(),
        row.request_id.clone(),
        row.by_digest.clone().unwrap_or_default(),
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
        parts: row.by_digest.map(|digest| (BY, digest)).into_iter().collect(),
        id: row.id,
    };
    Ok(rows.into_iter().map(link).collect())
}

fn row(by: Option<log_people::Model>, row: Model) -> Result<LoginRow, StoreError> {
    let erased = row.by_digest.is_some() && by.is_none();
    let by = by.unwrap_or_else(|| log_people::Model {
        name: row.username,
        ip: row.ip,
        device: row.device,
        os: row.os,
        browser: row.browser,
        ..Default::default()
    });
    Ok(LoginRow {
        id: uuid(&row.id)?,
        at: row.at,
        user: row.user,
        username: by.name,
        outcome: row.outcome,
        session: row.session_id,
        ip: by.ip,
        device: by.device,
        os: by.os,
        browser: by.browser,
        request_id: row.request_id,
        place: row.chain.zip(row.seq),
        erased,
    })
}
