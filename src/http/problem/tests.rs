use poem::error::ReadBodyError;
use poem::{Endpoint, Request, Route};
use poem_openapi::error::{AuthorizationError, ParseParamError};
use serde_json::{Value, json};

use super::*;
use crate::pipeline::call_ended::Rejection;

async fn sent(problem: Problem) -> (Response, Value) {
    let request_id = RequestId::fixed("request-1");
    let mut response = problem.into_response(&request_id);
    let body = response.take_body().into_vec().await.unwrap();
    (response, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn the_shape_is_that_of_the_rfc() {
    let rejection = Rejection { field: "data.call_id".into(), expected: "a string".into() };
    let (response, body) = sent(rejection.into()).await;
    assert_eq!(response.status().as_u16(), 422);
    assert_eq!(response.content_type(), Some("application/problem+json"));
    assert_eq!(
        body,
        json!({
            "type": "about:blank", "title": "Unprocessable Entity", "status": 422, "code": "invalid_body",
            "detail": "The body was kept, but not understood: `data.call_id` must be a string.",
            "request_id": "request-1", "errors": [{ "field": "data.call_id", "expected": "a string" }],
        })
    );
}

#[tokio::test]
async fn headers_say_what_comes_next() {
    let (response, body) = sent(Problem::database_unavailable()).await;
    assert_eq!(response.header("retry-after"), Some("5"));
    assert_eq!(body["errors"], json!([]), "always there");
    assert_eq!(sent(Problem::unauthorized()).await.0.header("www-authenticate"), Some("Bearer"));
    assert_eq!(sent(Problem::method_not_allowed("POST")).await.0.header("allow"), Some("POST"));
}

#[tokio::test]
async fn errors_of_the_frameworks_become_problems() {
    let code = |error: poem::Error| Problem::from(error).code.as_str();
    let request = Request::builder().uri("/nowhere".parse().unwrap()).finish();
    assert_eq!(code(Route::new().call(request).await.err().unwrap()), "not_found");
    assert_eq!(code(Problem::webhook_off().into()), "webhook_off");
    assert_eq!(code(AuthorizationError.into()), "unauthorized");
    assert_eq!(code(ReadBodyError::PayloadTooLarge.into()), "body_too_large");
    assert_eq!(code(poem::error::InternalServerError(std::io::Error::other("cause"))), "internal");
    assert_eq!(code(poem::error::ParseFormError::ContentTypeRequired.into()), "unsupported_media_type");
    let limit = ParseParamError { name: "limit", reason: "verification failed. maximum(200, exclusive: false)".into() };
    assert!(Problem::from(poem::Error::from(limit)).to_string().contains("`limit` is wrong: expected at most 200"));
}

#[test]
fn an_outage_is_not_a_bug() {
    assert_eq!(Problem::from(sqlx::Error::PoolTimedOut).code, ProblemCode::DatabaseUnavailable);
    assert_eq!(Problem::from(sqlx::Error::Io(std::io::Error::other("gone"))).code, ProblemCode::DatabaseUnavailable);
    assert_eq!(Problem::from(sqlx::Error::RowNotFound).code, ProblemCode::Internal);
    assert_eq!(Problem::from(sqlx::Error::ColumnNotFound("x".into())).code, ProblemCode::Internal);
}
