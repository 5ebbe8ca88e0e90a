//! The schema of a program that does not exist yet.

use std::path::Path;

use tempfile::TempDir;

/// The control plane's migrations for `kind`, which is `sqlite` or `postgres`, and more of a later version: file names and
/// texts.
///
/// # Panics
/// Where the files cannot be copied.
pub fn with_later(kind: &str, later: &[(&str, &str)]) -> TempDir {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../control-plane/migrations").join(kind);
    let directory = tempfile::tempdir().expect("a temporary directory");
    for entry in std::fs::read_dir(ours).expect("migrations") {
        let path = entry.expect("a migration").path();
        let name = path.file_name().expect("a file has a name");
        std::fs::copy(&path, directory.path().join(name)).expect("it can be copied");
    }
    for (name, text) in later {
        std::fs::write(directory.path().join(name), text).expect("it can be written");
    }
    directory
}
