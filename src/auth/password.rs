//! Passwords: argon2id (RFC 9106) off the async threads, so many at a time and no more.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Shortest password, in characters.
pub const MIN_PASSWORD: usize = 10;
/// Longest password, in characters.
pub const MAX_PASSWORD: usize = 128;

/// Letters and digits of generated passwords, five bits each: none that is easily taken for another (Crockford's base 32).
const READABLE: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Why a password was not computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// As many computations wait as may wait.
    #[error("Too many logins at this moment; try again in a few seconds.")]
    Overloaded,
    /// The stored hash is none, or the computation failed: a sentence for the log, without hash or password.
    #[error("The password could not be checked: {0}.")]
    Failed(String),
}

/// Why a new password is refused. There is no rule of composition (NIST SP 800-63B section 5.1.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordRule {
    /// Fewer than ten characters.
    #[error("The password is too short: it needs at least {MIN_PASSWORD} characters.")]
    TooShort,
    /// More than 128 characters.
    #[error("The password is too long: it may have at most {MAX_PASSWORD} characters.")]
    TooLong,
}

/// Hashes and verifies. As many computations run at once as there are cores, each with `memory_kib` of memory; `queue`
/// more may wait, whatever comes beyond is refused at once. A caller that goes away leaves the queue; a computation that
/// has begun keeps its place until it ends.
pub struct Passwords {
    params: Params,
    /// Verified against for a name that nobody has, so that it takes as long as a wrong password.
    dummy: String,
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
    /// Permits of `admitted`, all in all.
    queue: usize,
}

/// The cost of a computation.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
}

impl Cost {
    /// What OWASP recommends: 19 MiB, two passes, one lane.
    pub const OWASP: Cost = Cost { memory_kib: 19 * 1024, passes: 2 };
    /// As little as argon2 allows: for tests that log in a lot.
    pub const MINIMAL: Cost = Cost { memory_kib: 8, passes: 1 };
}

impl Passwords {
    /// New hashes get this cost; stored ones are verified with their own. `queue` is `auth.password_queue`.
    pub fn new(cost: Cost, queue: usize) -> Passwords {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Passwords::with_cores(cost, queue, cores)
    }

    /// Computations at work and waiting.
    pub fn admitted(&self) -> usize {
        self.queue - self.admitted.available_permits().min(self.queue)
    }

    fn with_cores(cost: Cost, queue: usize, cores: usize) -> Passwords {
        let params = Params::new(cost.memory_kib, cost.passes, 1, None).unwrap_or_default();
        let admitted = queue.saturating_add(cores).min(Semaphore::MAX_PERMITS);
        Passwords {
            queue: admitted,
            dummy: dummy_hash(&params),
            params,
            running: Arc::new(Semaphore::new(cores)),
            admitted: Arc::new(Semaphore::new(admitted)),
        }
    }

    /// The hash of a new password, as a PHC string with a salt of its own. The password has passed `check_rule`.
    pub async fn hash(&self, password: &str) -> Result<String, PasswordError> {
        let (argon2, password) = (self.argon2(), password.to_owned());
        self.compute(move || {
            let hash: Result<PasswordHash, _> = argon2.hash_password(password.as_bytes());
            hash.map(|hash| hash.to_string()).map_err(failed)
        })
        .await
    }

    /// Whether the password is the one of the hash; None is the hash of an unknown name, which takes as long and is
    /// never right. A password too long to be anybody's is not computed, whoever asks.
    pub async fn verify(&self, hash: Option<&str>, password: &str) -> Result<bool, PasswordError> {
        if check_rule(password) == Err(PasswordRule::TooLong) {
            return Ok(false);
        }
        let known = hash.is_some();
        let (argon2, password) = (self.argon2(), password.to_owned());
        let hash = hash.unwrap_or(&self.dummy).to_owned();
        self.compute(move || match argon2.verify_password(password.as_bytes(), hash.as_str()) {
            Ok(()) => Ok(known),
            Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
            Err(error) => Err(failed(error)),
        })
        .await
    }

    fn argon2(&self) -> Argon2<'static> {
        Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params.clone())
    }

    async fn compute<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<R, PasswordError> + Send + 'static,
    ) -> Result<R, PasswordError> {
        let admitted = self.admitted.clone().try_acquire_owned().map_err(|_| PasswordError::Overloaded)?;
        let running = self.running.clone().acquire_owned().await.map_err(failed)?;
        let places: [OwnedSemaphorePermit; 2] = [running, admitted];
        let work = move || {
            let result = work();
            drop(places);
            result
        };
        tokio::task::spawn_blocking(work).await.map_err(failed)?
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").field("params", &self.params).finish_non_exhaustive()
    }
}

/// Whether a new password may be set: 10 to 128 characters, of any kind.
pub fn check_rule(password: &str) -> Result<(), PasswordRule> {
    // Four bytes are the longest character, so a megabyte need not be counted.
    match password.len() {
        bytes if bytes > 4 * MAX_PASSWORD => Err(PasswordRule::TooLong),
        _ => match password.chars().count() {
            ..MIN_PASSWORD => Err(PasswordRule::TooShort),
            MIN_PASSWORD..=MAX_PASSWORD => Ok(()),
            _ => Err(PasswordRule::TooLong),
        },
    }
}

/// A password to be read from a screen and typed once: four groups of five characters, 100 random bits.
pub fn random_password() -> String {
    let symbols: Vec<char> = (0..20).map(|_| READABLE[usize::from(rand::random::<u8>() % 32)].into()).collect();
    let groups: Vec<String> = symbols.chunks(5).map(String::from_iter).collect();
    groups.join("-")
}

/// A hash of this cost that no password has: salt and output are random, so it costs nothing to make.
fn dummy_hash(params: &Params) -> String {
    let (salt, output) = (rand::random::<[u8; 16]>(), rand::random::<[u8; 32]>());
    let encode = |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes);
    let (m, t, p) = (params.m_cost(), params.t_cost(), params.p_cost());
    format!("$argon2id$v=19$m={m},t={t},p={p}${}${}", encode(&salt), encode(&output))
}

fn failed(error: impl fmt::Display) -> PasswordError {
    PasswordError::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[tokio::test]
    async fn a_password_matches_its_own_hash_and_no_other() {
        let passwords = Passwords::new(Cost::MINIMAL, 64);
        let hash = passwords.hash("correct horse").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{hash}");
        assert_ne!(passwords.hash("correct horse").await.unwrap(), hash, "each has its own salt");
        assert_eq!(passwords.verify(Some(&hash), "correct horse").await, Ok(true));
        assert_eq!(passwords.verify(Some(&hash), "Correct horse").await, Ok(false));
        assert_eq!(passwords.verify(Some(&hash), "").await, Ok(false));
        assert_eq!(passwords.verify(Some(&hash), &"x".repeat(100_000)).await, Ok(false));
    }

    #[tokio::test]
    async fn an_unknown_name_is_computed_at_the_same_cost_and_never_right() {
        let passwords = Passwords::new(Cost::OWASP, 64);
        assert_eq!(passwords.verify(None, "correct horse").await, Ok(false));
        let hash = passwords.hash("correct horse").await.unwrap();
        let cost = |hash: &str| hash.split('$').nth(3).map(str::to_owned);
        assert_eq!(cost(&passwords.dummy), cost(&hash));
        assert_eq!(cost(&hash).as_deref(), Some("m=19456,t=2,p=1"));
        assert_eq!(passwords.dummy.len(), hash.len());
    }

    #[tokio::test]
    async fn a_damaged_hash_is_an_error_that_tells_nothing() {
        let passwords = Passwords::new(Cost::MINIMAL, 64);
        let error = passwords.verify(Some("$argon2id$secret"), "correct horse").await.unwrap_err();
        assert!(matches!(&error, PasswordError::Failed(_)));
        assert!(!error.to_string().contains("secret") && !error.to_string().contains("horse"));
    }

    #[tokio::test]
    async fn what_comes_beyond_the_queue_is_refused_at_once() {
        let passwords = Passwords::with_cores(Cost::MINIMAL, 3, 1);
        let busy = passwords.running.clone().acquire_owned().await.unwrap();
        let logins = futures_util::future::join_all((0..500).map(|_| passwords.verify(None, "a wrong password")));
        let free = async { drop(busy) };
        let (answers, ()) = tokio::join!(logins, free);
        let refused = answers.iter().filter(|answer| **answer == Err(PasswordError::Overloaded)).count();
        assert_eq!((answers.len() - refused, refused), (4, 496));
        assert_eq!(passwords.verify(None, "a wrong password").await, Ok(false), "the queue is free again");
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_leaves_the_queue() {
        let passwords = Passwords::with_cores(Cost::MINIMAL, 0, 1);
        let busy = passwords.running.clone().acquire_owned().await.unwrap();
        assert!(futures_util::FutureExt::now_or_never(passwords.verify(None, "a wrong password")).is_none());
        drop(busy);
        assert_eq!(passwords.verify(None, "a wrong password").await, Ok(false));
    }

    #[test]
    fn a_password_has_ten_to_128_characters_of_any_kind() {
        for good in ["1234567890", &"密".repeat(10), &"🦀".repeat(128), "          ", &"a".repeat(128)] {
            assert_eq!(check_rule(good), Ok(()), "{good}");
        }
        assert_eq!(check_rule("123456789"), Err(PasswordRule::TooShort));
        assert_eq!(check_rule(&"密".repeat(9)), Err(PasswordRule::TooShort));
        assert_eq!(check_rule(&"a".repeat(129)), Err(PasswordRule::TooLong));
        assert_eq!(check_rule(&"🦀".repeat(129)), Err(PasswordRule::TooLong));
    }

    #[test]
    fn a_generated_password_is_readable_and_passes_the_rule() {
        let password = random_password();
        assert_eq!(password.split('-').map(str::len).collect::<Vec<_>>(), [5, 5, 5, 5]);
        assert!(password.bytes().all(|byte| byte == b'-' || READABLE.contains(&byte)), "{password}");
        assert_eq!(check_rule(&password), Ok(()));
        assert_ne!(random_password(), password);
    }

    proptest! {
        #[test]
        fn the_rule_counts_characters(password in ".{0,140}") {
            prop_assert_eq!(check_rule(&password).is_ok(), (10..=128).contains(&password.chars().count()));
        }
    }
}
