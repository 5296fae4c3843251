//! Who somebody is, and what they may do.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Permissions;

/// The issuer of API keys where users are named: `key:…`. Reserved, so that no other system's user looks like a key.
pub const KEY_ISSUER: &str = "key";

/// A user: the pair (issuer, id), written as on the wire: `42` for the default issuer, `shop:42` for any other.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserKey(Arc<str>);

impl UserKey {
    /// The user `id` of `issuer`; an empty issuer is the default one.
    pub fn new(issuer: &str, id: &str) -> UserKey {
        if issuer.is_empty() { UserKey(id.into()) } else { UserKey(format!("{issuer}:{id}").into()) }
    }

    /// Reads what stands on the wire.
    pub fn from_wire(text: &str) -> UserKey {
        UserKey(text.into())
    }

    /// As on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The issuer's name; empty is the default one.
    pub fn issuer(&self) -> &str {
        self.0.split_once(':').map_or("", |(issuer, _)| issuer)
    }

    /// Whether it is no user, but an API key.
    pub fn is_api_key(&self) -> bool {
        self.issuer() == KEY_ISSUER
    }

    /// The id within the issuer.
    pub fn id(&self) -> &str {
        self.0.split_once(':').map_or(&*self.0, |(_, id)| id)
    }
}

impl fmt::Display for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a user is called and may do right now. Replaced as a whole when a role changes, on open sockets too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    /// The name shown in lists.
    pub username: Arc<str>,
    /// Names of the roles, sorted.
    pub roles: Arc<[Arc<str>]>,
    /// The union of the roles' permissions, narrowed by the token's scopes where it has any.
    pub permissions: Permissions,
}

impl Rights {
    /// Whether the seed role `admin` is among the roles: only such a caller may kick another such user.
    pub fn is_admin(&self) -> bool {
        self.roles.iter().any(|role| &**role == "admin")
    }
}

/// A verified caller: the token was good and the session stands; or the API key stands.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Who; an API key is `key:` and its id.
    pub user: UserKey,
    /// By which login; for an API key its id, which is no login's.
    pub session: Uuid,
    /// The application the login belongs to, HotGo's `app`; empty for our own page.
    pub app: Arc<str>,
    /// Name, roles, permissions.
    pub rights: Arc<Rights>,
    /// When the token that was shown expires.
    pub expires_at: DateTime<Utc>,
    /// When the session ends, however often it is refreshed.
    pub session_expires_at: DateTime<Utc>,
    /// When the session began.
    pub logged_in_at: DateTime<Utc>,
    /// Address of the user's picture; empty when there is none.
    pub avatar: Arc<str>,
    /// Whether nothing is open but `me`, `password` and `logout` until a new password is chosen.
    pub must_change_password: bool,
}

impl Identity {
    /// Whether the caller may do this.
    pub fn may(&self, permission: super::Permission) -> bool {
        self.rights.permissions.contains(permission)
    }
}
