//! `rollcall user`.

use clap::Subcommand;

use super::password::Password;
use super::{Done, Failure, open_with_keys, say};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::store::{Actor, NewPassword, NewUser, Paging, Store, StoreError, User, UserQuery};

/// Rows read at once.
const PAGE: u64 = 200;

#[derive(Subcommand)]
pub(super) enum What {
    /// Create an account
    Add {
        /// How the user logs in; unique without regard to case
        name: String,
        /// A role of the user, as admin, operator or member; may be given again
        #[arg(long = "role", value_name = "ROLE", default_value = "member")]
        roles: Vec<String>,
        #[command(flatten)]
        password: PasswordFrom,
    },
    /// Set a password and end the user's sessions
    Passwd {
        /// Whose
        name: String,
        #[command(flatten)]
        password: PasswordFrom,
    },
    /// List the accounts
    List,
    /// Forget failed logins, and lift a lockout
    Unlock {
        /// Whose
        name: String,
    },
    /// Keep a user out and end their sessions
    Disable {
        /// Whom
        name: String,
        /// A sentence for the audit log
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Let a disabled user in again
    Enable {
        /// Whom
        name: String,
    },
}

#[derive(clap::Args)]
pub(super) struct PasswordFrom {
    /// Read the password from the first line of the standard input; without this a random one is made and shown once
    #[arg(long)]
    password_stdin: bool,
}

pub(super) async fn run(config: &Config, what: What) -> Done {
    let (store, _) = open_with_keys(config).await?;
    match what {
        What::Add { name, roles, password } => {
            add(&store, name, roles, &Password::new(password.password_stdin)?).await?
        }
        What::Passwd { name, password } => passwd(&store, &name, &Password::new(password.password_stdin)?).await?,
        What::List => list(&store).await?,
        What::Unlock { name } => unlock(&store, &name).await?,
        What::Disable { name, reason } => set_disabled(&store, &name, true, &reason).await?,
        What::Enable { name } => set_disabled(&store, &name, false, "").await?,
    }
    store.close().await;
    Ok(())
}

/// The account of this name.
pub(super) async fn find(store: &Store, name: &str) -> Result<User, Failure> {
    let found = store.user_named(name).await?;
    found.ok_or_else(|| Failure::new(format!("There is no user {name:?}; `rollcall user list` shows them.")))
}

async fn add(store: &Store, username: String, roles: Vec<String>, password: &Password) -> Done {
    let length = username.trim().chars().count();
    // A colon separates an issuer from an id on the wire, and `key:` begins the names of API keys.
    if !(1..=128).contains(&length) || username.contains(|letter: char| letter.is_control() || letter == ':') {
        return Err(Failure::new("A username has 1 to 128 characters, without control characters and colons."));
    }
    let hash = password.hash().await?;
    let new = NewUser { username, password_hash: Some(hash), roles, ..Default::default() };
    let created = store.create_user(new, &Actor::command_line(), SystemClock::new().now()).await;
    let user = created.map_err(|error| match error {
        StoreError::Conflict(_) => {
            Failure::new("There is a user of that name already; names differ by more than case.")
        }
        error => error.into(),
    })?;
    say(format_args!("User {} was created with id {} and {}.", user.username, user.key, roles_of(&user)));
    password.show();
    Ok(())
}

async fn passwd(store: &Store, name: &str, password: &Password) -> Done {
    let (user, hash) = (find(store, name).await?, password.hash().await?);
    let new = NewPassword { hash: &hash, must_change: false, except: None, reason: "" };
    store.set_password_hash(&user.key, new, &Actor::command_line(), SystemClock::new().now()).await?;
    say(format_args!("The password of {} was set, and every session ended.", user.username));
    password.show();
    Ok(())
}

async fn list(store: &Store) -> Done {
    let now = SystemClock::new().now();
    say(format_args!("{:<8} {:<24} {:<24} {:<10} LAST LOGIN", "ID", "NAME", "ROLES", "STATE"));
    for page in 1.. {
        let users = store.users(&UserQuery::all(Paging { page, page_size: PAGE }), now).await?.list;
        for user in &users {
            let state = match user {
                User { disabled_at: Some(_), .. } => "disabled",
                User { locked_until: Some(until), .. } if *until > now => "locked out",
                _ => "enabled",
            };
            let last = user.last_login_at.map_or("never".to_owned(), |at| at.format("%Y-%m-%d %H:%M UTC").to_string());
            let (id, roles) = (user.key.as_str(), user.roles.join(","));
            say(format_args!("{id:<8} {:<24} {roles:<24} {state:<10} {last}", user.username));
        }
        if (users.len() as u64) < PAGE {
            break;
        }
    }
    Ok(())
}

async fn unlock(store: &Store, name: &str) -> Done {
    let (user, by, now) = (find(store, name).await?, Actor::command_line(), SystemClock::new().now());
    store.unlock_user(&user.key, &by, now).await?;
    let lifted = store.lift_lockout(&user.key, &by, "", now).await?.is_some();
    let also = if lifted { ", and the lockout was lifted" } else { "" };
    say(format_args!("Failed logins of {} are forgotten{also}.", user.username));
    Ok(())
}

async fn set_disabled(store: &Store, name: &str, disabled: bool, reason: &str) -> Done {
    let user = find(store, name).await?;
    if user.disabled_at.is_some() == disabled {
        say(format_args!("User {} is {} already.", user.username, if disabled { "disabled" } else { "enabled" }));
        return Ok(());
    }
    store.set_disabled(&user.key, disabled, &Actor::command_line(), reason, SystemClock::new().now()).await?;
    let done = if disabled { "disabled, and every session ended" } else { "enabled" };
    say(format_args!("User {} is {done}.", user.username));
    Ok(())
}

fn roles_of(user: &User) -> String {
    match &user.roles[..] {
        [one] => format!("the role {one}"),
        roles => format!("the roles {}", roles.join(", ")),
    }
}
