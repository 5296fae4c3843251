//! The API documents: OpenAPI from poem-openapi with one answer added to every operation, AsyncAPI from the handler
//! registry, and Swagger UI, served by us.

use poem::http::{StatusCode, header};
use poem::web::Data;
use poem::{Request, Response, handler};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::error::{Problem, ProblemBody};
use super::place::{base_path, own_origin};
use super::security::bearer;
use super::socket::SocketDoor;
use crate::services::Services;

/// The OpenAPI document, pretty, ending with a newline: as approved in `tests/snapshots/openapi.json`.
/// `base` is the path under which people see us, as `/`.
pub fn openapi_document(base: &str) -> String {
    let spec = super::api::service(base).spec();
    let mut document: Value = serde_json::from_str(&spec).expect("poem-openapi writes JSON");
    describe_problems(&mut document);
    let mut text = serde_json::to_string_pretty(&document).expect("a document of JSON serializes");
    text.push('\n');
    text
}

/// Every operation may answer a problem; poem-openapi does not know of the layer that makes them.
fn describe_problems(document: &mut Value) {
    let mut registry = poem_openapi::registry::Registry::new();
    <ProblemBody as poem_openapi::types::Type>::register(&mut registry);
    for (name, schema) in registry.schemas {
        document["components"]["schemas"][name] = json!(schema);
    }
    let answer = json!({
        "description": "A problem (RFC 9457).",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    });
    // The outermost layer fills in a missing body of a DELETE.
    for path in document["paths"].as_object_mut().into_iter().flat_map(|paths| paths.values_mut()) {
        if let Some(body) = path.get_mut("delete").and_then(|delete| delete.get_mut("requestBody")) {
            body["required"] = json!(false);
        }
    }
    let paths = document["paths"].as_object_mut().into_iter().flat_map(|paths| paths.values_mut());
    for operation in paths.flat_map(|path| path.as_object_mut().into_iter().flat_map(|methods| methods.values_mut())) {
        if let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) {
            responses.insert("default".to_owned(), answer.clone());
        }
        describe_caller(operation);
    }
    document["components"]["securitySchemes"] = json!({"bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "The access token of a login, or an API key (`rk_…`) as far as its scopes reach.",
    }});
}

/// To poem-openapi each permission is a scheme of its own, named by its word. Here there is one scheme, and `x-permission` says
/// who may call: a permission, `login` (whoever is logged in, and no API key), or `any` (whoever has a token or a key).
fn describe_caller(operation: &mut Value) {
    let Some(word) = operation["security"][0].as_object().and_then(|needs| needs.keys().next().cloned()) else {
        return;
    };
    let sentence = match word.as_str() {
        "login" => "Permission: none but a login.".to_owned(),
        "any" => "Permission: none but a login or an API key.".to_owned(),
        permission => format!("Permission: {permission}."),
    };
    let described = operation["description"].as_str().map_or(sentence.clone(), |text| format!("{text}\n\n{sentence}"));
    operation["description"] = json!(described);
    operation["x-permission"] = json!(word);
    operation["security"] = json!([{"bearer": []}]);
}

#[handler]
pub(super) async fn openapi(request: &Request, Data(services): Data<&Services>) -> poem::Result<Response> {
    open(request, services).await?;
    Ok(json_response(openapi_document(&base_path(services))))
}

#[handler]
pub(super) async fn asyncapi(
    request: &Request,
    Data(services): Data<&Services>,
    Data(door): Data<&SocketDoor>,
) -> poem::Result<Response> {
    open(request, services).await?;
    let mut document = crate::events::document(&door.registry);
    let (scheme, host) = own_origin(request, services);
    let protocol = if scheme == "https" { "wss" } else { "ws" };
    // The channel's address is /socket, below it.
    let pathname = base_path(services).trim_end_matches('/').to_owned();
    document["servers"] = json!({"rollcall": {"host": host, "pathname": pathname, "protocol": protocol}});
    Ok(json_response(serde_json::to_string_pretty(&document).expect("a document of JSON serializes")))
}

/// Swagger UI with the document inside: nothing is loaded from elsewhere, and its scripts are allowed by their hashes.
#[handler]
pub(super) async fn page(request: &Request, Data(services): Data<&Services>) -> poem::Result<Response> {
    open(request, services).await?;
    let html = super::api::service(&base_path(services)).swagger_ui_html();
    let scripts: Vec<String> = inline_scripts(&html).map(|script| format!("'sha256-{}'", hash(script))).collect();
    let policy = format!(
        "default-src 'none'; script-src {}; style-src 'unsafe-inline'; img-src 'self' data:; font-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        scripts.join(" ")
    );
    Ok(Response::builder()
        .header(header::CONTENT_TYPE, "text/html; charset=utf-8")
        .header(header::CONTENT_SECURITY_POLICY, policy)
        .body(html))
}

/// The scripts in the page, as a browser finds them: each ends at its first `</script>`, whatever its text holds before.
fn inline_scripts(mut html: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (_, rest) = html.split_once("<script")?;
        let (_, body) = rest.split_once('>')?;
        let (script, after) = body.split_once("</script>")?;
        html = after;
        Some(script)
    })
}

fn hash(script: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(Sha256::digest(script.as_bytes()))
}

fn json_response(text: String) -> Response {
    Response::builder().content_type("application/json; charset=utf-8").body(text)
}

/// Open to everybody unless `docs.public = false`.
async fn open(request: &Request, services: &Services) -> Result<(), Problem> {
    if services.config().docs.public {
        return Ok(());
    }
    match bearer(request, services).await {
        Ok(_) => Ok(()),
        Err(denied) if denied.status() == 401 => Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "The documentation is not public here; send a token.",
        )),
        Err(denied) => Err(denied.into()),
    }
}
