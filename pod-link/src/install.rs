//! Fills the directory that the sandbox sees as `/__modal`, read-only.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

const AGENT: &str = "skerry-agent";
const CERTIFICATES: &str = ".ca/ca-certificates.crt";
/// What the official clients call it by (docs/protocol/filesystem-tools.md).
const FILE_TOOLS: &str = "modal-sandbox-fs-tools";

/// @param volumes how many. @param certificates a file with those that programs are told to trust
pub fn install(directory: &Path, volumes: usize, certificates: Option<&str>) -> io::Result<()> {
    let own = std::env::current_exe()?;
    let agent = own.with_file_name(AGENT);
    fs::set_permissions(directory, Permissions::from_mode(0o755))?;
    let programs = directory.join(".bin");
    DirBuilder::new().recursive(true).mode(0o755).create(&programs)?;
    // Only root may dial.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory.join(".run"))?;
    // What is mounted there is for the agent alone: programs see it elsewhere.
    for index in 0..volumes {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory.join(".volumes").join(index.to_string()))?;
    }
    if let Some(name) = certificates {
        let trusted = directory.join(CERTIFICATES);
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(trusted.parent().unwrap_or(directory))?;
        fs::copy(own.with_file_name(name), &trusted)?;
        fs::set_permissions(&trusted, Permissions::from_mode(0o644))?;
    }
    fs::copy(agent, programs.join(AGENT))?;
    fs::set_permissions(programs.join(AGENT), Permissions::from_mode(0o755))?;
    let other = programs.join(FILE_TOOLS);
    match fs::hard_link(programs.join(AGENT), other) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}
