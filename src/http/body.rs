//! The body of a REST call: held against the schema that the OpenAPI document shows for it, and handed out when the endpoint
//! asks. poem-openapi's own `Json` takes a number for a text, does not say which field is wrong, and answers 422 before an
//! endpoint could say 404; it stays the type of answers.

use poem::http::StatusCode;
use poem::{FromRequest, Request, RequestBody};
use poem_openapi::impl_apirequest_for_payload;
use poem_openapi::payload::{Json, ParsePayload, Payload};
use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{ParseFromJSON, Type};
use serde_json::Value;

use super::error::Problem;

/// A body that was read and not judged yet.
pub(crate) struct Body<T>(Result<T, Problem>);

impl<T> Body<T> {
    /// What the caller sent, or 415, 400 or 422. To be asked once nothing is left that would be answered 404.
    pub(crate) fn take(self) -> Result<T, Problem> {
        self.0
    }
}

impl<T: Type> Payload for Body<T> {
    const CONTENT_TYPE: &'static str = Json::<T>::CONTENT_TYPE;

    fn check_content_type(_content_type: &str) -> bool {
        // `read` does: this would answer before the endpoint is asked.
        true
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: ParseFromJSON> ParsePayload for Body<T> {
    const IS_REQUIRED: bool = true;

    async fn from_request(request: &Request, body: &mut RequestBody) -> poem::Result<Self> {
        let text = Vec::<u8>::from_request(request, body).await?;
        Ok(Body(read(request.content_type().unwrap_or_default(), &text)))
    }
}

impl_apirequest_for_payload!(Body<T>, T: ParseFromJSON);

fn read<T: ParseFromJSON>(content_type: &str, text: &[u8]) -> Result<T, Problem> {
    if !Json::<T>::check_content_type(content_type) {
        let detail = "The body must be application/json.";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
    }
    let value: Value = serde_json::from_slice(text).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, "bad_request", format!("The body is no JSON: {error}."))
    })?;
    let mut registry = Registry::new();
    T::register(&mut registry);
    fits(&registry, &T::schema_ref(), "", &value)?;
    T::parse_from_json(Some(value)).map_err(|error| misfit("", &format!("does not fit: {}", error.into_message())))
}

/// Whether a value has the types of its schema; the problem names the first field that has not.
fn fits(registry: &Registry, schema: &MetaSchemaRef, field: &str, value: &Value) -> Result<(), Problem> {
    let schema = match schema {
        MetaSchemaRef::Inline(schema) => schema,
        MetaSchemaRef::Reference(name) => match registry.schemas.get(name) {
            Some(schema) => schema,
            None => return Ok(()),
        },
    };
    if !is_of(schema, value) {
        return Err(misfit(field, &format!("is {}, but should be {}", kind(value), wanted(schema))));
    }
    for part in &schema.all_of {
        fits(registry, part, field, value)?;
    }
    match (value, &schema.items) {
        (Value::Object(values), _) => fields_fit(registry, schema, field, values),
        (Value::Array(entries), Some(items)) => {
            let mut places = entries.iter().enumerate();
            places.try_for_each(|(place, entry)| fits(registry, items, &format!("{field}[{place}]"), entry))
        }
        _ => Ok(()),
    }
}

fn fields_fit(
    registry: &Registry,
    schema: &MetaSchema,
    parent: &str,
    values: &serde_json::Map<String, Value>,
) -> Result<(), Problem> {
    for (name, schema_of_field) in &schema.properties {
        let field = if parent.is_empty() { (*name).to_owned() } else { format!("{parent}.{name}") };
        match values.get(*name) {
            // Null is the same as absent.
            None | Some(Value::Null) if schema.required.contains(name) => return Err(misfit(&field, "is missing")),
            None | Some(Value::Null) => {}
            Some(value) => fits(registry, schema_of_field, &field, value)?,
        }
    }
    Ok(())
}

/// 422 for the place in the body; of a list's entry the field is the list.
fn misfit(place: &str, why: &str) -> Problem {
    let problem = |what| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", format!("{what} {why}"));
    match place.split('[').next() {
        None | Some("") => problem("the body"),
        Some(field) => problem(place).field(field),
    }
}

fn is_of(schema: &MetaSchema, value: &Value) -> bool {
    match (schema.ty, schema.format) {
        ("string", Some("date-time")) => {
            value.as_str().is_some_and(|text| text.parse::<chrono::DateTime<chrono::Utc>>().is_ok())
        }
        ("string", _) => value.is_string(),
        ("boolean", _) => value.is_boolean(),
        ("integer", Some(format)) if format.starts_with("uint") => value.is_u64(),
        ("integer", _) => value.is_i64() || value.is_u64(),
        ("number", _) => value.is_number(),
        ("array", _) => value.is_array(),
        ("object", _) => value.is_object(),
        // Any JSON.
        _ => true,
    }
}

/// What a schema wants, for people.
fn wanted(schema: &MetaSchema) -> &'static str {
    match (schema.ty, schema.format) {
        ("string", Some("date-time")) => "a time as \"2024-05-14T07:27:13Z\"",
        ("string", _) => "a text",
        ("boolean", _) => "true or false",
        ("integer", Some(format)) if format.starts_with("uint") => "a whole number from 0",
        ("integer", _) => "a whole number",
        ("number", _) => "a number",
        ("array", _) => "a list",
        _ => "an object",
    }
}

/// What a value is, for people.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
