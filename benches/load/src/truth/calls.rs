//! REST calls of backends and operators, made by threads of their own so that the sockets are read meanwhile.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Scope;
use std::time::Instant;

use serde_json::Value;

use super::doors::Doors;

/// One call.
pub(crate) struct Call {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) token: String,
    pub(crate) body: Value,
    pub(crate) then: Then,
}

/// What its answer is for.
#[derive(Clone, Copy)]
pub(crate) enum Then {
    Nothing,
    /// The token of this login.
    Token(usize),
    /// The next kick may come; this one was asked for then.
    NextKick(Instant),
}

/// Threads that make them.
pub(crate) struct Calls {
    /// One thread and never a second kick at once, so that a kick waits for nobody.
    kicks: Sender<Call>,
    /// They must not wait behind what floods slow readers, or few users would have all the sockets.
    logins: Sender<Call>,
    others: Sender<Call>,
    answers: Receiver<(Then, Value)>,
    /// Not answered yet.
    pub(crate) waiting: usize,
}

impl Calls {
    pub(crate) fn start<'scope, 'env>(scope: &'scope Scope<'scope, 'env>, doors: &'env Doors) -> Calls {
        let (answer, answers) = channel();
        let start = |threads: usize| {
            let (sender, receiver) = channel::<Call>();
            let receiver = std::sync::Arc::new(Mutex::new(receiver));
            for _ in 0..threads {
                let (receiver, answer) = (receiver.clone(), answer.clone());
                scope.spawn(move || {
                    while let Some(call) = next(&receiver) {
                        let body = Some(&call.body).filter(|body| !body.is_null());
                        let (_, value) = doors.ask(doors.one(), call.method, &call.path, &call.token, body);
                        let _ = answer.send((call.then, value));
                    }
                });
            }
            sender
        };
        let (kicks, logins, others) = (start(1), start(1), start(1));
        Calls { kicks, logins, others, answers, waiting: 0 }
    }

    pub(crate) fn make(&mut self, call: Call) {
        let to = match call.then {
            Then::NextKick(_) => &self.kicks,
            Then::Token(_) => &self.logins,
            Then::Nothing => &self.others,
        };
        self.waiting += usize::from(to.send(call).is_ok());
    }

    /// Answers so far, and what each is for.
    pub(crate) fn answers(&mut self) -> Vec<(Then, Value)> {
        let answers: Vec<_> = self.answers.try_iter().collect();
        self.waiting -= answers.len();
        answers
    }
}

fn next(receiver: &Mutex<Receiver<Call>>) -> Option<Call> {
    receiver.lock().expect("nobody panics while waiting").recv().ok()
}
