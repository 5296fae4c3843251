//! The first administrator: without one nobody could create the others.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{App, StartError};
use crate::auth::{check_rule, random_password};
use crate::config::Secret;
use crate::services::Services;
use crate::store::{Actor, NewUser, StoreError};

/// What the first administrator is called.
pub const ADMIN_NAME: &str = "admin";
/// Where a generated password is written when there is no terminal, inside `data.dir`.
pub const PASSWORD_FILE: &str = "admin-password.txt";

/// What became of the first administrator. `Debug` shows no password.
#[derive(Debug, PartialEq, Eq)]
pub enum FirstAdministrator {
    /// There was one already.
    Exists,
    /// Created with the password that was given.
    WithGivenPassword,
    /// Created with this password, to be shown once.
    Show(Secret),
    /// Created with the password in this file.
    InFile(PathBuf),
}

impl App {
    /// Creates `admin` if nobody has the role yet: with the password given (`ROLLCALL_ADMIN_PASSWORD`), or with a random one,
    /// which is to be shown when there is a terminal and is otherwise written to a file only its owner reads.
    pub async fn first_administrator(
        &self,
        given: Option<Secret>,
        terminal: bool,
    ) -> Result<FirstAdministrator, StartError> {
        let store = self.services.store();
        if !store.first_admin_needed().await? {
            return Ok(FirstAdministrator::Exists);
        }
        // Of nodes that start at once on an empty database one makes the account, the others find it.
        let alone = store.alone().await?;
        let made = self.make_first_administrator(given, terminal).await;
        alone.end().await;
        made
    }

    async fn make_first_administrator(
        &self,
        given: Option<Secret>,
        terminal: bool,
    ) -> Result<FirstAdministrator, StartError> {
        if !self.services.store().first_admin_needed().await? {
            return Ok(FirstAdministrator::Exists);
        }
        let (made, password) = match given {
            Some(password) => {
                check_rule(password.expose()).map_err(StartError::AdminPassword)?;
                (FirstAdministrator::WithGivenPassword, password)
            }
            None if terminal => {
                let password = Secret::new(random_password());
                (FirstAdministrator::Show(password.clone()), password)
            }
            None => {
                let password = Secret::new(random_password());
                // Written before the account exists: a password that nobody can read would lock everyone out.
                let path = self.services.config().data.dir.join(PASSWORD_FILE);
                write(&path, &password).map_err(|source| StartError::AdminFile { path: path.clone(), source })?;
                (FirstAdministrator::InFile(path), password)
            }
        };
        match create(&self.services, &password).await {
            Ok(()) => Ok(made),
            // Another process was faster, and has its own password: on SQLite nobody waits.
            Err(StartError::AdminExists) if !self.services.store().first_admin_needed().await? => {
                if let FirstAdministrator::InFile(path) = made {
                    std::fs::remove_file(&path).map_err(|source| StartError::AdminFile { path, source })?;
                }
                Ok(FirstAdministrator::Exists)
            }
            Err(error) => Err(error),
        }
    }
}

async fn create(services: &Services, password: &Secret) -> Result<(), StartError> {
    let new = NewUser {
        username: ADMIN_NAME.into(),
        password_hash: Some(Secret::new(services.passwords().hash(password.expose()).await?)),
        roles: vec!["admin".into()],
        ..Default::default()
    };
    match services.store().create_user(new, &Actor::system(), services.clock().now()).await {
        Ok(_) => Ok(()),
        Err(StoreError::Conflict(_)) => Err(StartError::AdminExists),
        Err(error) => Err(error.into()),
    }
}

/// A file of an earlier try is replaced, not written into: its mode may be another.
fn write(path: &Path, password: &Secret) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{}", password.expose())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::app::testing;

    async fn works(app: &App, password: &str) -> bool {
        let admin = app.services().store().user_named(ADMIN_NAME).await.unwrap().unwrap();
        assert_eq!(admin.roles, ["admin"]);
        let hash = admin.password_hash.unwrap();
        app.services().passwords().verify(Some(hash.expose()), password).await.unwrap()
    }

    #[tokio::test]
    async fn without_a_terminal_the_password_is_in_a_file_only_its_owner_reads() {
        let folder = tempfile::tempdir().unwrap();
        let app = testing::app_in(&folder.path().join("data")).await;
        let FirstAdministrator::InFile(path) = app.first_administrator(None, false).await.unwrap() else {
            panic!("no file");
        };
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(works(&app, std::fs::read_to_string(path).unwrap().trim()).await);
        assert_eq!(app.first_administrator(None, false).await.unwrap(), FirstAdministrator::Exists);
    }

    #[tokio::test]
    async fn on_a_terminal_the_password_is_shown_and_written_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let app = testing::app_in(folder.path()).await;
        let shown = app.first_administrator(None, true).await.unwrap();
        let FirstAdministrator::Show(password) = &shown else { panic!("not shown") };
        assert!(works(&app, password.expose()).await);
        assert!(!folder.path().join(PASSWORD_FILE).exists());
        assert!(!format!("{shown:?}").contains(password.expose()));
    }

    #[tokio::test]
    async fn a_given_password_obeys_the_rule() {
        let folder = tempfile::tempdir().unwrap();
        let app = testing::app_in(folder.path()).await;
        let refused = app.first_administrator(Some(Secret::new("short")), true).await.unwrap_err();
        assert!(refused.to_string().starts_with("ROLLCALL_ADMIN_PASSWORD: The password is too short"), "{refused}");
        let given = Some(Secret::new("correct horse battery"));
        assert_eq!(app.first_administrator(given, true).await.unwrap(), FirstAdministrator::WithGivenPassword);
        assert!(works(&app, "correct horse battery").await);
    }
}
