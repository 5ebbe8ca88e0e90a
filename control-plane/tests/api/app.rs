//! A whole control plane in this process, and how to speak to it.

use std::time::Duration;

use base64ct::Encoding as _;
use nightlatch::config::{Config, Sources};
use nightlatch::serve::Server;
use nightlatch::store::Store;
use nightlatch_api::client::Client;
use nightlatch_api::{CreateToken, Environment, IssueKey, IssuedKey, Secret, Set, TokenKind, Verdict, VerifyKey};
use nightlatch_tests::postgres::ScratchDatabase;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};
use tempfile::TempDir;
use tokio::sync::{Mutex, OnceCell};

use crate::dump::{Database, Rows};

/// A control plane with a management token.
pub(crate) struct TestApp {
    pub(crate) server: Server,
    pub(crate) config: Config,
    pub(crate) client: Client,
    pub(crate) token: String,
    pub(crate) set: Set,
    http: reqwest::Client,
    pub(crate) data: TempDir,
    database: OnceCell<Mutex<Database>>,
}

impl TestApp {
    pub(crate) async fn sqlite() -> Self {
        Self::start(Vec::new()).await
    }

    pub(crate) async fn postgres() -> Self {
        let database = ScratchDatabase::create().await.unwrap();
        Self::start(vec![("DATABASE_URL".to_owned(), database.url().to_owned())]).await
    }

    /// On SQLite, with a set whose bound is three seconds.
    pub(crate) async fn short() -> Self {
        let set = [("HEARTBEAT", "1"), ("VALIDITY", "2"), ("SKEW", "1")];
        Self::start(set.map(|(name, seconds)| (format!("NIGHTLATCH_SET_{name}_SECONDS"), seconds.to_owned())).into())
            .await
    }

    /// On PostgreSQL, with secrets that replicas share.
    pub(crate) async fn shared() -> Self {
        let database = ScratchDatabase::create().await.unwrap();
        let key = base64ct::Base64::encode_string(&[7; 32]);
        let variables = [("DATABASE_URL", database.url()), ("NIGHTLATCH_MASTER_KEY", &key)];
        Self::start(variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()).await
    }

    /// With these settings, listening on a port that was chosen before.
    pub(crate) async fn with(environment: Vec<(String, String)>, port: u16) -> Self {
        Self::listening(environment, &format!("127.0.0.1:{port}")).await
    }

    /// A replica beside one that was started as [`TestApp::shared`].
    pub(crate) async fn replica(&self) -> Server {
        let data = self.data.path().join("replica");
        let config = Config { data_dir: data, sets_dir: Some(self.config.sets()), ..self.config.clone() };
        Server::start(&config).await.unwrap()
    }

    /// Stops it, and starts it on the same data.
    pub(crate) async fn restarted(self) -> Self {
        self.server.stop(Duration::from_secs(5)).await;
        let server = Server::start(&self.config).await.unwrap();
        let client = Client::new(&server.url()).unwrap().with_token(self.token.clone());
        Self { server, client, ..self }
    }

    async fn start(environment: Vec<(String, String)>) -> Self {
        Self::listening(environment, "127.0.0.1:0").await
    }

    async fn listening(environment: Vec<(String, String)>, address: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let directory = data.path().join("data").display().to_string();
        let flags = vec![("data_dir", directory), ("listen", address.to_owned())];
        let config = Config::load(&Sources { flags, file: None, environment }).unwrap();
        let server = Server::start(&config).await.unwrap();
        let enrolment = server.enrolment().unwrap().fresh.as_ref().unwrap().expose().to_owned();
        let stranger = Client::new(&server.url()).unwrap();
        let token = stranger.enrol(Secret::from(enrolment)).await.unwrap().secret.expose().to_owned();
        let client = stranger.with_token(token.clone());
        let set = client.list_sets().await.unwrap().items.remove(0);
        Self { server, config, client, token, set, http: reqwest::Client::new(), data, database: OnceCell::new() }
    }

    /// A call with the management token.
    pub(crate) fn call(&self, method: Method, path: &str) -> Call {
        let url = format!("{}{path}", self.server.url());
        Call { request: self.http.request(method, url), token: Some(self.token.clone()) }
    }

    pub(crate) fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    #[expect(clippy::needless_pass_by_value, reason = "bodies are written where they are sent")]
    pub(crate) fn post(&self, path: &str, body: Value) -> Call {
        self.call(Method::POST, path).json(&body)
    }

    #[expect(clippy::needless_pass_by_value, reason = "bodies are written where they are sent")]
    pub(crate) fn put(&self, path: &str, body: Value) -> Call {
        self.call(Method::PUT, path).json(&body)
    }

    pub(crate) async fn issue(&self, name: &str, scopes: &[&str]) -> IssuedKey {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        self.client.issue_key(&IssueKey { scopes, ..IssueKey::new(name, Environment::Live) }).await.unwrap()
    }

    pub(crate) async fn verify(&self, key: &Secret) -> Verdict {
        let request = VerifyKey { key: key.clone(), method: None, path: None, set: None };
        self.client.verify_key(&request).await.unwrap()
    }

    pub(crate) async fn edge_token(&self) -> String {
        let request = CreateToken {
            name: "edge".into(),
            kind: TokenKind::Edge,
            set: Some(self.set.id.clone()),
            scopes: None,
            service_account: None,
            expires_at: None,
        };
        self.client.create_token(&request).await.unwrap().secret.expose().to_owned()
    }

    /// A handle of its own on the database, as another process has.
    pub(crate) async fn store(&self) -> Store {
        Store::connect(self.config.store_url().expose_secret()).await.unwrap()
    }

    /// Runs SQL beside the control plane.
    pub(crate) async fn sql(&self, sql: &str) {
        let url = self.config.store_url();
        let sql = AssertSqlSafe(sql.to_owned());
        if url.expose_secret().starts_with("sqlite:") {
            let mut connection = SqliteConnection::connect(url.expose_secret()).await.unwrap();
            connection.execute(sql).await.unwrap();
        } else {
            let mut connection = PgConnection::connect(url.expose_secret()).await.unwrap();
            connection.execute(sql).await.unwrap();
        }
    }

    /// Reads one number beside the control plane.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let url = self.config.store_url();
        let sql = AssertSqlSafe(sql.to_owned());
        if url.expose_secret().starts_with("sqlite:") {
            let mut connection = SqliteConnection::connect(url.expose_secret()).await.unwrap();
            sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
        } else {
            let mut connection = PgConnection::connect(url.expose_secret()).await.unwrap();
            sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
        }
    }

    /// Reads one text beside the control plane.
    pub(crate) async fn text(&self, sql: &str) -> String {
        self.texts(sql).await.remove(0)
    }

    /// Reads texts beside the control plane.
    async fn texts(&self, sql: &str) -> Vec<String> {
        let url = self.config.store_url();
        let sql = AssertSqlSafe(sql.to_owned());
        if url.expose_secret().starts_with("sqlite:") {
            let mut connection = SqliteConnection::connect(url.expose_secret()).await.unwrap();
            sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap()
        } else {
            let mut connection = PgConnection::connect(url.expose_secret()).await.unwrap();
            sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap()
        }
    }

    /// All rows that a call can change: equal where nothing was changed.
    pub(crate) async fn footprint(&self) -> Rows {
        let url = self.config.store_url();
        let database = self.database.get_or_init(async || Mutex::new(Database::open(url.expose_secret()).await)).await;
        database.lock().await.everything().await
    }

    /// Columns of rows, as texts. The rest of the statement says of which rows.
    pub(crate) async fn rows(&self, columns: &[&str], rest: &str) -> Vec<Value> {
        let mut rows = Vec::new();
        let select = |column: &str| format!("COALESCE(CAST({column} AS TEXT), '')");
        let sql = columns.iter().map(|column| select(column)).collect::<Vec<_>>().join(" || chr || ");
        let chr = if self.config.database_url.is_some() { "chr(31)" } else { "char(31)" };
        for row in self.texts(&format!("SELECT {} FROM {rest}", sql.replace("chr", chr))).await {
            let values = row.split('\u{1f}').map(Value::from);
            rows.push(columns.iter().map(|column| (*column).to_owned()).zip(values).collect());
        }
        rows
    }

    /// From now on, nothing can be written into that table for which the condition holds.
    pub(crate) async fn break_when(&self, name: &str, table: &str, condition: &str) {
        if self.config.database_url.is_some() {
            self.sql(&format!(
                "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS \
                 $$BEGIN RAISE EXCEPTION '{name}'; END$$"
            ))
            .await;
            self.sql(&format!(
                "CREATE TRIGGER {name} BEFORE INSERT ON {table} FOR EACH ROW WHEN ({condition}) \
                 EXECUTE FUNCTION {name}()"
            ))
            .await;
        } else {
            self.sql(&format!(
                "CREATE TRIGGER {name} BEFORE INSERT ON {table} WHEN {condition} \
                 BEGIN SELECT RAISE(ABORT, '{name}'); END"
            ))
            .await;
        }
    }

    pub(crate) async fn stop(self) {
        self.server.stop(Duration::from_secs(5)).await;
    }
}

/// The time on the clock that the database of a test shares with it.
#[expect(clippy::disallowed_methods, reason = "a test says when its keys expire")]
pub(crate) fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// A request in the making.
pub(crate) struct Call {
    request: reqwest::RequestBuilder,
    token: Option<String>,
}

impl Call {
    pub(crate) fn token(self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self }
    }

    pub(crate) fn without_token(self) -> Self {
        Self { token: None, ..self }
    }

    pub(crate) fn header(self, name: &str, value: &str) -> Self {
        Self { request: self.request.header(name, value), ..self }
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        Self { request: self.request.json(body), ..self }
    }

    pub(crate) fn body(self, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { request: self.request.header("content-type", kind).body(body.into()), ..self }
    }

    pub(crate) async fn send(self) -> Answer {
        let request = match &self.token {
            Some(token) => self.request.bearer_auth(token),
            None => self.request,
        };
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap() }
    }
}

/// A response, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{self:?} is not JSON"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks that this is a problem of that status and code, and everything a problem owes.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(self.header("cache-control"), "no-store", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{self:?}");
        assert_eq!(problem["status"], status, "{self:?}");
        assert_eq!(problem["type"], format!("urn:nightlatch:problem:{code}"), "{self:?}");
        assert!(!problem["title"].as_str().unwrap().is_empty(), "{self:?}");
        assert_eq!(problem["request_id"], self.header("x-request-id"), "{self:?}");
        assert_eq!(
            self.headers.contains_key("www-authenticate"),
            status == 401 && ["token_missing", "token_invalid"].contains(&code),
            "{self:?}"
        );
        problem
    }
}
