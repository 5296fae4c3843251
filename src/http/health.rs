//! Two questions of whoever balances load or restarts: is the process alive, and should it be sent callers. Open to everyone,
//! and too small to tell anybody anything else.

use poem::http::StatusCode;
use poem::web::{Data, Json};
use poem::{IntoResponse, Response, handler};
use serde_json::json;

use super::Problem;
use crate::services::{NotReady, Ready, Services};

/// `GET /health/live`: 200 as long as requests are answered at all.
#[handler]
pub(super) fn live() -> Response {
    Json(json!({"status": "live"})).into_response()
}

/// `GET /health/ready`: 200, also `degraded` without Redis, which sending callers elsewhere would not mend; or 503 without the
/// database, while it catches up with what other nodes did meanwhile, and while this node stops or is drained.
#[handler]
pub(super) async fn ready(Data(services): Data<&Services>) -> Result<Response, Problem> {
    let refused = |code, detail: &str| Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).retry_after(1);
    match services.ready().await {
        Ok(Ready::Fully) => Ok(Json(json!({"status": "ready"})).into_response()),
        Ok(Ready::Degraded) => Ok(Json(json!({"status": "degraded"})).into_response()),
        Err(NotReady::Draining) => {
            Err(refused("draining", "This server takes nobody in: it stops, or is being emptied."))
        }
        Err(NotReady::Fenced) => {
            Err(refused("fenced", "This server has not heard for a while of what was taken away."))
        }
        Err(NotReady::Database) => Err(refused("database", "The server cannot reach its data right now.")),
    }
}
