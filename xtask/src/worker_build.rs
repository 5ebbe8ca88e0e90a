//! `cargo xtask build-worker`: the Worker, from Rust to a directory `wrangler` can deploy.
//!
//! cargo (wasm32) → wasm-bindgen, as a library → wasm-opt → esbuild. The usual wrapper around these
//! steps downloads its tools; here each comes from Cargo.lock or package-lock.json, so a build needs
//! nothing but the two package registries.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};
use wasm_bindgen_cli_support::{Bindgen, Output};

use crate::node_tools;

/// The whole Worker, compressed, may not be larger than this many bytes.
pub(crate) const GZIP_BUDGET: usize = 120 * 1024;

const CRATE: &str = "nightlatch-edge-cloudflare";
const LIBRARY: &str = "nightlatch_edge_cloudflare.wasm";
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";
pub(crate) const PROFILE: &str = "edge";

/// What workerd supports and rustc or wasm-bindgen emit. Named one by one: a newer wasm-opt must not
/// start using what the runtime does not know.
pub(crate) const WASM_FEATURES: &[&str] = &[
    "--enable-mutable-globals",
    "--enable-sign-ext",
    "--enable-nontrapping-float-to-int",
    "--enable-bulk-memory",
    "--enable-multivalue",
    "--enable-reference-types",
    "--enable-exception-handling",
];

/// Options of `build-worker`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Fail when the Worker is larger than its budget
    #[arg(long)]
    pub(crate) check_size: bool,
}

/// Builds the Worker unless it is already built from the same inputs, and prints its size.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = node_tools::repository_root();
    let out = build(&root)?;
    let size = Size::of(&out)?;
    println!("{size}");
    if args.check_size {
        ensure!(
            size.gzip() <= GZIP_BUDGET,
            "the Worker is {} bytes compressed, its budget is {GZIP_BUDGET}",
            size.gzip()
        );
    }
    Ok(())
}

/// Builds the Worker and returns the directory that holds `index.js` and `index_bg.wasm`.
///
/// # Errors
/// When a step fails; what the step printed is on standard error.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    node_tools::ensure_installed(root)?;
    let wasm = compile(root)?;
    let crate_dir = root.join("edge/cloudflare");
    let out = crate_dir.join("build");
    let stamp_file = out.join("inputs.sha256");
    let stamp = inputs_hash(root, &wasm, &crate_dir.join("js"))?;
    let built = ["index.js", "index_bg.wasm"].iter().all(|name| out.join(name).exists());
    if built && fs::read_to_string(&stamp_file).is_ok_and(|before| before == stamp) {
        return Ok(out);
    }

    let stage = wasm.with_file_name("nightlatch-worker-stage");
    if stage.exists() {
        fs::remove_dir_all(&stage)?;
    }
    fs::create_dir_all(&stage)?;
    fs::create_dir_all(&out)?;
    let mut bound = bind(&wasm, &stage)?;
    bundle(root, &crate_dir.join("js/entry.mjs"), &stage)?;
    keep_used_exports(&mut bound, &stage)?;
    optimise(root, &stage.join("used.wasm"), &stage.join("small.wasm"))?;
    // The stamp goes last, so that an interrupted build is never taken for a finished one.
    let _ = fs::remove_file(&stamp_file);
    fs::rename(stage.join("small.wasm"), out.join("index_bg.wasm"))?;
    fs::rename(stage.join("bundle.js"), out.join("index.js"))?;
    fs::write(&stamp_file, stamp)?;
    Ok(out)
}

/// Compiles the crate to wasm32 and returns the module's path.
fn compile(root: &Path) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--lib", "--package", CRATE])
        .args(["--target", TARGET, "--profile", PROFILE])
        .arg("--config")
        .arg(format!("target.{TARGET}.rustflags=[{},'-Ctarget-feature=+simd128']", remapped_paths()?))
        .current_dir(root)
        .status()
        .context("running cargo")?;
    if !status.success() {
        bail!("the Worker does not compile; is the target there? rustup target add {TARGET}");
    }
    let target_dir = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(root.join(target_dir).join(TARGET).join(PROFILE).join(LIBRARY))
}

/// Compiler flags that cut the place of Cargo's sources out of panic messages: they tell of whoever built the Worker, and
/// make the same sources give other bytes elsewhere.
pub(crate) fn remapped_paths() -> Result<String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo"))).context("no home directory")?;
    let sources = fs::read_dir(home.join("registry/src")).into_iter().flatten();
    let flags = sources.map(|entry| Ok(format!("'--remap-path-prefix={}/='", entry?.path().display())));
    Ok(flags.collect::<Result<Vec<_>>>()?.join(","))
}

/// Everything a finished build depends on, as one hash.
fn inputs_hash(root: &Path, wasm: &Path, js_dir: &Path) -> Result<String> {
    let mut inputs = vec![wasm.to_path_buf(), root.join("package-lock.json"), root.join("xtask/src/worker_build.rs")];
    let mut scripts: Vec<PathBuf> =
        fs::read_dir(js_dir)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    scripts.retain(|script| !script.to_string_lossy().ends_with(".test.mjs"));
    scripts.sort();
    inputs.append(&mut scripts);
    let mut hash = Sha256::new();
    for input in inputs {
        let bytes = fs::read(&input).with_context(|| format!("reading {}", input.display()))?;
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(&bytes);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes the JavaScript side of the bindings (`index.js`), and returns the bound module.
fn bind(wasm: &Path, stage: &Path) -> Result<Output> {
    let mut output = Bindgen::new()
        .input_path(wasm)
        .module(true)?
        .typescript(false)
        .out_name("index")
        // After a trap the module starts anew instead of staying broken until the isolate goes.
        .reset_state_function(true)
        .force_enable_abort_handler(true)
        .generate_output()
        .context("wasm-bindgen")?;
    output.emit(stage).context("wasm-bindgen")?;
    let bindings = stage.join("index.js");
    let text = fs::read_to_string(&bindings)?;
    // Bundlers know the plain form; the runtime hands over a compiled module either way.
    let plain = text.replace("import source ", "import ");
    ensure!(plain != text, "wasm-bindgen no longer writes `import source`");
    // Says of every exported class that it does nothing unless used, so that the bundler drops those nobody uses.
    let plain = plain.replace("new FinalizationRegistry(", "/* @__PURE__ */ new FinalizationRegistry(");
    let lines = plain.lines().filter(|line| !line.starts_with("if (Symbol.dispose) "));
    fs::write(&bindings, lines.collect::<Vec<_>>().join("\n"))?;
    Ok(output)
}

/// Writes `used.wasm`: the module without the exports that the bundled script never names. The crates beneath export
/// whole classes of bindings this Worker has no use for, and an export keeps all the code behind it.
fn keep_used_exports(bound: &mut Output, stage: &Path) -> Result<()> {
    let script = fs::read_to_string(stage.join("bundle.js"))?;
    let exports = &mut bound.wasm_mut().exports;
    let unused: Vec<_> = exports
        .iter()
        .filter(|export| !script.contains(&format!("wasm.{}", export.name)))
        .map(|export| export.id())
        .collect();
    for export in unused {
        exports.delete(export);
    }
    fs::write(stage.join("used.wasm"), bound.wasm_mut().emit_wasm())?;
    Ok(())
}

fn optimise(root: &Path, input: &Path, output: &Path) -> Result<()> {
    let status = Command::new(node_tools::program(root, "wasm-opt")?)
        .args(["-Oz", "--enable-simd", "-ocimfs", "10", "--converge"])
        .args(["--strip-producers", "--strip-target-features"])
        .args(WASM_FEATURES)
        .arg(input)
        .arg("-o")
        .arg(output)
        .status()
        .context("running wasm-opt")?;
    ensure!(status.success(), "wasm-opt failed");
    Ok(())
}

fn bundle(root: &Path, entry: &Path, stage: &Path) -> Result<()> {
    let status = Command::new(node_tools::program(root, "esbuild")?)
        .arg(entry)
        .args(["--bundle", "--format=esm", "--target=es2022", "--minify-syntax", "--minify-whitespace"])
        .args(["--log-level=warning", "--legal-comments=none"])
        .arg(format!("--alias:nightlatch-edge={}", stage.join("index.js").display()))
        .args(["--external:./index_bg.wasm", "--external:cloudflare:*"])
        .arg(format!("--outfile={}", stage.join("bundle.js").display()))
        .current_dir(stage)
        .status()
        .context("running esbuild")?;
    ensure!(status.success(), "esbuild failed");
    Ok(())
}

/// Sizes of the two files that are deployed, in bytes.
pub(crate) struct Size {
    wasm: usize,
    wasm_gzip: usize,
    script: usize,
    script_gzip: usize,
}

impl Size {
    /// Measures the two files in that directory.
    pub(crate) fn of(out: &Path) -> Result<Self> {
        let wasm = fs::read(out.join("index_bg.wasm"))?;
        let script = fs::read(out.join("index.js"))?;
        Ok(Self {
            wasm: wasm.len(),
            wasm_gzip: gzip_len(&wasm)?,
            script: script.len(),
            script_gzip: gzip_len(&script)?,
        })
    }

    /// Both compressed, in bytes.
    pub(crate) fn gzip(&self) -> usize {
        self.wasm_gzip + self.script_gzip
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Worker: {} bytes, {} compressed (wasm {} / {}, script {} / {}), budget {GZIP_BUDGET} compressed",
            self.wasm + self.script,
            self.gzip(),
            self.wasm,
            self.wasm_gzip,
            self.script,
            self.script_gzip,
        )
    }
}

pub(crate) fn gzip_len(bytes: &[u8]) -> Result<usize> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?.len())
}
