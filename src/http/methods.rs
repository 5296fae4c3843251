//! Which methods each path knows. A 405 says so in `Allow` (RFC 9110, section 15.5.6), and poem's router does not tell.

use poem::http::HeaderValue;
use serde_json::Value;

/// Paths beside REST that are not read with GET.
const POSTS: [&str; 2] = ["/socket/send/toTag", "/admin/monitor/userOffline"];

/// Made once from the OpenAPI document, so that a new route cannot be forgotten.
pub(super) struct Methods {
    rest: Vec<(String, HeaderValue)>,
}

impl Methods {
    /// `document` is OpenAPI in JSON, its paths those under `/api/v1`.
    pub(super) fn of(document: &str) -> Methods {
        let document: Value = serde_json::from_str(document).expect("poem-openapi writes JSON");
        let paths = document["paths"].as_object().into_iter().flatten();
        Methods { rest: paths.map(|(path, item)| (format!("/api/v1{path}"), names(item))).collect() }
    }

    /// What `Allow` says of a path that exists.
    pub(super) fn allowed(&self, path: &str) -> HeaderValue {
        match self.rest.iter().find(|(template, _)| fits(template, path)) {
            Some((_, methods)) => methods.clone(),
            None if POSTS.contains(&path) => HeaderValue::from_static("POST"),
            None => HeaderValue::from_static("GET, HEAD"),
        }
    }
}

/// The methods of one path item: `GET, HEAD, POST`. Who knows GET knows HEAD.
fn names(item: &Value) -> HeaderValue {
    let known = ["get", "head", "post", "put", "patch", "delete"];
    let has = |method: &str| item.get(method).is_some() || (method == "head" && item.get("get").is_some());
    let names: Vec<String> = known.iter().filter(|method| has(method)).map(|method| method.to_uppercase()).collect();
    HeaderValue::from_str(&names.join(", ")).expect("names of methods are ASCII")
}

/// Whether `/users/7` is one of `/users/{id}`.
fn fits(template: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    template.split('/').all(|part| parts.next().is_some_and(|given| part.starts_with('{') || part == given))
        && parts.next().is_none()
}
