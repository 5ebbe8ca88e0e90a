//! `cargo xtask build-npm`: the verifier core as an npm package, the way `wasm-pack` would lay it out.
//!
//! cargo (wasm32) → wasm-bindgen, as a library → wasm-opt → package.json, entries, README and licences. One module serves
//! every runtime; what differs is how it comes into being, which each entry knows.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::node_tools;
use crate::wasm::{self, Module};

/// The verifier core's module, compressed, may not be larger than this many bytes.
pub(crate) const GZIP_BUDGET: usize = 32 * 1024;

/// How wasm-opt weighs size against speed here.
pub(crate) const OPTIMISE: &str = "-Oz";

const NAME: &str = "nightlatch-edge";
const MODULE: &str = "nightlatch_edge";
/// Files of the package that are kept in the repository, and where.
const KEPT: [(&str, &str); 5] = [
    ("edge/npm/js/node.mjs", "node.mjs"),
    ("edge/npm/js/workerd.mjs", "workerd.mjs"),
    ("edge/npm/README.md", "README.md"),
    ("LICENSE-APACHE", "LICENSE-APACHE"),
    ("LICENSE-MIT", "LICENSE-MIT"),
];

/// Options of `build-npm`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Fail when the module is larger than its budget
    #[arg(long)]
    pub(crate) check_size: bool,
    /// Leave out vector instructions, for runtimes without them
    #[arg(long)]
    no_simd: bool,
}

/// Builds the package into `edge/npm/pkg` and prints its size.
pub(crate) fn run(args: &Args) -> Result<()> {
    let out = build(&node_tools::repository_root(), !args.no_simd)?;
    let (module, script) = (out.join(format!("{MODULE}_bg.wasm")), out.join(format!("{MODULE}.js")));
    let (module, script) = (fs::read(module)?, fs::read(script)?);
    let compressed = wasm::gzip_len(&module)?;
    println!(
        "verifier core: {} bytes, {compressed} compressed, budget {GZIP_BUDGET} compressed; script {} / {}",
        module.len(),
        script.len(),
        wasm::gzip_len(&script)?,
    );
    if args.check_size {
        ensure!(compressed <= GZIP_BUDGET, "the verifier core is larger than its budget");
    }
    Ok(())
}

/// Builds the package and returns its directory.
///
/// # Errors
/// When a step fails; what the step printed is on standard error.
pub(crate) fn build(root: &Path, simd: bool) -> Result<PathBuf> {
    let out = root.join("edge/npm/pkg");
    let module = Module { package: NAME, name: MODULE, simd, typescript: true, optimise: OPTIMISE };
    wasm::build(root, &module, &out)?;
    for (from, to) in KEPT {
        fs::copy(root.join(from), out.join(to)).with_context(|| from.to_owned())?;
    }
    // The order of its lines counts, so it is kept as text.
    let manifest = fs::read_to_string(root.join("edge/npm/js/package.json"))?;
    fs::write(out.join("package.json"), manifest.replace("\"0.0.0\"", concat!("\"", env!("CARGO_PKG_VERSION"), "\"")))?;
    Ok(out)
}
