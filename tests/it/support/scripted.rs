//! An upstream that answers as it is told, and when it was told nothing, as the stand-in behind it does.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use poem::http::{HeaderMap, StatusCode};
use poem::listener::TcpAcceptor;
use poem::{Body, Endpoint, Request, Response, Server};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

/// One scripted answer.
#[derive(Debug, Clone)]
pub struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
    never: bool,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<String>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), never: false }
    }

    /// The request is taken, and that is all.
    pub fn never() -> Self {
        Self { never: true, ..Self::new(204, "") }
    }

    /// What a language model says, and what it charges for.
    pub fn said(model: &str, content: &str, input_tokens: i64, output_tokens: i64) -> Self {
        let choice = serde_json::json!({"finish_reason": "stop", "message": {"content": content}});
        let usage = serde_json::json!({"prompt_tokens": input_tokens, "completion_tokens": output_tokens});
        Self::new(200, serde_json::json!({"model": model, "choices": [choice], "usage": usage}).to_string())
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// An error as OpenAI sends it.
    pub fn openai(status: u16, kind: &str, code: &str) -> Self {
        let body = serde_json::json!({"error": {"message": "No.", "type": kind, "param": null, "code": code}});
        Self::new(status, body.to_string()).header("content-type", "application/json").header("x-request-id", "req-17")
    }
}

pub struct ScriptedUpstream {
    pub url: Url,
    script: Arc<Mutex<VecDeque<Answer>>>,
    _server: AbortOnDropHandle<()>,
}

struct Script {
    behind: Url,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    http: reqwest::Client,
}

impl ScriptedUpstream {
    /// In front of the stand-in at this address.
    pub async fn before(behind: &Url) -> Self {
        goto_automation::providers::http_client::install_tls();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut url = behind.clone();
        url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        let script = Arc::<Mutex<VecDeque<Answer>>>::default();
        let endpoint = Script {
            behind: behind.clone(),
            answers: script.clone(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        };
        let server = Server::new_with_acceptor(TcpAcceptor::from_tokio(listener).unwrap());
        let server = tokio::spawn(async move { server.run(endpoint).await.unwrap() });
        Self { url, script, _server: AbortOnDropHandle::new(server) }
    }

    /// Answers the next requests like this, one each.
    pub fn answer_next(&self, answers: impl IntoIterator<Item = Answer>) {
        self.script.lock().unwrap().extend(answers);
    }

    /// Whether all scripted answers were asked for.
    pub fn is_told_out(&self) -> bool {
        self.script.lock().unwrap().is_empty()
    }
}

impl Endpoint for Script {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let next = self.answers.lock().unwrap().pop_front();
        if let Some(answer) = next {
            request.take_body().into_bytes().await.ok();
            if answer.never {
                std::future::pending::<()>().await;
            }
            let mut response = Response::builder().status(StatusCode::from_u16(answer.status).unwrap());
            for (name, value) in answer.headers {
                response = response.header(name, value);
            }
            return Ok(response.body(answer.body));
        }
        let mut url = self.behind.clone();
        url.set_path(request.uri().path());
        let mut headers: HeaderMap = request.headers().clone();
        headers.remove("host");
        let body = request.take_body().into_vec().await.unwrap();
        let answer = self.http.request(request.method().clone(), url).headers(headers).body(body).send().await.unwrap();
        let mut response = Response::builder().status(answer.status());
        for (name, value) in answer.headers().iter().filter(|(name, _)| *name != "transfer-encoding") {
            response = response.header(name, value);
        }
        Ok(response.body(Body::from(answer.bytes().await.unwrap())))
    }
}
