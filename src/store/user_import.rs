//! Many accounts at once: all of them, or none and why.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sea_orm::entity::prelude::*;

use super::roles::{self, take_turn};
use super::text::{CHUNK, username_key};
use super::users::{Column, Entity, create};
use super::{Actor, NewUser, Store, StoreError};
use crate::auth::UserKey;

/// An account that cannot be made: which of the list, from 0, and why.
#[derive(Debug)]
pub struct BadRow {
    /// Its place in the list.
    pub place: usize,
    /// [`StoreError::Conflict`] `username`, [`StoreError::NotFound`] `role`, [`StoreError::Beyond`] or
    /// [`StoreError::AdministratorsOnly`].
    pub why: StoreError,
}

/// What became of a list of accounts.
#[derive(Debug)]
pub enum Import {
    /// All are made, in the order of the list.
    Made(Vec<UserKey>),
    /// None is made.
    Refused(Vec<BadRow>),
}

impl Store {
    /// Which of these accounts could not be made as of now. Changes nothing.
    pub async fn check_import(&self, list: &[NewUser], by: &Actor) -> Result<Vec<BadRow>, StoreError> {
        let tx = self.begin().await?;
        self.bad_rows(&tx, list, by).await
    }

    /// Makes all of these accounts in one transaction, or none.
    pub async fn import_users(&self, list: &[NewUser], by: &Actor, now: DateTime<Utc>) -> Result<Import, StoreError> {
        let tx = self.begin().await?;
        take_turn(&tx).await?;
        let bad = self.bad_rows(&tx, list, by).await?;
        if !bad.is_empty() {
            return Ok(Import::Refused(bad));
        }
        let mut made = Vec::new();
        for new in list {
            made.push(create(&tx, self.own_issuer(), new, by, now).await?);
        }
        tx.commit().await?;
        Ok(Import::Made(made))
    }

    async fn bad_rows(
        &self,
        tx: &super::connection::Write,
        list: &[NewUser],
        by: &Actor,
    ) -> Result<Vec<BadRow>, StoreError> {
        let names: Vec<String> = list.iter().map(|new| username_key(&new.username)).collect();
        // How often each name is taken: by whom there is, and by those before in the list.
        let mut taken: HashMap<String, usize> = HashMap::new();
        for names in names.chunks(CHUNK) {
            let known = Entity::find().filter(Column::Issuer.eq(self.own_issuer()));
            for row in known.filter(Column::UsernameKey.is_in(names)).all(&**tx).await? {
                taken.insert(row.username_key, 1);
            }
        }
        let mut bad = Vec::new();
        for (place, (new, name)) in list.iter().zip(names).enumerate() {
            let times = taken.entry(name).or_default();
            *times += 1;
            if *times > 1 {
                bad.push(BadRow { place, why: StoreError::Conflict("username") });
            }
            match roles::check(tx, &super::users::distinct(&new.roles), by).await {
                Err(why @ (StoreError::NotFound(_) | StoreError::Beyond(_) | StoreError::AdministratorsOnly)) => {
                    bad.push(BadRow { place, why });
                }
                checked => checked?,
            }
        }
        Ok(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Permission;
    use crate::store::testing::{at, new_user, store};

    fn new(username: &str, roles: &[&str]) -> NewUser {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        NewUser { username: username.into(), roles, ..NewUser::default() }
    }

    #[tokio::test]
    async fn a_list_with_one_bad_row_makes_nobody_and_a_good_one_everybody() {
        let store = store().await;
        new_user(&store, "bob", &[]).await;
        let by = Actor {
            grants: [Permission::NoticeRead, Permission::PresenceRead].into_iter().collect(),
            ..Actor::default()
        };
        let list = [new("eve", &["member"]), new("BOB", &[]), new("Eve", &["king"]), new("ann", &["operator"])];
        let why = |bad: Vec<BadRow>| bad.into_iter().map(|row| (row.place, row.why.to_string())).collect::<Vec<_>>();
        let expected = [
            (1, "the username is taken".to_owned()),
            (2, "the username is taken".to_owned()),
            (2, "there is no such role".to_owned()),
            (3, "this needs the permission online:read".to_owned()),
        ];
        assert_eq!(why(store.check_import(&list, &by).await.unwrap()), expected);
        let Import::Refused(bad) = store.import_users(&list, &by, at(0)).await.unwrap() else { panic!("it was made") };
        assert_eq!(why(bad), expected);
        assert!(store.user_named("eve").await.unwrap().is_none());
        let Import::Made(made) = store.import_users(&list[..1], &by, at(0)).await.unwrap() else { panic!("refused") };
        assert_eq!(store.user(&made[0]).await.unwrap().unwrap().roles, ["member"]);
    }
}
