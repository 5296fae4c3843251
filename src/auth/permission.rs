//! The catalogue of permission words.

use std::fmt;
use std::str::FromStr;

macro_rules! permissions {
    ($($name:ident = $word:literal, $sentence:literal;)*) => {
        /// One thing a role may allow. The words are the scopes of tokens, too.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Permission { $(#[doc = $sentence] $name),* }

        impl Permission {
            /// Every permission there is, in the order of the catalogue.
            pub const ALL: &[Permission] = &[$(Permission::$name),*];

            /// The word used in roles, scopes and problems.
            pub fn word(self) -> &'static str {
                match self { $(Permission::$name => $word),* }
            }

            /// What it allows, in a sentence for people.
            pub fn sentence(self) -> &'static str {
                match self { $(Permission::$name => $sentence),* }
            }
        }
    };
}

permissions! {
    OnlineRead = "online:read", "See who is online, live.";
    OnlineKick = "online:kick", "End clients, sessions and users' logins, and lift lockouts.";
    OnlineIp = "online:ip", "See whole addresses instead of masked ones.";
    PushSend = "push:send", "Push events to users, roles, rooms, clients or everyone.";
    PresenceRead = "presence:read", "See who is in which room.";
    MonitorRead = "monitor:read", "See how the server is doing.";
    NoticeSend = "notice:send", "Send notices.";
    NoticeRead = "notice:read", "Read notices addressed to oneself.";
    UserRead = "user:read", "See user accounts.";
    UserWrite = "user:write", "Create, change, disable and unlock user accounts.";
    RoleWrite = "role:write", "Create and change roles.";
    SessionWrite = "session:write", "See and end sessions of others.";
    KeyWrite = "key:write", "Create and revoke API keys.";
    AuditRead = "audit:read", "Read the audit log.";
    JobRun = "job:run", "Run a scheduled job now.";
    SettingsWrite = "settings:write", "Change settings.";
    AuthHandoff = "auth:handoff", "Log a user in on behalf of another system.";
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Permission {
    type Err = ();

    fn from_str(word: &str) -> Result<Permission, ()> {
        Permission::ALL.iter().copied().find(|permission| permission.word() == word).ok_or(())
    }
}

/// A set of permissions: one integer, so that a check per event costs one comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions(u32);

impl Permissions {
    /// Every permission.
    pub fn all() -> Permissions {
        Permission::ALL.iter().copied().collect()
    }

    /// Whether the set has it.
    pub fn contains(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u8) != 0
    }

    /// What both sets have.
    pub fn intersection(self, other: Permissions) -> Permissions {
        Permissions(self.0 & other.0)
    }

    /// What this set has and the other has not.
    pub fn difference(self, other: Permissions) -> Permissions {
        Permissions(self.0 & !other.0)
    }

    /// The words, in the order of the catalogue.
    pub fn words(self) -> Vec<&'static str> {
        self.iter().map(Permission::word).collect()
    }

    /// The permissions, in the order of the catalogue.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.iter().copied().filter(move |permission| self.contains(*permission))
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Permissions {
        Permissions(permissions.into_iter().fold(0, |set, permission| set | 1 << permission as u8))
    }
}

impl std::ops::BitOr for Permissions {
    type Output = Permissions;

    fn bitor(self, other: Permissions) -> Permissions {
        Permissions(self.0 | other.0)
    }
}
