//! Somebody with a browser: it keeps cookies, and says where its calls come from.

use std::net::{IpAddr, Ipv4Addr};

use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Answer, TestApp};

/// The password everybody has here.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// A browser. It knows one server.
pub(crate) struct Browser {
    http: reqwest::Client,
    url: String,
    /// The session's cookie, as `name=value`.
    pub(crate) cookie: Option<String>,
    pub(crate) csrf: Option<String>,
}

impl Browser {
    pub(crate) fn new(app: &TestApp) -> Self {
        Self::at(&app.server.url())
    }

    pub(crate) fn at(url: &str) -> Self {
        Self::from_address(url, [127, 0, 0, 1])
    }

    /// One on another machine: every address of 127/8 is this one's.
    pub(crate) fn from_address(url: &str, address: [u8; 4]) -> Self {
        let http = reqwest::Client::builder()
            .local_address(IpAddr::V4(Ipv4Addr::from(address)))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self { http, url: url.to_owned(), cookie: None, csrf: None }
    }

    /// A second browser that has copied this one's cookie.
    pub(crate) fn copy(&self) -> Self {
        Self { http: self.http.clone(), url: self.url.clone(), cookie: self.cookie.clone(), csrf: self.csrf.clone() }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.cookie {
            Some(cookie) => request.header("cookie", cookie),
            None => request,
        }
    }

    /// Sends a request, keeps its cookie, and the CSRF token where the answer has one.
    pub(crate) async fn send(&mut self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        for header in headers.get_all("set-cookie") {
            let cookie = header.to_str().unwrap().split(';').next().unwrap();
            if let Some(value) = cookie.strip_prefix("__Host-nightlatch=") {
                self.cookie = (!value.is_empty()).then(|| cookie.to_owned());
            }
        }
        let text = response.text().await.unwrap();
        if let Ok(Value::Object(body)) = serde_json::from_str(&text)
            && let Some(csrf) = body.get("csrf").and_then(Value::as_str)
        {
            self.csrf = Some(csrf.to_owned());
        }
        Answer { status, headers, text }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        let request = self.request(Method::GET, path);
        self.send(request).await
    }

    /// As a page of the server's own does it.
    pub(crate) async fn post(&mut self, path: &str, body: Value) -> Answer {
        let request = self.request(Method::POST, path).json(&body).header("sec-fetch-site", "same-origin");
        let request = match &self.csrf {
            Some(csrf) => request.header("x-nightlatch-csrf", csrf),
            None => request,
        };
        self.send(request).await
    }

    pub(crate) async fn sign_in(&mut self, email: &str, password: &str) -> Answer {
        self.post("/v1/session", json!({ "email": email, "password": password })).await
    }

    /// Signs in, which must succeed.
    pub(crate) async fn signed_in(mut self, email: &str) -> Self {
        let answer = self.sign_in(email, PASSWORD).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["needs"], json!([]), "{answer:?}");
        self
    }

    pub(crate) async fn is_signed_in(&mut self) -> bool {
        let answer = self.get("/v1/session").await;
        if answer.status == 401 {
            answer.is_problem(401, "session_invalid");
        }
        answer.status == 200
    }
}

/// Invites somebody to the app's workspace and returns the code.
pub(crate) async fn invite(app: &TestApp, email: &str, role: &str) -> String {
    invite_as(app, &app.token, email, role).await
}

/// Invites somebody to the workspace of this token.
pub(crate) async fn invite_as(app: &TestApp, token: &str, email: &str, role: &str) -> String {
    let answer = app.post("/v1/members", json!({ "email": email, "role": role })).token(token).send().await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()["code"].as_str().unwrap().to_owned()
}

/// Makes somebody a member with [`PASSWORD`].
pub(crate) async fn join(app: &TestApp, email: &str, role: &str) {
    let code = invite(app, email, role).await;
    let body = json!({ "code": code, "password": PASSWORD, "name": "Ada" });
    let answer = app.post("/v1/invites/accept", body).without_token().send().await;
    assert_eq!(answer.status, 201, "{answer:?}");
}
