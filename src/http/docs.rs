//! The document and its readers: `/openapi.json`, Swagger UI at `/docs`, ReDoc at `/redoc`. Everything that a page needs is
//! in it; nothing is fetched from elsewhere, and its Content-Security-Policy would not let it.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use poem::http::{HeaderValue, StatusCode, header};
use poem::{Request, Response};
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use super::etag::{IfNoneMatch, tag_of, tagged};
use super::{compression, openapi};

/// May be kept, but whoever has it asks whether it is still so: an upgrade changes it.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");
/// poem-openapi puts the scripts and styles of its pages between these.
const SCRIPT: (&str, &str) = ("<script charset=\"UTF-8\">", "</script>");
const STYLE: (&str, &str) = ("<style charset=\"UTF-8\">", "</style>");

/// ReDoc makes `<style>` elements while it runs: an empty one, whose rules it then sets by script, and that of its
/// scroll bars. A test with a browser sees to it that these are all.
const REDOC_STYLES: &str = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' \
                            'sha256-sDI9pUw6Z98NC0sorERcD03vlQ8zZwyaBSQ06jerL4M='";

static DOCUMENT: LazyLock<Page> = LazyLock::new(|| Page::new("application/json", None, openapi::document()));
static SWAGGER_UI: LazyLock<Page> = LazyLock::new(|| {
    let html = openapi::service().swagger_ui_html();
    let start = format!(
        "SwaggerUIBundle({{ dom_id: '#page', spec: {}, deepLinking: true, validatorUrl: null, tryItOutEnabled: true, \
         displayRequestDuration: true, \
         defaultModelsExpandDepth: 0 }});",
        in_script(&openapi::document_to_try())
    );
    Page::html("API", between(&html, STYLE), between(&html, SCRIPT), &start, "")
});
static REDOC: LazyLock<Page> = LazyLock::new(|| {
    let html = openapi::service().redoc_html();
    let start = format!(
        "Redoc.init({}, {{ downloadDefinitionUrl: '/openapi.json' }}, document.getElementById('page'));",
        in_script(&openapi::document())
    );
    Page::html("API reference", "body { margin: 0; }", between(&html, SCRIPT), &start, REDOC_STYLES)
});

/// `/openapi.json`.
pub async fn document(request: Request) -> poem::Result<Response> {
    DOCUMENT.answer(&request).await
}

/// `/docs`.
pub async fn swagger_ui(request: Request) -> poem::Result<Response> {
    SWAGGER_UI.answer(&request).await
}

/// `/redoc`.
pub async fn redoc(request: Request) -> poem::Result<Response> {
    REDOC.answer(&request).await
}

/// Something that is the same for everybody until the next release.
struct Page {
    kind: &'static str,
    policy: Option<HeaderValue>,
    tag: HeaderValue,
    body: Bytes,
    /// The same in gzip, once somebody has asked for it.
    packed: OnceCell<Bytes>,
}

impl Page {
    fn new(kind: &'static str, policy: Option<HeaderValue>, body: String) -> Self {
        Self { kind, policy, tag: tag_of(body.as_bytes()), body: body.into(), packed: OnceCell::new() }
    }

    /// A page with its style, the script that draws it, and the one that starts that.
    fn html(title: &str, style: &str, script: &str, start: &str, more_styles: &str) -> Self {
        let body = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<link rel=\"icon\" href=\"data:,\">\n\
             <title>goto-automation: {title}</title>\n<style>{style}</style>\n</head>\n<body>\n<div id=\"page\"></div>\n\
             <script>{script}</script>\n<script>{start}</script>\n</body>\n</html>\n"
        );
        let policy = format!(
            "default-src 'none'; script-src {} {}; style-src {} {more_styles}; img-src 'self' data:; connect-src 'self'; \
             worker-src blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
            hash(script),
            hash(start),
            hash(style)
        );
        Self::new("text/html; charset=utf-8", HeaderValue::from_str(&policy).ok(), body)
    }

    async fn answer(&self, request: &Request) -> poem::Result<Response> {
        let mut response = Response::builder().content_type(self.kind).body(self.body.clone());
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.tag.clone());
        headers.insert(header::CACHE_CONTROL, REVALIDATE);
        headers.insert(header::CONTENT_LENGTH, self.body.len().into());
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        if let Some(policy) = &self.policy {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy.clone());
        }
        let mut response = tagged(response, &IfNoneMatch::of(request.headers())).await?;
        response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        if response.status() != StatusCode::OK || !compression::is_accepted(request.headers()) {
            return Ok(response);
        }
        let packed = self.packed.get_or_try_init(|| async { compression::packed(&self.body).await.map(Bytes::from) });
        let packed = packed.await.map_err(poem::error::InternalServerError)?.clone();
        response.headers_mut().insert(header::CONTENT_LENGTH, packed.len().into());
        response.set_body(packed);
        Ok(compression::told(response))
    }
}

/// Nothing in it can end the script that it stands in.
fn in_script(document: &str) -> String {
    document.replace('<', "\\u003c")
}

fn between<'a>(html: &'a str, (begin, end): (&str, &str)) -> &'a str {
    let rest = html.split_once(begin).map_or("", |(_, rest)| rest);
    rest.split_once(end).map_or("", |(inside, _)| inside)
}

/// As a policy names an inline script or style (CSP 3, section 2.3.1).
fn hash(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_hold_what_they_need_and_name_it_by_hash() {
        for page in [&*SWAGGER_UI, &*REDOC] {
            let html = String::from_utf8(page.body.to_vec()).unwrap();
            let policy = page.policy.as_ref().unwrap().to_str().unwrap();
            assert!(html.len() > 500_000 && html.contains("listCalls"), "{}", html.len());
            assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
            let scripts: Vec<&str> = html.split("\n<script>").skip(1).map(before_end).collect();
            assert_eq!(scripts.len(), 2);
            assert!(scripts.iter().all(|script| policy.contains(&hash(script))), "{policy}");
            assert!(!html.contains("<script src") && !html.contains("<link href"));
        }
    }

    fn before_end(rest: &str) -> &str {
        rest.split_once("</script>").unwrap().0
    }
}
