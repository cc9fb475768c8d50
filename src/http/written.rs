//! Answers that are long, or asked for often: serde writes them straight to bytes. poem-openapi's own payload makes a tree
//! of values first, with a piece of memory for each name of each field of each call of a page.

use poem::{IntoResponse, Response};
use poem_openapi::ApiResponse;
use poem_openapi::payload::{Json, Payload};
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchemaRef, Registry};
use poem_openapi::types::{ToJSON, Type};
use serde::Serialize;

/// JSON as [`Json`] would make it: what serde writes is what the document promises.
#[derive(Debug)]
pub struct Written<T>(pub T);

impl<T: Type> Payload for Written<T> {
    const CONTENT_TYPE: &'static str = Json::<T>::CONTENT_TYPE;

    fn check_content_type(content_type: &str) -> bool {
        Json::<T>::check_content_type(content_type)
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: ToJSON + Serialize + Send> IntoResponse for Written<T> {
    fn into_response(self) -> Response {
        // Two derivations name the fields. In each story they are held against each other.
        debug_assert_eq!(serde_json::to_value(&self.0).ok(), self.0.to_json(), "serde and the document differ");
        poem::web::Json(self.0).into_response()
    }
}

impl<T: ToJSON + Serialize + Send> ApiResponse for Written<T> {
    fn meta() -> MetaResponses {
        let content = vec![MetaMediaType { content_type: Self::CONTENT_TYPE, schema: Self::schema_ref() }];
        let response =
            MetaResponse { description: "", status: Some(200), status_range: None, content, headers: vec![] };
        MetaResponses { responses: vec![response] }
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}
