//! `nightlatch sync` on the command line.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use nightlatch_keyset::note::Verifier;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::kv::KV_API_URL;
use super::{KvOptions, Report, S3Options, Source, SyncError, SyncJob, SyncOptions, Target, TargetOptions};
use crate::config::LogFormat;
use crate::push::PushTarget;
use crate::secrets::read_private;
use crate::serve::Signals;
use crate::store::os_random;
use crate::telemetry;

const HELP: &str = "\
Examples:
  nightlatch sync --source https://keys.example.com/v1/sets/set_… --target s3://bucket/edge --s3-endpoint https://….r2.cloudflarestorage.com --s3-region auto
  nightlatch sync --source https://keys.example.com/v1/sets/set_… --target kv:ACCOUNT/NAMESPACE/edge
  nightlatch sync --source ./nightlatch-data/sets/set_… --target /var/www/keys --once --dry-run

Secrets come from the environment or from files, never from flags: NIGHTLATCH_TOKEN (or --token-file),
NIGHTLATCH_KV_TOKEN (or --kv-token-file), NIGHTLATCH_PUSH_TOKEN (or --push-token-file), AWS_SECRET_ACCESS_KEY,
AWS_SESSION_TOKEN.

Exit codes:
  0  done, or nothing to do; a continuous job was asked to stop
  1  failed: source or target cannot be reached, or what was copied has run out
  2  wrong usage or configuration; nothing was tried
  3  refused: a signature or a file is not right, or the target would go back";

/// Asking more often than this helps nobody.
const SHORTEST_POLL: Duration = Duration::from_millis(50);
/// How often a single pass begins anew because another job was faster.
const RACES: u32 = 4;
/// How long a single pass waits for its head to be pushed.
const PUSH_PATIENCE: Duration = Duration::from_secs(5);

/// Copy a set's published files to where edges read them.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct SyncArgs {
    /// The set's address at the control plane, any other web server's, or a directory.
    #[arg(long, env = "NIGHTLATCH_SOURCE", value_name = "URL|DIR")]
    source: String,
    /// s3://bucket/prefix (R2 and other S3-compatible stores too), kv:ACCOUNT/NAMESPACE/prefix (Workers KV), or a
    /// directory.
    #[arg(long, env = "NIGHTLATCH_TARGET", value_name = "URL|DIR")]
    target: String,
    /// The public key of the root, which says in the set's trust note who signs heads; the note is copied, too.
    #[arg(long, env = "NIGHTLATCH_ROOT", value_name = "VKEY", value_delimiter = ',')]
    root: Vec<String>,
    /// A public key that heads and deltas are signed with, as `nightlatch sets` shows it; needed where there is no root.
    #[arg(
        long,
        env = "NIGHTLATCH_VERIFIER",
        value_name = "VKEY",
        value_delimiter = ',',
        required_unless_present = "root"
    )]
    verifier: Vec<String>,
    /// A file of mode 0600 with an edge token of the set; the variable NIGHTLATCH_TOKEN when absent.
    #[arg(long, env = "NIGHTLATCH_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Make one pass and end.
    #[arg(long)]
    once: bool,
    /// Print what would be copied and removed, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON: one document with --once or --dry-run, else a line for every pass that did something.
    #[arg(long)]
    json: bool,
    /// Read and check what the target has already, and replace what is damaged.
    #[arg(long)]
    check: bool,
    /// How often to ask for a new head, in seconds.
    #[arg(long, env = "NIGHTLATCH_SYNC_POLL_SECONDS", value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    poll_seconds: Duration,
    /// How long an unneeded file stays, in seconds [default: the head's validity and skew, and 60].
    #[arg(long, env = "NIGHTLATCH_SYNC_GRACE_SECONDS", value_name = "SECONDS", value_parser = seconds)]
    grace_seconds: Option<Duration>,
    /// The S3-compatible store's address; Amazon's own when absent.
    #[arg(long, env = "AWS_ENDPOINT_URL", value_name = "URL", help_heading = "S3 targets")]
    s3_endpoint: Option<String>,
    /// The bucket's region; `auto` for R2 [default: us-east-1].
    #[arg(long, env = "AWS_REGION", value_name = "REGION", help_heading = "S3 targets")]
    s3_region: Option<String>,
    /// The id of the access key.
    #[arg(long, env = "AWS_ACCESS_KEY_ID", value_name = "ID", help_heading = "S3 targets")]
    s3_access_key_id: Option<String>,
    /// The store does not know If-Match and If-None-Match on writes: look before writing instead.
    #[arg(long, env = "NIGHTLATCH_S3_UNCONDITIONAL", help_heading = "S3 targets")]
    s3_unconditional: bool,
    /// The address of the API of Workers KV.
    #[arg(long, env = "NIGHTLATCH_KV_API_URL", value_name = "URL", default_value = KV_API_URL, help_heading = "KV targets")]
    kv_api_url: String,
    /// A file of mode 0600 with an API token that may edit Workers KV Storage; the variable NIGHTLATCH_KV_TOKEN when
    /// absent.
    #[arg(long, env = "NIGHTLATCH_KV_TOKEN_FILE", value_name = "FILE", help_heading = "KV targets")]
    kv_token_file: Option<PathBuf>,
    /// Tell this Worker of every new head at once: wss://WORKER/.well-known/nightlatch/push/SET, or https://… for a POST
    /// each. May be given several times. Edges find heads without it, only later. Of little use for those that read
    /// Workers KV.
    #[arg(long, env = "NIGHTLATCH_PUSH", value_name = "URL", value_delimiter = ',', help_heading = "Push")]
    push: Vec<String>,
    /// A file of mode 0600 with the token that these Workers ask for; the variable NIGHTLATCH_PUSH_TOKEN when absent.
    #[arg(long, env = "NIGHTLATCH_PUSH_TOKEN_FILE", value_name = "FILE", help_heading = "Push")]
    push_token_file: Option<PathBuf>,
}

impl SyncArgs {
    /// Runs the job and says how it went.
    pub async fn run(self) -> ExitCode {
        match self.try_run().await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("nightlatch: {error}");
                ExitCode::from(error.exit_code())
            }
        }
    }

    async fn try_run(self) -> Result<(), SyncError> {
        // Already started where another command runs in this process.
        let filter = std::env::var("NIGHTLATCH_LOG").unwrap_or_else(|_| "warn".into());
        telemetry::start(&filter, LogFormat::Text).map_err(SyncError::Usage)?;
        let (once, json) = (self.once || self.dry_run, self.json);
        let mut job = self.job(|name| std::env::var(name).ok())?;
        if once {
            let mut report = first_or_after_others(&mut job).await?;
            report.push = job.pushed(PUSH_PATIENCE).await;
            return print(&report, json, true);
        }
        let mut signals = Signals::listen().map_err(|error| SyncError::Usage(error.to_string()))?;
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let listener = tokio::spawn(async move {
            signals.next().await;
            stopping.cancel();
        });
        job.run(&stop, &mut os_random, &mut |outcome| match outcome {
            Ok(report) => {
                if let Err(error) = print(report, json, false) {
                    eprintln!("nightlatch: {error}");
                }
            }
            Err(error) => eprintln!("nightlatch: {error}"),
        })
        .await;
        listener.abort();
        Ok(())
    }

    /// The job that the arguments describe; `variable` reads the environment.
    fn job(self, variable: impl Fn(&str) -> Option<String>) -> Result<SyncJob, SyncError> {
        let options = SyncOptions {
            roots: vkeys("--root", &self.root)?,
            verifiers: vkeys("--verifier", &self.verifier)?,
            poll: self.poll_seconds.max(SHORTEST_POLL),
            grace: self.grace_seconds,
            check: self.check,
            dry_run: self.dry_run,
            now: wall_clock,
        };
        // Not flags: the arguments of a program are visible to everybody on the machine.
        let secret = |name| variable(name).filter(|text| !text.is_empty()).map(SecretString::from);
        let token = |file: Option<&Path>, name| match file {
            Some(path) => {
                let text = read_private(path).map_err(|error| SyncError::Usage(error.to_string()))?;
                Ok(Some(SecretString::from(text.trim())))
            }
            None => Ok::<_, SyncError>(secret(name)),
        };
        let s3 = S3Options {
            endpoint: self.s3_endpoint,
            region: self.s3_region,
            access_key_id: self.s3_access_key_id,
            secret_access_key: secret("AWS_SECRET_ACCESS_KEY"),
            session_token: secret("AWS_SESSION_TOKEN"),
            unconditional: self.s3_unconditional,
        };
        let kv = KvOptions {
            api_url: Some(self.kv_api_url),
            token: token(self.kv_token_file.as_deref(), "NIGHTLATCH_KV_TOKEN")?,
        };
        if !self.push.is_empty() && self.target.starts_with("kv:") {
            tracing::warn!(
                "Workers KV may show files a minute after a Worker has been told of their head: push is for Workers that read \
                 another target or the control plane"
            );
        }
        let mut push = Vec::new();
        if !self.push.is_empty() && !self.dry_run {
            let token = token(self.push_token_file.as_deref(), "NIGHTLATCH_PUSH_TOKEN")?.ok_or_else(|| {
                SyncError::Usage(
                    "--push needs the Workers' token, in NIGHTLATCH_PUSH_TOKEN or --push-token-file".into(),
                )
            })?;
            for address in &self.push {
                push.push(PushTarget::new(address, &token).map_err(|error| SyncError::Usage(error.to_string()))?);
            }
        }
        let token = token(self.token_file.as_deref(), "NIGHTLATCH_TOKEN")?;
        let source = Source::open(&self.source, token)?;
        let target = Target::open(&self.target, &TargetOptions { s3, kv }, !self.dry_run)?;
        let mut job = SyncJob::new(source, target, options);
        push.into_iter().for_each(|to| job.push_to(to));
        Ok(job)
    }
}

fn vkeys(flag: &str, texts: &[String]) -> Result<Vec<Verifier>, SyncError> {
    let read = |text: &String| {
        let text = text.trim();
        Verifier::from_vkey(text).map_err(|error| SyncError::Usage(format!("{flag} {text}: {error}")))
    };
    texts.iter().map(read).collect()
}

/// One pass; another where somebody else's came in between.
async fn first_or_after_others(job: &mut SyncJob) -> Result<Report, SyncError> {
    for _ in 0..RACES {
        match job.pass().await {
            Err(SyncError::Raced) => {}
            other => return other,
        }
    }
    job.pass().await
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if !(0.0..=86_400.0).contains(&seconds) {
        return Err("must be from 0 to 86400".into());
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn print(report: &Report, json: bool, whole: bool) -> Result<(), SyncError> {
    let text = match (json, whole) {
        (true, true) => serde_json::to_string_pretty(report),
        (true, false) => serde_json::to_string(report),
        (false, _) => Ok(report.to_string()),
    };
    let text = text.map_err(|error| SyncError::Target(error.to_string()))?;
    let mut out = std::io::stdout().lock();
    // Whoever reads our output may have seen enough.
    drop(writeln!(out, "{text}"));
    drop(out.flush());
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the command is a shell: it brings the machine's clock")]
fn wall_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
