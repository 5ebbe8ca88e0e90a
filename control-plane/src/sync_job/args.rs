//! `nightlatch sync` on the command line.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use nightlatch_keyset::note::Verifier;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::{Report, S3Options, Source, SyncError, SyncJob, SyncOptions, Target};
use crate::config::LogFormat;
use crate::secrets::read_private;
use crate::serve::Signals;
use crate::store::os_random;
use crate::telemetry;

const HELP: &str = "\
Examples:
  nightlatch sync --source https://keys.example.com/v1/sets/set_… --target s3://bucket/edge --s3-endpoint https://….r2.cloudflarestorage.com --s3-region auto
  nightlatch sync --source ./nightlatch-data/sets/set_… --target /var/www/keys --once --dry-run

Secrets come from the environment only: NIGHTLATCH_TOKEN (or --token-file), AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN.

Exit codes:
  0  done, or nothing to do; a continuous job was asked to stop
  1  failed: source or target cannot be reached, or what was copied has run out
  2  wrong usage or configuration; nothing was tried
  3  refused: a signature or a file is not right, or the target would go back";

/// Asking more often than this helps nobody.
const SHORTEST_POLL: Duration = Duration::from_millis(50);

/// Copy a set's published files to where edges read them.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct SyncArgs {
    /// The set's address at the control plane, any other web server's, or a directory.
    #[arg(long, env = "NIGHTLATCH_SOURCE", value_name = "URL|DIR")]
    source: String,
    /// s3://bucket/prefix (R2 and other S3-compatible stores too), or a directory.
    #[arg(long, env = "NIGHTLATCH_TARGET", value_name = "URL|DIR")]
    target: String,
    /// The public key that heads and deltas are signed with, as `nightlatch sets` shows it.
    #[arg(long, env = "NIGHTLATCH_VERIFIER", value_name = "VKEY", value_delimiter = ',', required = true)]
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
            let report = job.pass().await?;
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
        let verifiers = self.verifier.iter().map(|text| {
            let text = text.trim();
            Verifier::from_vkey(text).map_err(|error| SyncError::Usage(format!("--verifier {text}: {error}")))
        });
        let options = SyncOptions {
            verifiers: verifiers.collect::<Result<_, _>>()?,
            poll: self.poll_seconds.max(SHORTEST_POLL),
            grace: self.grace_seconds,
            check: self.check,
            dry_run: self.dry_run,
            now: wall_clock,
        };
        // Not flags: the arguments of a program are visible to everybody on the machine.
        let secret = |name| variable(name).filter(|text| !text.is_empty()).map(SecretString::from);
        let token = match &self.token_file {
            Some(path) => {
                let text = read_private(path).map_err(|error| SyncError::Usage(error.to_string()))?;
                Some(SecretString::from(text.trim()))
            }
            None => secret("NIGHTLATCH_TOKEN"),
        };
        let s3 = S3Options {
            endpoint: self.s3_endpoint,
            region: self.s3_region,
            access_key_id: self.s3_access_key_id,
            secret_access_key: secret("AWS_SECRET_ACCESS_KEY"),
            session_token: secret("AWS_SESSION_TOKEN"),
        };
        let source = Source::open(&self.source, token)?;
        let target = Target::open(&self.target, &s3, !self.dry_run)?;
        Ok(SyncJob::new(source, target, options))
    }
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
