//! A large set, and everything that is made from it: the sidecar's files, HAProxy's map, the requests.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use nightlatch_gate::policy::{Draft, Policy, RouteDraft};
use nightlatch_tests::published::{Key, PublishedSet};
use nightlatch_tests::sidecar::{Sidecar, SidecarConfig};
use tempfile::TempDir;

use crate::bench::scene::{PATH, SCOPE};

/// Keys that are asked with, spread over the set.
const ASKED: u32 = 10_000;
/// How long the set may be relied on: longer than any run.
const VALIDITY_MS: u64 = 6 * 3_600_000;

pub(super) struct Stand {
    directory: TempDir,
    set: PublishedSet,
}

impl Stand {
    /// Makes a set of that many keys.
    pub(super) fn prepare(keys: u32) -> Result<Self> {
        let directory = TempDir::with_prefix("nightlatch-bench-sidecar-")?;
        let route = RouteDraft::new("GET", PATH).scopes([SCOPE]);
        let mut set = PublishedSet::new(&Policy::new(Draft::new("bench").route(route))?)?;
        let mut map = String::with_capacity(keys as usize * 86);
        let mut asked = String::new();
        for number in 0..keys {
            let key = set.issue(Key::with_scopes(&[SCOPE]));
            let digest = key.digest();
            for byte in digest.as_bytes() {
                write!(map, "{byte:02X}")?;
            }
            writeln!(map, " key_{}", key.parts().id())?;
            if number % (keys / ASKED.min(keys)) == 0 {
                writeln!(asked, "{}", key.expose())?;
            }
        }
        set.cut()?;
        set.renew(VALIDITY_MS);
        let path = directory.path();
        fs::create_dir_all(path.join("set/files"))?;
        for (name, bytes) in &set.files {
            fs::write(path.join("set/files").join(name.to_text()), bytes)?;
        }
        fs::write(path.join("set/head"), set.note())?;
        fs::write(path.join("digests.map"), map)?;
        fs::write(path.join("keys"), asked)?;
        fs::write(path.join("asking.lua"), script(&path.join("keys")))?;
        Ok(Self { directory, set })
    }

    /// HAProxy's map: digests in upper-case hexadecimals, and what they stand for.
    pub(super) fn map(&self) -> PathBuf {
        self.directory.path().join("digests.map")
    }

    /// Requests with one key after the other, as nginx would ask and as a client would.
    pub(super) fn script(&self) -> &'static Path {
        // Lives as long as the program, which ends with the bench.
        Box::leak(self.directory.path().join("asking.lua").into_boxed_path())
    }

    /// A sidecar of one thread, run by these words, which has loaded the set.
    pub(super) async fn sidecar(&self, words: &[OsString]) -> Result<Sidecar> {
        let config = SidecarConfig::new()
            .program(words)
            .setting("mode", "auth_request")
            .setting("set", &self.set.head.set)
            .setting("source", self.directory.path().join("set").display().to_string())
            .verifier(self.set.verifier())
            .secret("peppers_file", self.set.peppers())
            .number("threads", 1);
        Sidecar::start(config).await
    }
}

/// Requests are made beforehand, so that the load costs little while it runs.
fn script(keys: &Path) -> String {
    format!(
        r#"local requests, at = {{}}, 0
function init()
  for key in io.lines("{keys}") do
    requests[#requests + 1] = wrk.format("GET", "{PATH}", {{
      ["Host"] = "bench", ["Authorization"] = "Bearer " .. key,
      ["X-Original-Method"] = "GET", ["X-Original-URI"] = "{PATH}",
    }})
  end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
"#,
        keys = keys.display()
    )
}
