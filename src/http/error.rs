//! The one problem body (RFC 9457). Every failure answers it, the framework's own too: what went wrong for a person, a
//! stable word for a program, and the request's id for whoever reads the log. Never SQL, a path or a stack.

use chrono::{DateTime, Utc};
use poem::http::{StatusCode, header};
use poem::{IntoResponse, Response};
use poem_openapi::Object;

use crate::auth::Spent;
use crate::services::{Denied, KeyDenied};
use crate::store::StoreError;

/// What a caller is told of a failure.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    field: Option<String>,
    until: Option<DateTime<Utc>>,
    lines: Option<Vec<BadLine>>,
    retry_after: Option<u64>,
}

/// The body of every failure.
#[derive(Object)]
#[oai(rename = "Problem", rename_all = "camelCase")]
pub(crate) struct ProblemBody {
    /// Always `about:blank`: the status and `code` say the kind.
    r#type: String,
    /// The status in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// A sentence for people.
    detail: String,
    /// A stable word for programs.
    code: String,
    /// Stands in the server's log lines, too.
    request_id: String,
    /// The field or parameter that does not fit.
    #[oai(skip_serializing_if_is_none)]
    field: Option<String>,
    /// Until when an account is locked.
    #[oai(skip_serializing_if_is_none)]
    until: Option<DateTime<Utc>>,
    /// The lines of an import that do not fit, at most 1,000.
    #[oai(skip_serializing_if_is_none)]
    lines: Option<Vec<BadLine>>,
}

/// A line of an import that does not fit.
#[derive(Clone, Debug, Object)]
pub(crate) struct BadLine {
    /// Its number in the file; 1 is the header.
    pub(crate) line: u64,
    /// The column, where it is one.
    #[oai(skip_serializing_if_is_none)]
    pub(crate) field: Option<String>,
    /// A sentence for people.
    pub(crate) detail: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Problem {
        Problem { status, code, detail: detail.into(), field: None, until: None, lines: None, retry_after: None }
    }

    /// 422: `field` does not fit, and why.
    pub(crate) fn invalid(field: &str, why: impl std::fmt::Display) -> Problem {
        let detail = format!("{field} {why}");
        Problem { field: Some(field.to_owned()), ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail) }
    }

    pub(crate) fn not_found(what: &str) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not_found", format!("There is no such {what}."))
    }

    pub(crate) fn unavailable() -> Problem {
        let detail = "The server cannot reach its data right now; try again in a moment.";
        Problem { retry_after: Some(1), ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail) }
    }

    pub(crate) fn internal() -> Problem {
        let detail = "Something went wrong here; the log knows the request's id.";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// With the field or parameter it is about.
    pub(crate) fn field(mut self, field: &str) -> Problem {
        self.field = Some(field.to_owned());
        self
    }

    /// With the lines it is about.
    pub(crate) fn lines(mut self, lines: Vec<BadLine>) -> Problem {
        self.lines = Some(lines);
        self
    }

    /// With a word of its own.
    pub(crate) fn code(mut self, code: &'static str) -> Problem {
        self.code = code;
        self
    }

    /// With `Retry-After` in seconds.
    pub(crate) fn retry_after(mut self, seconds: u64) -> Problem {
        self.retry_after = Some(seconds.max(1));
        self
    }

    /// With the end of a lock, and `Retry-After` to it.
    pub(crate) fn until(mut self, until: DateTime<Utc>, now: DateTime<Utc>) -> Problem {
        self.until = Some(until);
        self.retry_after((until - now).num_seconds().max(1) as u64)
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The field or parameter that does not fit.
    pub(crate) fn about(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// The stable word.
    pub(crate) fn word(&self) -> &'static str {
        self.code
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// What a request that failed in the framework is told. Bodies are judged by `Body`.
    pub(super) fn of_framework(error: &poem::Error) -> Problem {
        if let Some(error) = error.downcast_ref::<poem_openapi::error::ParseParamError>() {
            return Problem::invalid(error.name, format!("does not fit: {}", error.reason));
        }
        if let Some(error) = error.downcast_ref::<poem_openapi::error::ParsePathError>() {
            return Problem::not_found(error.name);
        }
        let status = error.status();
        let (code, detail) = match status {
            StatusCode::NOT_FOUND => ("not_found", "There is nothing at this path.".to_owned()),
            StatusCode::METHOD_NOT_ALLOWED => ("method_not_allowed", "This path knows other methods only.".to_owned()),
            StatusCode::UNAUTHORIZED => {
                ("unauthorized", "This needs a token: log in, and send it as a Bearer.".to_owned())
            }
            StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "The body is larger than this server takes.".to_owned()),
            status if status.is_client_error() => ("bad_request", "The request cannot be understood.".to_owned()),
            _ => return Problem::internal(),
        };
        Problem::new(status, code, detail)
    }

    pub(super) fn into_response(self, request_id: &str) -> Response {
        let body = ProblemBody {
            r#type: "about:blank".to_owned(),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            code: self.code.to_owned(),
            request_id: request_id.to_owned(),
            field: self.field,
            until: self.until,
            lines: self.lines,
        };
        let json = poem_openapi::types::ToJSON::to_json_string(&body);
        let mut response = (self.status, json).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.code, self.detail)
    }
}

impl std::error::Error for Problem {}

/// Travels through poem as an error and becomes the body in the outermost layer, which knows the request's id.
impl poem::error::ResponseError for Problem {
    fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        match error {
            StoreError::NotFound(what) => Problem::not_found(what),
            StoreError::Conflict(what) => {
                Problem::new(StatusCode::CONFLICT, "conflict", format!("This {what} is taken already."))
            }
            StoreError::Full(what) => {
                let detail = format!("There are as many {what} as there may be; end one first.");
                Problem::new(StatusCode::CONFLICT, "too_many", detail)
            }
            StoreError::LastAdministrator => Problem::new(
                StatusCode::CONFLICT,
                "last_administrator",
                "This is the last administrator; make another one first.",
            ),
            StoreError::InUse(what) => {
                let detail = format!("Somebody has this {what}; take it away from everybody first.");
                Problem::new(StatusCode::CONFLICT, "in_use", detail)
            }
            StoreError::AdminRole => Problem::new(
                StatusCode::CONFLICT,
                "admin_role",
                "The role admin allows everything; it can neither be changed nor deleted.",
            ),
            StoreError::Elsewhere => Problem::new(
                StatusCode::CONFLICT,
                "foreign_user",
                "This account belongs to another system, which keeps its password and its life; here it can be disabled.",
            ),
            StoreError::Beyond(permission) => {
                let detail = format!("This needs the permission {permission}: nobody gives what they do not have.");
                Problem::new(StatusCode::FORBIDDEN, "forbidden", detail)
            }
            StoreError::AdministratorsOnly => Problem::new(
                StatusCode::FORBIDDEN,
                "forbidden",
                "Only an administrator may make an administrator, or change one.",
            ),
            error => {
                tracing::warn!(cause = error.cause(), "the database did not answer");
                Problem::unavailable()
            }
        }
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Problem {
        let status = StatusCode::from_u16(denied.status()).unwrap_or(StatusCode::UNAUTHORIZED);
        let mut problem = Problem::new(status, denied.word(), denied.sentence());
        if let Denied::Locked { until, seconds, .. } = &denied {
            problem.until = Some(*until);
            problem.retry_after = Some(*seconds);
        }
        if let Denied::Key(KeyDenied::TooMany(seconds)) = denied {
            problem.retry_after = Some(seconds);
        }
        if let Denied::Key(KeyDenied::TooFast(Spent { wait: Some(wait), .. })) = denied {
            problem.retry_after = Some(wait.as_secs() + 1);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            problem.retry_after = Some(1);
        }
        problem
    }
}
