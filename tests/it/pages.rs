//! `/docs` and `/redoc` in a real browser: they work under their policy and ask nobody else for anything.

use serde_json::json;

use crate::support::{Browser, FrontDoor};

#[tokio::test]
async fn the_pages_work_without_the_internet_and_within_their_policy() {
    let Some(mut browser) = Browser::start().await else { return };
    let door = FrontDoor::open().await;
    let operations = "document.querySelectorAll('.opblock, [data-section-id*=\"operation\"]').length > 4";
    for path in ["/docs", "/redoc"] {
        browser.open(&format!("http://{}{path}", door.address())).await;
        browser.until(operations).await;
        let seen = browser.seen();
        assert_eq!(seen.complaints, Vec::<String>::new(), "{path}");
        let own = format!("http://{}/", door.address());
        let is_own = |url: &&String| ["data:", "blob:", own.as_str()].iter().any(|start| url.starts_with(start));
        assert_eq!(seen.requests.iter().find(|url| !is_own(url)), None, "{path}");
        assert!(!seen.requests.is_empty());
    }
}

#[tokio::test]
async fn a_request_can_be_tried_with_a_key() {
    let Some(mut browser) = Browser::start().await else { return };
    let door = FrontDoor::open().await;
    let key = door.key(&["calls:read"]).await;
    browser.open(&format!("http://{}/docs", door.address())).await;
    browser.until("document.querySelector('.btn.authorize') !== null").await;
    browser.run("document.querySelector('.btn.authorize').click()").await;
    browser.until("document.querySelector('.auth-container input') !== null").await;
    // React listens to the event, and looks at what the setter of the element's class says.
    let typed = format!(
        "(() => {{ const input = document.querySelector('.auth-container input');
            Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(input, {});
            input.dispatchEvent(new Event('input', {{ bubbles: true }}));
            document.querySelector('.auth-btn-wrapper .authorize').click();
            document.querySelector('.btn-done').click(); }})()",
        json!(key.expose())
    );
    browser.run(&typed).await;
    browser.run("document.querySelector('#operations-Calls-listCalls button').click()").await;
    browser.until("document.querySelector('#operations-Calls-listCalls .execute') !== null").await;
    browser.run("document.querySelector('#operations-Calls-listCalls .execute').click()").await;
    browser
        .until("document.querySelector('#operations-Calls-listCalls .live-responses-table .response .response-col_status')?.innerText.startsWith('200')")
        .await;
    let answer = "document.querySelector('#operations-Calls-listCalls .live-responses-table').innerText";
    let shown = browser.run(answer).await;
    assert!(shown.as_str().unwrap().contains("\"next_cursor\": null"), "{shown}");
    let seen = browser.seen();
    assert_eq!(seen.complaints, Vec::<String>::new());
    // The form begins without filters: with the document's examples in it, the answer would be an empty list at best.
    let asked = seen.requests.iter().rfind(|url| url.contains("/api/"));
    assert_eq!(asked, Some(&format!("http://{}/api/calls/?limit=50", door.address())));
}
