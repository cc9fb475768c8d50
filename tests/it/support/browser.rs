//! A real browser, driven over its own protocol (Chrome DevTools Protocol) on two pipes: no driver, no port.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// Longest time until something shows on a page.
const PATIENCE: Duration = Duration::from_secs(30);

/// What it is called, by system (`scripts/ensure-tools.sh` installs the first).
const NAMES: &[&str] = &["chromium", "chromium-browser", "google-chrome"];

/// Its pipes are the descriptors 3 and 4.
const START: &str = "exec \"$0\" --headless --no-sandbox --disable-gpu --disable-extensions --no-first-run \
                     --remote-debugging-pipe --user-data-dir=\"$1\" 3<&0 4>&1 0</dev/null 1>/dev/null 2>/dev/null";

/// A browser with one page; ends with this value.
pub struct Browser {
    _process: Child,
    _profile: TempDir,
    commands: ChildStdin,
    messages: BufReader<ChildStdout>,
    session: Option<String>,
    last: u64,
    seen: Seen,
}

async fn program() -> Option<&'static str> {
    for name in NAMES {
        let asked = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().await;
        if asked.is_ok_and(|status| status.success()) {
            return Some(name);
        }
    }
    None
}

/// What the page did since it was opened.
#[derive(Debug, Default)]
pub struct Seen {
    /// Addresses that were asked for.
    pub requests: Vec<String>,
    /// What the browser said of it: breaches of a policy, errors of scripts, answers that were errors.
    pub complaints: Vec<String>,
}

impl Browser {
    /// `None` where there is none, of which `make test` tells; where `.ci/run` could install one, there must be one.
    #[expect(clippy::disallowed_methods, reason = "tests have no settings")]
    pub async fn start() -> Option<Self> {
        let profile = tempfile::tempdir().unwrap();
        let Some(program) = program().await else {
            assert!(
                std::env::var_os("BROWSER_REQUIRED").is_none(),
                "chromium is not installed: scripts/ensure-tools.sh"
            );
            return None;
        };
        let mut process = Command::new("sh")
            .args(["-c", START, program])
            .arg(profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (commands, messages) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        let (session, seen) = (None, Seen::default());
        let mut browser = Self { _process: process, _profile: profile, commands, messages, session, last: 0, seen };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"})).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", attach).await;
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Network", "Log", "Runtime", "Page"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        Some(browser)
    }

    /// Goes to a page.
    pub async fn open(&mut self, url: &str) {
        self.seen = Seen::default();
        let answer = self.call("Page.navigate", json!({"url": url})).await;
        assert_eq!(answer.get("errorText"), None, "{answer}");
    }

    /// Runs a script in the page.
    pub async fn run(&mut self, script: &str) -> Value {
        let answer = self.call("Runtime.evaluate", json!({"expression": script, "returnByValue": true})).await;
        assert_eq!(answer.get("exceptionDetails"), None, "{script}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true in the page, asking it at each of its frames.
    pub async fn until(&mut self, expression: &str) {
        let frame = "new Promise(done => setTimeout(() => done(Boolean(EXPRESSION)), 20))";
        let question = json!({"expression": frame.replace("EXPRESSION", expression), "awaitPromise": true});
        let shown = async {
            // A page that is just being left has no answer.
            while self.call("Runtime.evaluate", question.clone()).await["result"]["value"] != true {}
        };
        let in_time = timeout(PATIENCE, shown).await;
        assert!(in_time.is_ok(), "not shown: {expression} {:?}", self.seen);
    }

    /// What the page did so far.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut command = json!({"id": self.last, "method": method, "params": params});
        if let Some(session) = &self.session {
            command["sessionId"] = session.as_str().into();
        }
        let mut bytes = serde_json::to_vec(&command).unwrap();
        bytes.push(0);
        self.commands.write_all(&bytes).await.unwrap();
        loop {
            let mut bytes = Vec::new();
            self.messages.read_until(0, &mut bytes).await.unwrap();
            assert_eq!(bytes.pop(), Some(0), "the browser has ended");
            let message: Value = serde_json::from_slice(&bytes).unwrap();
            if message["id"] == self.last {
                return message["result"].clone();
            }
            self.note(&message);
        }
    }

    fn note(&mut self, message: &Value) {
        let params = &message["params"];
        match message["method"].as_str() {
            Some("Network.requestWillBeSent") => {
                self.seen.requests.push(params["request"]["url"].as_str().unwrap_or_default().to_owned());
            }
            Some("Log.entryAdded") => self.seen.complaints.push(params["entry"]["text"].to_string()),
            Some("Runtime.exceptionThrown") => self.seen.complaints.push(params["exceptionDetails"].to_string()),
            _ => {}
        }
    }
}
