//! Behind proxies: by whom guesses are counted, and from where the log says that somebody came.

use nightlatch_tests::port::Port;
use serde_json::json;

use super::{Browser, PASSWORD, at_once, join};
use crate::app::{Answer, TestApp};

/// A proxy of ours, one more behind it, and somebody who only says that they are one.
const PROXY: [u8; 4] = [127, 0, 0, 9];
const INNER: &str = "127.0.0.10";
const STRANGER: [u8; 4] = [127, 0, 0, 20];

struct Stand {
    app: TestApp,
    _port: Port,
}

impl Stand {
    async fn start() -> Self {
        let port = Port::reserve().unwrap();
        let proxies = ("NIGHTLATCH_TRUSTED_PROXIES".to_owned(), r#"["127.0.0.9", "127.0.0.10/32"]"#.to_owned());
        let app = TestApp::with(vec![proxies], port.number()).await;
        Self { app, _port: port }
    }

    /// Signs in through whoever has this address, which says where the call came from.
    async fn sign_in(&self, through: [u8; 4], said: &[&str], email: &str, password: &str) -> Answer {
        let mut browser = Browser::from_address(&self.app.server.url(), through);
        let body = json!({ "email": email, "password": password });
        let mut request = browser.request(reqwest::Method::POST, "/v1/session").json(&body);
        for value in said {
            request = request.header("x-forwarded-for", *value);
        }
        browser.send(request).await
    }

    /// Guesses at one account after the other until the address is closed.
    async fn use_up(&self, through: [u8; 4], said: impl Fn(u32) -> String) {
        for number in 0..20 {
            let answer = self.sign_in(through, &[&said(number)], &format!("n{number}@example.com"), PASSWORD).await;
            answer.is_problem(401, "sign_in_failed");
        }
        at_once(&self.app).await;
    }

    async fn is_closed(&self, through: [u8; 4], said: &[&str]) -> bool {
        let answer = self.sign_in(through, said, "nobody@example.com", PASSWORD).await;
        answer.status == 429
    }

    /// Where the newest session came from, as the log says.
    async fn source(&self) -> String {
        let page = self.app.get("/v1/audit?action=session.started&limit=1").send().await.json();
        page["items"][0]["source"].as_str().unwrap().to_owned()
    }
}

/// Whoever is no proxy of ours is who they are, whatever they say.
#[tokio::test]
async fn a_stranger_makes_up_no_addresses() {
    let stand = Stand::start().await;
    join(&stand.app, "ada@example.com", "owner").await;
    stand.use_up(STRANGER, |number| format!("198.51.100.{number}")).await;
    assert!(stand.is_closed(STRANGER, &["198.51.100.200"]).await);
    assert!(stand.is_closed(STRANGER, &[]).await);
    // Nobody whose address they said is closed by it.
    let ada = stand.sign_in(PROXY, &["198.51.100.1"], "ada@example.com", PASSWORD).await;
    assert_eq!(ada.status, 200, "{ada:?}");
    stand.app.stop().await;
}

#[tokio::test]
async fn behind_a_proxy_everybody_is_themselves() {
    let stand = Stand::start().await;
    join(&stand.app, "ada@example.com", "owner").await;
    stand.use_up(PROXY, |_| "198.51.100.7".to_owned()).await;
    assert!(stand.is_closed(PROXY, &["198.51.100.7"]).await);
    // Made up before the proxy: what it added itself counts, over several hops too, in one header or several.
    assert!(stand.is_closed(PROXY, &["203.0.113.1, 198.51.100.7"]).await);
    assert!(stand.is_closed(PROXY, &[&format!("203.0.113.1, 198.51.100.7, {INNER}")]).await);
    assert!(stand.is_closed(PROXY, &["203.0.113.1", "198.51.100.7", INNER]).await);
    assert!(stand.is_closed(PROXY, &["198.51.100.7:4711"]).await);
    for (said, source) in [
        (&["198.51.100.8"][..], "198.51.100.8"),
        (&["198.51.100.7, 198.51.100.9"], "198.51.100.9"),
        (&["2001:db8::1", INNER], "2001:db8::1"),
        // What is no address, or nothing at all: the proxy is the last that is known.
        (&["198.51.100.7, unknown"], "127.0.0.9"),
        (&["198.51.100.7, <script>"], "127.0.0.9"),
        (&["198.51.100.7, "], "127.0.0.9"),
        (&[&"9,".repeat(2000)], "127.0.0.9"),
        (&[], "127.0.0.9"),
    ] {
        let ada = stand.sign_in(PROXY, said, "ada@example.com", PASSWORD).await;
        assert_eq!(ada.status, 200, "{said:?}: {ada:?}");
        assert_eq!(stand.source().await, source, "{said:?}");
    }
    stand.app.stop().await;
}
