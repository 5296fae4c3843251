//! Many accounts from a file as spreadsheets write it (RFC 4180). All of them are made, or none: a file that was mended can be sent
//! again as it is.

use std::collections::HashSet;

use poem::http::StatusCode;
use poem::web::Data;
use poem::{FromRequest, Request, RequestBody};
use poem_openapi::param::Query;
use poem_openapi::payload::{Json, ParsePayload, Payload};
use poem_openapi::registry::{MetaSchemaRef, Registry};
use poem_openapi::{Object, OpenApi, impl_apirequest_for_payload};

use super::rows::{check_display_name, check_email, check_roles, check_username};
use crate::auth::random_password;
use crate::config::Secret;
use crate::http::Problem;
use crate::http::api::Tag;
use crate::http::api::auth::{check_password, hash_problem};
use crate::http::error::BadLine;
use crate::http::place::secure_only;
use crate::http::security::{MayWriteUsers, origin};
use crate::services::Services;
use crate::store::{Import, NewUser, StoreError};

/// Accounts of a file, at most: each takes a password computation.
const MAX_LINES: usize = 500;
/// Lines that are complained of, at most.
const MAX_BAD: usize = 1_000;
/// Columns of a file; the first must be there.
const COLUMNS: [&str; 5] = ["username", "displayName", "email", "roles", "password"];
/// What Excel puts in front.
const BYTE_ORDER_MARK: &str = "\u{feff}";

pub(crate) struct ImportApi;

/// A file as `text/csv`, not judged yet.
struct Csv(Vec<u8>, bool);

/// What became of it.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct Imported {
    /// Whether nothing was made.
    dry_run: bool,
    /// Accounts in the file.
    total: u64,
    /// What is wrong with it, for a dry run; otherwise that is a problem, and nobody is made.
    lines: Vec<BadLine>,
    /// The new accounts, in the order of the file; none for a dry run.
    users: Vec<ImportedUser>,
}

#[derive(Object)]
struct ImportedUser {
    /// Its line in the file.
    line: u64,
    id: String,
    username: String,
    /// The one that was made up where the file has none, shown this once.
    #[oai(skip_serializing_if_is_none)]
    password: Option<String>,
}

/// A line that may become an account.
struct Line {
    number: u64,
    new: NewUser,
    password: String,
    made_up: bool,
}

#[OpenApi(tag = "Tag::Users")]
impl ImportApi {
    /// Import users
    ///
    /// A file with a header: `username`, and any of `displayName`, `email`, `roles` (separated by `;`) and `password`; at most 500
    /// accounts. Where a password is missing one is made up, and is in the answer this once; each is good for one login, which must
    /// choose another one. All accounts are made, or none: then 422 names each bad line with its number and reason.
    #[oai(path = "/users/import", method = "post")]
    async fn import(
        &self,
        caller: MayWriteUsers,
        request: &Request,
        Data(services): Data<&Services>,
        /// Only say what is wrong with the file.
        #[oai(name = "dryRun")]
        dry_run: Query<Option<bool>>,
        body: Csv,
    ) -> poem::Result<Json<Imported>> {
        secure_only(request, services)?;
        let (lines, mut bad) = read(&body.take()?)?;
        let by = origin(request, services).actor(&caller.0);
        let mut list: Vec<NewUser> = lines.iter().map(|line| line.new.clone()).collect();
        let refused = services.store().check_import(&list, &by).await.map_err(Problem::from)?;
        bad.extend(refused.iter().map(|row| bad_row(&lines[row.place], &row.why)));
        bad.sort_by_key(|bad| bad.line);
        let total = lines.len() as u64;
        if dry_run.0.unwrap_or(false) {
            return Ok(Json(Imported { dry_run: true, total, lines: bad, users: Vec::new() }));
        }
        if !bad.is_empty() {
            return Err(nobody(bad).into());
        }
        for (new, line) in list.iter_mut().zip(&lines) {
            let hash = services.passwords().hash(&line.password).await.map_err(hash_problem)?;
            new.password_hash = Some(Secret::new(hash));
        }
        let now = services.clock().now();
        match services.store().import_users(&list, &by, now).await.map_err(Problem::from)? {
            Import::Made(keys) => {
                let users = lines.into_iter().zip(keys).map(|(line, key)| ImportedUser {
                    line: line.number,
                    id: key.to_string(),
                    username: line.new.username,
                    password: line.made_up.then_some(line.password),
                });
                Ok(Json(Imported { dry_run: false, total, lines: Vec::new(), users: users.collect() }))
            }
            // Something has changed since it was checked.
            Import::Refused(rows) => {
                Err(nobody(rows.iter().map(|row| bad_row(&lines[row.place], &row.why)).collect()).into())
            }
        }
    }
}

/// The lines that can be read, and what is wrong with the others.
fn read(text: &[u8]) -> Result<(Vec<Line>, Vec<BadLine>), Problem> {
    let text = std::str::from_utf8(text).map_err(|_| Problem::invalid("the file", "is not UTF-8"))?;
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|_| Problem::invalid("the file", "has no header"))?.clone();
    check_header(&header)?;
    let (mut lines, mut bad) = (Vec::new(), Vec::new());
    for (place, record) in reader.records().enumerate() {
        if place == MAX_LINES {
            return Err(Problem::invalid("the file", format!("has more than {MAX_LINES} accounts; divide it")));
        }
        match record {
            Ok(record) => match line(&header, &record) {
                Ok(line) => lines.push(line),
                Err(complaints) => bad.extend(complaints),
            },
            Err(error) => {
                let line = error.position().map_or(place as u64 + 2, csv::Position::line);
                bad.push(BadLine { line, field: None, detail: "The line cannot be read.".to_owned() });
            }
        }
    }
    bad.truncate(MAX_BAD);
    Ok((lines, bad))
}

fn check_header(header: &csv::StringRecord) -> Result<(), Problem> {
    let mut seen = HashSet::new();
    if let Some(odd) = header.iter().find(|name| !COLUMNS.contains(name) || !seen.insert(*name)) {
        let odd: String = odd.chars().take(40).collect();
        return Err(Problem::invalid(
            "the header",
            format!("has {odd:?}; there are {}, each once", COLUMNS.join(", ")),
        ));
    }
    match seen.contains(COLUMNS[0]) {
        true => Ok(()),
        false => Err(Problem::invalid("the header", "does not have username")),
    }
}

/// The account of a line, or everything that is wrong with it.
fn line(header: &csv::StringRecord, record: &csv::StringRecord) -> Result<Line, Vec<BadLine>> {
    let number = record.position().map_or(0, csv::Position::line);
    let complaint = |problem: Problem| BadLine {
        line: number,
        field: problem.about().map(str::to_owned),
        detail: problem.detail().to_owned(),
    };
    if record.len() != header.len() {
        let detail = format!("The line has {} fields where the header has {}.", record.len(), header.len());
        return Err(vec![BadLine { line: number, field: None, detail }]);
    }
    let field = |name: &str| {
        let place = header.iter().position(|column| column == name);
        place.and_then(|place| record.get(place)).unwrap_or_default().to_owned()
    };
    let roles: Vec<String> =
        field("roles").split(';').map(str::trim).filter(|role| !role.is_empty()).map(str::to_owned).collect();
    let (username, given) = (field("username"), field("password"));
    let made_up = given.is_empty();
    let password = if made_up { random_password() } else { given };
    let (display_name, email) = (check_display_name(field("displayName")), check_email(field("email")));
    let checks = [check_username(&username), check_roles(&roles), check_password("password", &password)];
    let mut bad: Vec<BadLine> = checks.into_iter().filter_map(Result::err).map(complaint).collect();
    match (display_name, email) {
        (Ok(display_name), Ok(email)) if bad.is_empty() => {
            let new =
                NewUser { username, roles, display_name, email, must_change_password: true, ..NewUser::default() };
            Ok(Line { number, new, password, made_up })
        }
        (display_name, email) => {
            bad.extend([display_name.err(), email.err()].into_iter().flatten().map(complaint));
            Err(bad)
        }
    }
}

fn bad_row(line: &Line, why: &StoreError) -> BadLine {
    let (field, detail) = match why {
        StoreError::Conflict(_) => ("username", "username is taken already, or stands in an earlier line".to_owned()),
        StoreError::NotFound(_) => {
            ("roles", format!("roles are {:?}, of which one does not exist", line.new.roles.join(";")))
        }
        why => ("roles", format!("roles cannot be given: {why}")),
    };
    BadLine { line: line.number, field: Some(field.to_owned()), detail }
}

fn nobody(lines: Vec<BadLine>) -> Problem {
    let detail = format!("Nobody was imported: {} lines do not fit.", lines.len());
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_lines", detail).lines(lines)
}

impl Csv {
    /// What the caller sent, or 415. To be asked once nothing is left that would be answered otherwise.
    fn take(self) -> Result<Vec<u8>, Problem> {
        if self.1 {
            return Ok(self.0);
        }
        let detail = "The body must be text/csv.";
        Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail))
    }
}

impl Payload for Csv {
    const CONTENT_TYPE: &'static str = "text/csv";

    fn check_content_type(_content_type: &str) -> bool {
        // `take` does: this would answer before the endpoint is asked.
        true
    }

    fn schema_ref() -> MetaSchemaRef {
        <String as poem_openapi::types::Type>::schema_ref()
    }

    fn register(registry: &mut Registry) {
        <String as poem_openapi::types::Type>::register(registry);
    }
}

impl ParsePayload for Csv {
    const IS_REQUIRED: bool = true;

    async fn from_request(request: &Request, body: &mut RequestBody) -> poem::Result<Self> {
        let text = Vec::<u8>::from_request(request, body).await?;
        let kind = request.content_type().and_then(|kind| kind.split(';').next()).unwrap_or_default();
        Ok(Csv(text, kind.trim().eq_ignore_ascii_case(Csv::CONTENT_TYPE)))
    }
}

impl_apirequest_for_payload!(Csv);
