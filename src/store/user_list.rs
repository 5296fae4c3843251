//! Lists of accounts: searched, filtered, in an order, by pages.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait, Func, NullOrdering, Query};
use sea_orm::{Condition, Order, QueryOrder, QuerySelect};

use super::text::{contains, username_key};
use super::users::{Column, Entity, assemble};
use super::{Page, Paging, Store, StoreError, User, lockouts, user_roles};
use crate::auth::name_digest;

/// Users with a locked name that are found by it, at most: a statement has only so many parameters.
const MAX_LOCKED: usize = 5_000;

/// Which users, in which order.
#[derive(Clone, Debug)]
pub struct UserQuery {
    /// Part of the username, the display name or the address, without regard to case (SQLite: of ASCII letters, but for
    /// usernames); empty for all.
    pub q: String,
    /// Who was given this role; roles that other systems name are not looked at.
    pub role: Option<String>,
    /// Only disabled accounts, or only others.
    pub disabled: Option<bool>,
    /// Only those who are kept out by a lockout or by wrong passwords, or only others.
    pub locked: Option<bool>,
    /// Whose users; empty is the default issuer.
    pub issuer: Option<String>,
    /// The digests of names that are locked by wrong passwords; only looked at with `locked`.
    pub locked_names: HashSet<String>,
    /// The order; equal ones as they were created.
    pub order: UserOrder,
    /// Downwards.
    pub descending: bool,
    /// Which page.
    pub paging: Paging,
}

/// What users are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum UserOrder {
    Created,
    Username,
    DisplayName,
    Email,
    /// Who never logged in comes last.
    LastLogin,
}

impl UserQuery {
    /// Everybody, oldest first.
    pub fn all(paging: Paging) -> UserQuery {
        UserQuery {
            q: String::new(),
            role: None,
            disabled: None,
            locked: None,
            issuer: None,
            locked_names: HashSet::new(),
            order: UserOrder::Created,
            descending: false,
            paging,
        }
    }
}

impl Store {
    /// A page of accounts.
    pub async fn users(&self, query: &UserQuery, now: DateTime<Utc>) -> Result<Page<User>, StoreError> {
        let mut which = Condition::all();
        let q = username_key(&query.q);
        if !q.is_empty() {
            which = which.add(named(&q));
        }
        if let Some(role) = &query.role {
            which = which.add(with_role(role));
        }
        if let Some(disabled) = query.disabled {
            let null = Column::DisabledAt.is_null();
            which = which.add(if disabled { null.not() } else { null });
        }
        if let Some(issuer) = &query.issuer {
            which = which.add(Column::Issuer.eq(issuer));
        }
        if let Some(locked) = query.locked {
            let kept_out = self.kept_out(&query.locked_names, now).await?;
            which = which.add(if locked { kept_out } else { kept_out.not() });
        }
        let order = if query.descending { Order::Desc } else { Order::Asc };
        let select = Entity::find().filter(which);
        let select = match column(query.order) {
            Column::LastLoginAt => select.order_by_with_nulls(Column::LastLoginAt, order.clone(), NullOrdering::Last),
            column => select.order_by(column, order.clone()),
        };
        let page = self.page(select.order_by(Column::Seq, order), query.paging).await?;
        Ok(Page { total: page.total, list: assemble(self.db(), page.list).await? })
    }

    async fn kept_out(&self, names: &HashSet<String>, now: DateTime<Utc>) -> Result<Condition, StoreError> {
        let out = Query::select()
            .expr(Expr::val(1))
            .from(lockouts::Entity)
            .and_where(Expr::col((lockouts::Entity, lockouts::Column::Issuer)).equals((Entity, Column::Issuer)))
            .and_where(Expr::col((lockouts::Entity, lockouts::Column::UserId)).equals((Entity, Column::Id)))
            .and_where(Expr::col((lockouts::Entity, lockouts::Column::Until)).gt(now))
            .to_owned();
        let by_name = self.with_digests(names).await?;
        let kept = Condition::any().add(Expr::exists(out));
        Ok(if by_name.is_empty() { kept } else { kept.add(Column::Seq.is_in(by_name)) })
    }

    /// Rows of our own accounts whose names have one of these digests. Only names as long as a digest are read, and only where any
    /// name is locked at all.
    async fn with_digests(&self, digests: &HashSet<String>) -> Result<Vec<i64>, StoreError> {
        if digests.is_empty() {
            return Ok(Vec::new());
        }
        let select = Entity::find().select_only().columns([Column::Seq, Column::UsernameKey]);
        let names: Vec<(i64, String)> =
            select.filter(Column::Issuer.eq(self.own_issuer())).into_tuple().all(self.db()).await?;
        let locked = names.into_iter().filter(|(_, name)| digests.contains(&name_digest(name)));
        Ok(locked.map(|(seq, _)| seq).take(MAX_LOCKED).collect())
    }
}

fn named(q: &str) -> Condition {
    let lower = |column| Expr::expr(Func::lower(Expr::col((Entity, column))));
    Condition::any()
        .add(Expr::col((Entity, Column::UsernameKey)).like(contains(q)))
        .add(lower(Column::DisplayName).like(contains(q)))
        .add(lower(Column::Email).like(contains(q)))
}

fn with_role(role: &str) -> Expr {
    let given = Query::select()
        .expr(Expr::val(1))
        .from(user_roles::Entity)
        .and_where(Expr::col((user_roles::Entity, user_roles::Column::Issuer)).equals((Entity, Column::Issuer)))
        .and_where(Expr::col((user_roles::Entity, user_roles::Column::UserId)).equals((Entity, Column::Id)))
        .and_where(Expr::col((user_roles::Entity, user_roles::Column::Role)).eq(role))
        .to_owned();
    Expr::exists(given)
}

fn column(order: UserOrder) -> Column {
    match order {
        UserOrder::Created => Column::Seq,
        UserOrder::Username => Column::UsernameKey,
        UserOrder::DisplayName => Column::DisplayName,
        UserOrder::Email => Column::Email,
        UserOrder::LastLogin => Column::LastLoginAt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{at, login, new_user, store};
    use crate::store::{Actor, Kind, NewRevocation, NewUser, UserChange};

    async fn names(store: &Store, query: UserQuery) -> Vec<String> {
        let page = store.users(&query, at(10)).await.unwrap();
        assert_eq!(page.total, page.list.len() as u64);
        page.list.into_iter().map(|user| user.username).collect()
    }

    fn all() -> UserQuery {
        UserQuery::all(Paging { page: 1, page_size: 20 })
    }

    #[tokio::test]
    async fn a_search_takes_wildcards_literally() {
        let store = store().await;
        for name in ["a_c", "abc", "100%", "wow!"] {
            new_user(&store, name, &[]).await;
        }
        for (q, expected) in [("_", vec!["a_c"]), ("%", vec!["100%"]), ("!", vec!["wow!"]), ("A", vec!["a_c", "abc"])] {
            assert_eq!(names(&store, UserQuery { q: q.into(), ..all() }).await, expected, "searching for {q:?}");
        }
    }

    #[tokio::test]
    async fn each_filter_finds_its_own_and_the_others_are_the_rest() {
        let store = store().await;
        for (name, role) in [("root", "admin"), ("bob", "member"), ("eve", "member"), ("ops", "operator")] {
            new_user(&store, name, &[role]).await;
        }
        let key = async |name: &str| store.user_named(name).await.unwrap().unwrap().key;
        let by = Actor::system();
        store.set_disabled(&key("eve").await, true, &by, "", at(1)).await.unwrap();
        let mut kick = NewRevocation { until: Some(at(60)), ..NewRevocation::new(Kind::Kick, &by) };
        kick.targets.users.push(key("bob").await);
        store.revoke(kick, at(1)).await.unwrap();
        let digests = HashSet::from([name_digest("ops"), name_digest("nobody")]);
        let locked = |locked| UserQuery { locked: Some(locked), locked_names: digests.clone(), ..all() };
        assert_eq!(names(&store, locked(true)).await, ["bob", "ops"]);
        assert_eq!(names(&store, locked(false)).await, ["root", "eve"]);
        assert_eq!(names(&store, UserQuery { disabled: Some(true), ..all() }).await, ["eve"]);
        assert_eq!(names(&store, UserQuery { disabled: Some(false), ..all() }).await, ["root", "bob", "ops"]);
        assert_eq!(names(&store, UserQuery { role: Some("member".into()), ..all() }).await, ["bob", "eve"]);
        assert!(names(&store, UserQuery { issuer: Some("shop".into()), ..all() }).await.is_empty());
        assert_eq!(names(&store, UserQuery { issuer: Some(String::new()), ..all() }).await.len(), 4);
    }

    #[tokio::test]
    async fn a_name_for_people_and_an_address_are_searched_and_sorted_by() {
        let store = store().await;
        for (name, display_name, email) in [("b", "Zoe", "x@example.com"), ("a", "Ann", "y@example.com"), ("c", "", "")]
        {
            let new = NewUser { username: name.into(), ..NewUser::default() };
            let user = store.create_user(new, &Actor::system(), at(0)).await.unwrap().key;
            let change = UserChange {
                display_name: Some(display_name.into()),
                email: Some(email.into()),
                ..UserChange::default()
            };
            assert!(store.change_user(&user, change, &Actor::system(), at(1)).await.unwrap().is_empty());
        }
        assert_eq!(names(&store, UserQuery { q: "ZO".into(), ..all() }).await, ["b"]);
        assert_eq!(names(&store, UserQuery { q: "Y@exa".into(), ..all() }).await, ["a"]);
        let sorted = |order, descending| UserQuery { order, descending, ..all() };
        assert_eq!(names(&store, sorted(UserOrder::Username, true)).await, ["c", "b", "a"]);
        assert_eq!(names(&store, sorted(UserOrder::DisplayName, false)).await, ["c", "a", "b"]);
        let key = store.user_named("a").await.unwrap().unwrap().key;
        login(&store, &key, 5).await;
        for descending in [false, true] {
            assert_eq!(names(&store, sorted(UserOrder::LastLogin, descending)).await[0], "a", "never comes last");
        }
    }
}
