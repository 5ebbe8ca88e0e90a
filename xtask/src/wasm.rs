//! From a crate to a module that any JavaScript runtime can instantiate: cargo, wasm-bindgen as a library, wasm-opt.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use wasm_bindgen_cli_support::Bindgen;

use crate::node_tools;
use crate::tools::run;
pub(crate) use crate::worker_build::gzip_len;
use crate::worker_build::{PROFILE, TARGET, WASM_FEATURES, remapped_paths};

/// A module to build.
pub(crate) struct Module<'a> {
    /// The crate, as Cargo knows it.
    pub(crate) package: &'a str,
    /// Its library's name, which the files get too.
    pub(crate) name: &'a str,
    /// With vector instructions.
    pub(crate) simd: bool,
    /// With type declarations.
    pub(crate) typescript: bool,
    /// How wasm-opt weighs size against speed.
    pub(crate) optimise: &'a str,
}

/// Builds `{name}.js` and `{name}_bg.wasm` into a directory.
///
/// # Errors
/// When a step fails; what the step printed is on standard error.
pub(crate) fn build(root: &Path, module: &Module<'_>, out: &Path) -> Result<()> {
    node_tools::ensure_installed(root)?;
    let compiled = compile(root, module)?;
    if out.exists() {
        fs::remove_dir_all(out)?;
    }
    fs::create_dir_all(out)?;
    Bindgen::new()
        .input_path(&compiled)
        .web(true)?
        .typescript(module.typescript)
        .out_name(module.name)
        .generate(out)
        .context("wasm-bindgen")?;
    let bound = out.join(format!("{}_bg.wasm", module.name));
    let simd = module.simd.then_some("--enable-simd");
    run(Command::new(node_tools::program(root, "wasm-opt")?)
        .arg(module.optimise)
        .args(WASM_FEATURES)
        .args(simd)
        .arg(&bound)
        .arg("-o")
        .arg(&bound))
}

/// Compiles the crate to wasm32 and returns the module's path. Builds with and without vectors do not disturb each other.
fn compile(root: &Path, module: &Module<'_>) -> Result<PathBuf> {
    let mut flags = remapped_paths()?;
    if module.simd {
        flags.push_str(",'-Ctarget-feature=+simd128'");
    }
    let target_dir = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let target_dir = root.join(target_dir).join(if module.simd { "wasm-simd" } else { "wasm-plain" });
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    run(Command::new(cargo)
        .args(["build", "--quiet", "--lib", "--package", module.package])
        .args(["--target", TARGET, "--profile", PROFILE])
        .arg("--target-dir")
        .arg(&target_dir)
        .arg("--config")
        .arg(format!("target.{TARGET}.rustflags=[{flags}]"))
        .current_dir(root))?;
    Ok(target_dir.join(TARGET).join(PROFILE).join(format!("{}.wasm", module.name)))
}
