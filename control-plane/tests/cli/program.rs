//! Running the program, and a server for it to speak to.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program with these arguments, and nothing of ours in its environment.
pub(crate) fn nightlatch(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nightlatch"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("NIGHTLATCH_") {
            command.env_remove(name);
        }
    }
    command.env_remove("DATABASE_URL").args(arguments);
    command
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    #[track_caller]
    pub(crate) fn fine(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn failed(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.err.starts_with("nightlatch: ") || code == 2 || code == 6, "{self:?}");
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{self:?} is not JSON"))
    }
}

/// Runs a command with this on its standard input.
pub(crate) fn run(mut command: Command, input: &str) -> Ended {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that does not read its input closes it.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    Ended::of(child.wait_with_output().unwrap())
}

/// A running server and a management token for it.
pub(crate) struct Server {
    child: Child,
    pub(crate) directory: TempDir,
    pub(crate) url: String,
    token: String,
}

impl Server {
    /// Starts a server in a new directory, and enrols.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// As [`Server::start`], with further settings.
    pub(crate) fn start_with(settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (child, url) = serve_with(directory.path(), settings);
        let mut server = Self { child, directory, url, token: String::new() };
        let (file, secret) = (server.path("data/enrolment-token"), server.path("management-token"));
        let enrolled = server.run(&["enrol", "--enrolment-file", &file, "--secret-out", &secret]).fine();
        assert!(enrolled.out.contains("Enrolled"), "{enrolled:?}");
        server.token = fs::read_to_string(secret).unwrap().trim().to_owned();
        server
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    pub(crate) fn write(&self, name: &str, content: &str) -> String {
        fs::write(self.directory.path().join(name), content).unwrap();
        self.path(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = nightlatch(arguments);
        command.env("NIGHTLATCH_URL", &self.url).env("NIGHTLATCH_TOKEN", &self.token);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        run(self.command(arguments), "")
    }

    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> Ended {
        run(self.command(arguments), input)
    }

    /// Runs a command on a terminal of its own, on which this is typed.
    pub(crate) fn run_on_terminal(&self, arguments: &[&str], typed: &str) -> Ended {
        let quoted: Vec<_> = arguments.iter().map(|argument| format!("'{argument}'")).collect();
        let mut command = self.command(&[]);
        let program = command.get_program().to_string_lossy().into_owned();
        let mut script = Command::new("script");
        script.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        script.args([
            "--quiet",
            "--return",
            "--echo",
            "never",
            "--command",
            // As wide as a terminal is by default: one without a window has no size.
            &format!("stty cols 80; exec {program} {}", quoted.join(" ")),
        ]);
        script.arg("/dev/null");
        command = script;
        run(command, typed)
    }

    /// Issues a key: its id and its secret.
    pub(crate) fn issue(&self, name: &str) -> (String, String) {
        let issued = self.run(&["keys", "issue", name, "--scope", "invoices:read", "--json"]).fine().json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&issued["key"]["id"]), text(&issued["secret"]))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Starts a server on a data directory within this one, and waits until it listens.
pub(crate) fn serve(directory: &Path) -> (Child, String) {
    serve_with(directory, &[])
}

fn serve_with(directory: &Path, settings: &[&str]) -> (Child, String) {
    let (data, ready) = (directory.join("data"), directory.join("ready.json"));
    drop(fs::remove_file(&ready));
    let log = fs::File::create(directory.join("log")).unwrap();
    let child = nightlatch(&["serve", "--listen", "127.0.0.1:0"])
        .arg("--data-dir")
        .arg(data)
        .arg("--ready-file")
        .arg(&ready)
        .args(settings)
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let ready: Value = serde_json::from_str(&wait_for_file(&ready)).unwrap();
    (child, ready["url"].as_str().unwrap().to_owned())
}

/// Waits until a file is there.
fn wait_for_file(path: &PathBuf) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Ok(text) = fs::read_to_string(path) {
            return text;
        }
        assert!(Instant::now() < until, "{} does not appear", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asks a process to stop, as a service manager does.
pub(crate) fn terminate(pid: u32) {
    let status = Command::new("kill").args(["-TERM", &pid.to_string()]).status().unwrap();
    assert!(status.success());
}
