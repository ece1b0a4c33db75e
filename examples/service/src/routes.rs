//! The routes of the service, and the errors that clients see.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{BoxError, Json, Router};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tower_http::timeout::TimeoutLayer;

use crate::database::User;
use crate::report::report;
use crate::service::{Service, UserCache};

/// Returns the routes. A request that takes longer than `limit` is answered with 504 Gateway
/// Timeout, and its future is dropped.
pub fn routes<C: UserCache>(service: Arc<Service<C>>, registry: Registry, limit: Duration) -> Router {
    let registry = Arc::new(registry);
    Router::new()
        .route("/users/{id}", get(read).put(write).delete(delete))
        .with_state(service)
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, limit))
        .route("/metrics", get(move || async move { metrics(&registry) }))
}

async fn read<C: UserCache>(
    State(service): State<Arc<Service<C>>>,
    Path(id): Path<i64>,
) -> Result<Json<User>, Refusal> {
    service.get(id).await?.map(Json).ok_or(Refusal::NotFound)
}

async fn write<C: UserCache>(
    State(service): State<Arc<Service<C>>>,
    Path(id): Path<i64>,
    Json(user): Json<User>,
) -> Result<StatusCode, Refusal> {
    service.put(id, &user).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn delete<C: UserCache>(
    State(service): State<Arc<Service<C>>>,
    Path(id): Path<i64>,
) -> Result<StatusCode, Refusal> {
    if service.delete(id).await? { Ok(StatusCode::NO_CONTENT) } else { Err(Refusal::NotFound) }
}

fn metrics(registry: &Registry) -> Result<impl IntoResponse + use<>, Refusal> {
    let mut text = String::new();
    encode(&mut text, registry).map_err(BoxError::from)?;
    Ok(([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text))
}

/// The reason why a request has no result.
enum Refusal {
    NotFound,
    Failed(BoxError),
}

impl From<BoxError> for Refusal {
    fn from(error: BoxError) -> Self {
        Self::Failed(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND.into_response(),
            Self::Failed(error) => {
                // Clients learn nothing of the database.
                report("a request has failed", &*error);
                StatusCode::SERVICE_UNAVAILABLE.into_response()
            }
        }
    }
}
