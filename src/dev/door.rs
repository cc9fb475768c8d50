//! The door to `/dev/*`: it asks for no key, so it answers to this machine's own names only. A page of another site can
//! have its name point at 127.0.0.1 and would read everything (DNS rebinding); its requests still carry that name.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use poem::http::header;
use poem::http::uri::Authority;
use poem::{Endpoint, EndpointExt, Request, Response, Route};

use super::standins::{Outbox, outbox};
use crate::http::envelope;
use crate::http::problem::Problem;

/// The pages of `dev`, to be nested at `/dev` without stripping it. `simulate` is the command line that sends a call.
pub(super) fn routes(outbox: Outbox, simulate: &str) -> impl Endpoint<Output = Response> + use<> {
    Route::new()
        .nest("/dev", outbox::routes(outbox, simulate.to_owned()))
        .before(own_names_only)
        .around(envelope::envelope)
}

/// The pages of `dev`, and for all other addresses the product's own doors, which see them as they came: what stands between
/// would answer by itself to an address that it cannot read.
pub(super) fn beside<D, P>(dev: D, product: P) -> impl Endpoint<Output = Response>
where
    D: Endpoint<Output = Response> + 'static,
    P: Endpoint + 'static,
{
    let dev = Arc::new(dev);
    product.map_to_response().around(move |product, request: Request| {
        let dev = dev.clone();
        async move {
            let path = request.uri().path();
            if path == "/dev" || path.starts_with("/dev/") {
                dev.call(request).await
            } else {
                product.call(request).await
            }
        }
    })
}

async fn own_names_only(request: Request) -> poem::Result<Request> {
    let header = request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or_default());
    // HTTP/2 names the host in the address instead.
    let uri = request.uri().authority().map(Authority::as_str);
    let named: Vec<&str> = header.into_iter().chain(uri).collect();
    if !named.is_empty() && named.iter().all(|name| is_own(name)) {
        Ok(request)
    } else {
        Err(Problem::not_this_host().into())
    }
}

/// Whether a host, with any port, is this machine by whatever resolver.
fn is_own(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let plain = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())
        || plain.parse().is_ok_and(|address: Ipv6Addr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use poem::endpoint::make_sync;
    use poem::http::Uri;
    use rstest::rstest;
    use serde_json::Value;

    use super::*;

    async fn ask(path: &'static str, host: Option<&str>) -> Response {
        let product = Route::new().at("/api/:id", make_sync(|_| "product"));
        let doors = beside(routes(Outbox::default(), "simulate"), product);
        let request = Request::builder().uri(Uri::from_static(path));
        let request = host.into_iter().fold(request, |request, host| request.header("host", host));
        doors.get_response(request.finish()).await
    }

    #[rstest]
    #[case("localhost")]
    #[case("LocalHost:8000")]
    #[case("127.0.0.1:8000")]
    #[case("127.1.2.3")]
    #[case("[::1]:8000")]
    #[tokio::test]
    async fn this_machine_is_answered(#[case] host: &str) {
        assert_eq!(ask("/dev/outbox", Some(host)).await.status(), 200);
    }

    #[rstest]
    #[case(Some("attacker.example:8000"))]
    #[case(Some("localhost.attacker.example"))]
    #[case(Some("127.0.0.1.attacker.example"))]
    #[case(Some("localhost@attacker.example"))]
    #[case(Some("192.168.1.7:8000"))]
    #[case(Some("[2001:db8::1]"))]
    #[case(Some(""))]
    #[case(None)]
    #[tokio::test]
    async fn other_names_are_not(#[case] host: Option<&str>) {
        for path in ["/dev/outbox", "/dev/outbox.json", "/dev/outbox/revision", "/dev/nothing"] {
            let response = ask(path, host).await;
            assert_eq!((response.status().as_u16(), response.content_type()), (421, Some("application/problem+json")));
        }
    }

    #[tokio::test]
    async fn other_addresses_are_the_products() {
        for path in ["/api/1", "/api/%ED%A0%80"] {
            let body = ask(path, Some("localhost")).await.into_body().into_string().await.unwrap();
            assert_eq!(body, "product", "{path}");
        }
        assert_eq!(ask("/dev/%FF", Some("localhost")).await.content_type(), Some("application/problem+json"));
    }

    #[tokio::test]
    async fn what_is_not_there_is_a_problem_too() {
        for path in ["/dev/nothing", "/dev/outbox/mail/7", "/dev"] {
            let response = ask(path, Some("localhost")).await;
            assert_eq!(response.status(), 404, "{path}");
            let body: Value = response.into_body().into_json().await.unwrap();
            assert_eq!(body["code"], "not_found");
        }
    }
}
