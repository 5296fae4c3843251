//! Rows as a file, written while they are read: never more than a few hundred are in memory, however many there are.

use futures_util::stream::try_unfold;
use poem::Body;
use poem_openapi::payload::Binary;
use poem_openapi::{ApiResponse, Enum};
use serde_json::Value;

use crate::store::StoreError;

/// Rows that are read in one go.
pub(super) const AT_ONCE: u64 = 500;

/// How a file is written.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(super) enum Format {
    /// For spreadsheets: a line of names, then a line a row. What a spreadsheet would take for a formula begins with `'`.
    Csv,
    /// One JSON object a line.
    Jsonl,
}

/// A file.
#[derive(ApiResponse)]
pub(super) enum File {
    /// As `format` says.
    #[oai(status = 200, content_type = "text/csv; charset=utf-8")]
    Csv(Binary<Body>, #[oai(header = "content-disposition")] String),
    /// As `format` says.
    #[oai(status = 200, content_type = "application/x-ndjson")]
    Jsonl(Binary<Body>, #[oai(header = "content-disposition")] String),
}

impl File {
    /// A file of the rows that `next` reads, each time those after the ones before; none are the end. Each row is an object with
    /// these fields, in this order in a CSV.
    pub(super) fn of<S, F>(
        name: &str,
        format: Format,
        fields: &'static [&'static str],
        start: S,
        next: impl Fn(S) -> F + Send + 'static,
    ) -> File
    where
        S: Send + 'static,
        F: Future<Output = Result<Option<(Vec<Value>, S)>, StoreError>> + Send,
    {
        let head =
            if format == Format::Csv { csv([fields.iter().map(|field| (*field).to_owned())]) } else { Vec::new() };
        let lines = try_unfold((Some(start), Some(head), next), move |(state, head, next)| async move {
            if let Some(head) = head {
                return Ok(Some((head, (state, None, next))));
            }
            let Some(state) = state else { return Ok(None) };
            let read = next(state).await.map_err(|error| {
                tracing::warn!(cause = error.cause(), "an export ended early: {error}");
                std::io::Error::other(error)
            })?;
            let Some((rows, state)) = read else { return Ok(None) };
            let lines = match format {
                Format::Csv => csv(rows.iter().map(|row| fields.iter().map(|field| cell(&row[*field])))),
                Format::Jsonl => rows.iter().flat_map(|row| format!("{row}\n").into_bytes()).collect(),
            };
            Ok(Some((lines, (Some(state), None, next))))
        });
        let body = Binary(Body::from_bytes_stream::<_, _, std::io::Error>(lines));
        match format {
            Format::Csv => File::Csv(body, format!("attachment; filename=\"{name}.csv\"")),
            Format::Jsonl => File::Jsonl(body, format!("attachment; filename=\"{name}.jsonl\"")),
        }
    }
}

fn csv(lines: impl IntoIterator<Item = impl Iterator<Item = String>>) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for line in lines {
        writer.write_record(line).expect("a vector takes every line, and all have as many cells");
    }
    writer.into_inner().expect("a vector takes everything")
}

/// A text as a spreadsheet shows it, and does not calculate it (OWASP, CSV injection).
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => return String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spreadsheet_calculates_nothing() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"] {
            assert_eq!(cell(&text.into()), format!("'{text}"));
        }
        assert_eq!(cell(&"bob".into()), "bob");
        assert_eq!(csv([["a,b".to_owned(), "c\"d".to_owned()].into_iter()]), b"\"a,b\",\"c\"\"d\"\n");
    }
}
