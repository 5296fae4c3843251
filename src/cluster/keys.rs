//! Small keys that expire. Nothing here is the truth of anything: Redis may forget all of it at any time.

use std::time::Duration;

use redis::{Cmd, Value, cmd};

use super::link::{Away, Link};

/// Takes a key that nobody holds, or keeps one's own; the holder when it is another.
const CLAIM: &str = "local holder = redis.call('GET', KEYS[1]) \
                     if holder and holder ~= ARGV[1] then return holder end \
                     redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return nil";

impl Link {
    /// Takes `key` for `holder`, or keeps it, for `time`; the one who has it when it is another.
    pub async fn claim(&self, key: &str, holder: &str, time: Duration) -> Result<Option<String>, Away> {
        let mut command = cmd("EVAL");
        command.arg(CLAIM).arg(1).arg(self.key(key)).arg(holder).arg(time.as_millis() as u64);
        Ok(text(self.one(command).await?).and_then(|bytes| String::from_utf8(bytes).ok()))
    }

    /// Sets a key for `time`, whatever it was.
    pub async fn put(&self, key: &str, value: &[u8], time: Duration) -> Result<(), Away> {
        let mut command = cmd("SET");
        command.arg(self.key(key)).arg(value).arg("PX").arg(time.as_millis().max(1) as u64);
        self.one(command).await.map(drop)
    }

    /// What a key holds.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Away> {
        let mut command = cmd("GET");
        command.arg(self.key(key));
        Ok(text(self.one(command).await?))
    }

    /// What a key held; it is gone then. Of two who ask at once, one gets it.
    pub async fn take_key(&self, key: &str) -> Result<Option<Vec<u8>>, Away> {
        let mut command = cmd("GETDEL");
        command.arg(self.key(key));
        Ok(text(self.one(command).await?))
    }

    /// Removes a key.
    pub async fn remove(&self, key: &str) -> Result<(), Away> {
        let mut command = cmd("DEL");
        command.arg(self.key(key));
        self.one(command).await.map(drop)
    }

    /// Adds to a number that lives for `time` from its first increment; the sum.
    pub async fn add(&self, key: &str, by: i64, time: Duration) -> Result<i64, Away> {
        let (key, mut add, mut expire) = (self.key(key), cmd("INCRBY"), cmd("PEXPIRE"));
        add.arg(&key).arg(by);
        expire.arg(&key).arg(time.as_millis().max(1) as u64).arg("NX");
        match self.command(vec![add, expire], 256).await?.first() {
            Some(Value::Int(sum)) => Ok(*sum),
            _ => Err(Away),
        }
    }

    fn key(&self, key: &str) -> String {
        format!("{}:{key}", self.0.prefix)
    }

    /// An answer that is an error of Redis itself (out of memory, read only) is as good as none.
    async fn one(&self, command: Cmd) -> Result<Value, Away> {
        match self.command(vec![command], 256).await?.pop() {
            Some(Value::ServerError(error)) => {
                tracing::warn!("Redis refuses a command: {error:?}");
                Err(Away)
            }
            Some(value) => Ok(value),
            None => Err(Away),
        }
    }
}

fn text(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}
