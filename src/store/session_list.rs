//! Lists of logins that stand: filtered, in an order, by pages; and those that are older than a time.

use chrono::{DateTime, Utc};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait, Query};
use sea_orm::{Condition, Order, QueryOrder, QuerySelect};

use super::roles::ADMIN;
use super::sessions::{Column, Entity, assemble, live, of};
use super::text::{contains, username_key, uuid};
use super::{Page, Paging, SessionKind, SessionRow, Store, StoreError, user_roles, users};
use crate::auth::UserKey;

/// Which sessions, in which order.
#[derive(Clone, Debug)]
pub struct SessionQuery {
    /// Of this user; none for everybody's.
    pub user: Option<UserKey>,
    /// Part of the username, without regard to case.
    pub username: Option<String>,
    /// Part of the address.
    pub ip: Option<String>,
    /// `pc`, `smartphone`, …
    pub device: Option<String>,
    /// Login, token or foreign.
    pub kind: Option<SessionKind>,
    /// Begun before that.
    pub created_before: Option<DateTime<Utc>>,
    /// Not used since.
    pub seen_before: Option<DateTime<Utc>>,
    /// The order; equal ones by id, which is by age.
    pub order: SessionOrder,
    /// Downwards.
    pub descending: bool,
    /// Which page.
    pub paging: Paging,
}

/// What sessions are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum SessionOrder {
    Created,
    LastSeen,
    Expires,
    User,
    Ip,
}

impl SessionQuery {
    /// Everybody's, newest first.
    pub fn all(paging: Paging) -> SessionQuery {
        SessionQuery {
            user: None,
            username: None,
            ip: None,
            device: None,
            kind: None,
            created_before: None,
            seen_before: None,
            order: SessionOrder::Created,
            descending: true,
            paging,
        }
    }

    fn which(&self, now: DateTime<Utc>) -> Condition {
        let mut which = live(now);
        if let Some(user) = &self.user {
            which = which.add(of(user));
        }
        if let Some(name) = &self.username {
            which = which.add(of_users_named(name));
        }
        if let Some(ip) = &self.ip {
            which = which.add(Expr::col((Entity, Column::Ip)).like(contains(ip)));
        }
        if let Some(device) = &self.device {
            which = which.add(Column::Device.eq(device));
        }
        if let Some(kind) = self.kind {
            which = which.add(Column::Kind.eq(kind.word()));
        }
        if let Some(time) = self.created_before {
            which = which.add(Column::CreatedAt.lt(time));
        }
        if let Some(time) = self.seen_before {
            which = which.add(Column::LastSeenAt.lt(time));
        }
        which
    }
}

impl Store {
    /// A page of the sessions that stand.
    pub async fn sessions(&self, query: &SessionQuery, now: DateTime<Utc>) -> Result<Page<SessionRow>, StoreError> {
        let order = if query.descending { Order::Desc } else { Order::Asc };
        let columns = match query.order {
            SessionOrder::Created => &[Column::CreatedAt][..],
            SessionOrder::LastSeen => &[Column::LastSeenAt],
            SessionOrder::Expires => &[Column::ExpiresAt],
            SessionOrder::User => &[Column::Issuer, Column::UserId],
            SessionOrder::Ip => &[Column::Ip],
        };
        let select = Entity::find().filter(query.which(now));
        let select = columns.iter().fold(select, |select, column| select.order_by(*column, order.clone()));
        let page = self.page(select.order_by(Column::Id, order), query.paging).await?;
        Ok(Page { total: page.total, list: assemble(self, page.list).await? })
    }

    /// At most `limit` sessions that stand and were begun before a time, oldest first, without the one that stays; with `spare`
    /// without those of administrators.
    pub async fn sessions_before(
        &self,
        time: DateTime<Utc>,
        user: Option<&UserKey>,
        but: Option<Uuid>,
        spare_admins: bool,
        limit: u64,
        now: DateTime<Utc>,
    ) -> Result<Vec<Uuid>, StoreError> {
        let mut which = live(now).add(Column::CreatedAt.lt(time));
        if let Some(user) = user {
            which = which.add(of(user));
        }
        if let Some(but) = but {
            which = which.add(Column::Id.ne(but.to_string()));
        }
        if spare_admins {
            which = which.add(of_administrators().not());
        }
        let ids: Vec<String> = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(which)
            .order_by_asc(Column::CreatedAt)
            .order_by_asc(Column::Id)
            .limit(limit)
            .into_tuple()
            .all(self.db())
            .await?;
        ids.iter().map(|id| uuid(id)).collect()
    }
}

fn of_users_named(name: &str) -> Expr {
    let named = Query::select()
        .expr(Expr::val(1))
        .from(users::Entity)
        .and_where(Expr::col((users::Entity, users::Column::Issuer)).equals((Entity, Column::Issuer)))
        .and_where(Expr::col((users::Entity, users::Column::Id)).equals((Entity, Column::UserId)))
        .and_where(Expr::col((users::Entity, users::Column::UsernameKey)).like(contains(&username_key(name))))
        .to_owned();
    Expr::exists(named)
}

fn of_administrators() -> Expr {
    let administrators = Query::select()
        .expr(Expr::val(1))
        .from(user_roles::Entity)
        .and_where(Expr::col((user_roles::Entity, user_roles::Column::Issuer)).equals((Entity, Column::Issuer)))
        .and_where(Expr::col((user_roles::Entity, user_roles::Column::UserId)).equals((Entity, Column::UserId)))
        .and_where(Expr::col((user_roles::Entity, user_roles::Column::Role)).eq(ADMIN))
        .to_owned();
    Expr::exists(administrators)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{at, login, new_user, store};

    #[tokio::test]
    async fn the_older_ones_are_found_without_the_own_and_administrators() {
        let store = store().await;
        let root = new_user(&store, "root", &["admin"]).await.key;
        let bob = new_user(&store, "bob", &["member"]).await.key;
        let (of_root, first) = (login(&store, &root, 1).await, login(&store, &bob, 2).await);
        let (second, _third) = (login(&store, &bob, 3).await, login(&store, &bob, 4).await);
        let older = async |user: Option<&UserKey>, but, spare, limit| {
            store.sessions_before(at(4), user, but, spare, limit, at(9)).await.unwrap()
        };
        assert_eq!(older(None, None, false, 9).await, [of_root, first, second]);
        assert_eq!(older(None, Some(first), true, 9).await, [second]);
        assert_eq!(older(Some(&bob), None, false, 1).await, [first]);
    }

    #[tokio::test]
    async fn sessions_are_filtered_and_sorted() {
        let store = store().await;
        let (bob, eve) = (new_user(&store, "bob", &[]).await.key, new_user(&store, "eve", &[]).await.key);
        let (of_bob, of_eve) = (login(&store, &bob, 1).await, login(&store, &eve, 2).await);
        let all = || SessionQuery::all(Paging { page: 1, page_size: 9 });
        let ids = async |query: SessionQuery| {
            let page = store.sessions(&query, at(9)).await.unwrap();
            assert_eq!(page.total, page.list.len() as u64);
            page.list.into_iter().map(|session| session.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(all()).await, [of_eve, of_bob]);
        assert_eq!(ids(SessionQuery { descending: false, order: SessionOrder::User, ..all() }).await, [of_bob, of_eve]);
        assert_eq!(ids(SessionQuery { username: Some("BO".into()), ..all() }).await, [of_bob]);
        assert_eq!(ids(SessionQuery { created_before: Some(at(2)), ..all() }).await, [of_bob]);
        assert_eq!(ids(SessionQuery { ip: Some("7.0.0".into()), ..all() }).await, [of_eve, of_bob]);
        assert!(ids(SessionQuery { ip: Some("%".into()), ..all() }).await.is_empty());
        assert!(ids(SessionQuery { kind: Some(SessionKind::Token), ..all() }).await.is_empty());
        assert!(ids(SessionQuery { device: Some("tv".into()), ..all() }).await.is_empty());
        assert!(ids(SessionQuery { seen_before: Some(at(1)), ..all() }).await.is_empty());
    }
}
