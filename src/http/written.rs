//! Answers that are long, or asked for often: serde writes them straight to bytes. poem-openapi's own payload makes a tree
//! of values first, with a piece of memory for each name of each field of each call of a page.

use poem::{IntoResponse, Response};
use poem_openapi::ApiResponse;
use poem_openapi::payload::Json;
use poem_openapi::registry::{MetaResponses, Registry};
use poem_openapi::types::ToJSON;
use serde::Serialize;

/// The answer that [`Json`] would make, and as the document describes that one.
#[derive(Debug)]
pub struct Written<T>(pub T);

impl<T: ToJSON + Serialize + Send> IntoResponse for Written<T> {
    fn into_response(self) -> Response {
        // Two derivations name the fields. In each story they are held against each other.
        debug_assert_eq!(serde_json::to_value(&self.0).ok(), self.0.to_json(), "serde and the document differ");
        poem::web::Json(self.0).into_response()
    }
}

impl<T: ToJSON + Serialize + Send> ApiResponse for Written<T> {
    fn meta() -> MetaResponses {
        Json::<T>::meta()
    }

    fn register(registry: &mut Registry) {
        <Json<T> as ApiResponse>::register(registry);
    }
}
