//! What `bench set` measures and measures with, built or installed first.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::bench::{programs::workerd, say};
use crate::node_tools::{ensure_installed, program, repository_root};
use crate::npm_build;
use crate::tools::{ensure_program, ensure_wasm_target, run};
use crate::wasm::{self, Module};

const MODULE: &str = "nightlatch_bench_wasm";

/// Where everything is.
pub(super) struct SetPrograms {
    pub(super) root: PathBuf,
    /// The native half.
    pub(super) native: PathBuf,
    /// The core with loops around it, for Node.
    pub(super) module: PathBuf,
    /// The same as a Worker.
    pub(super) worker: PathBuf,
    /// The package of the verifier core, and its module's size.
    pub(super) npm: PathBuf,
    pub(super) npm_gzip: usize,
    pub(super) workerd: PathBuf,
    /// A directory of ours on the disk the repository is on.
    pub(super) scratch: PathBuf,
}

impl SetPrograms {
    /// Builds and installs everything.
    pub(super) fn prepare(simd: bool) -> Result<Self> {
        let root = repository_root();
        ensure_program("valgrind", "valgrind")?;
        ensure_program("zstd", "zstd")?;
        ensure_program("taskset", "util-linux")?;
        ensure_wasm_target()?;
        ensure_installed(&root)?;
        say("building the native half for release");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let package = ["build", "--quiet", "--release", "--package", "nightlatch-bench"];
        run(Command::new(cargo).args(package).current_dir(&root))?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let native = root.join(target).join("release/nightlatch-bench");

        say("building the modules");
        let npm = npm_build::build(&root, simd)?;
        let npm_gzip = wasm::gzip_len(&fs::read(npm.join("nightlatch_edge_bg.wasm"))?)?;
        let scratch = root.join("target/bench");
        let module = scratch.join("module");
        let core = Module {
            package: "nightlatch-bench-wasm",
            name: MODULE,
            simd,
            typescript: false,
            // As the package is.
            optimise: npm_build::OPTIMISE,
        };
        wasm::build(&root, &core, &module)?;
        let worker = scratch.join("worker");
        bundle(&root, &module, &worker)?;
        let workerd = workerd(&root)?;
        Ok(Self { root, native, module, worker, npm, npm_gzip, workerd, scratch })
    }
}

/// Makes a Worker of the module.
fn bundle(root: &Path, module: &Path, out: &Path) -> Result<()> {
    fs::create_dir_all(out)?;
    fs::copy(module.join(format!("{MODULE}_bg.wasm")), out.join("index_bg.wasm"))?;
    run(Command::new(program(root, "esbuild")?)
        .arg(root.join("bench/js/worker.mjs"))
        .args(["--bundle", "--format=esm", "--target=es2022", "--log-level=error", "--external:./index_bg.wasm"])
        .arg(format!("--alias:nightlatch-bench-wasm={}", module.join(format!("{MODULE}.js")).display()))
        .arg(format!("--outfile={}", out.join("index.js").display())))
}
