//! Processes that end: whatever a test runs beside itself is killed when it takes too long, and says so, since one that
//! hangs would take the whole run with it and tell nobody where.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Longer than anything that a test runs may take; what waits has shorter limits of its own.
const LIMIT: Duration = Duration::from_secs(200);

/// Runs a command with this on its standard input, and answers what it said.
///
/// # Errors
/// When it has not ended within the limit: the command, and all it said until then.
pub fn ended(command: &mut Command, input: &str) -> Result<Output, String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|cause| panic!("{command:?}: {cause}"));
    let (id, mut stdin) = (child.id(), child.stdin.take().unwrap());
    let (done, outcome) = mpsc::channel();
    let input = input.to_owned();
    std::thread::spawn(move || {
        // A command that does not read its input closes it: not an error of the test's.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let _ = done.send(child.wait_with_output());
    });
    if let Ok(output) = outcome.recv_timeout(LIMIT) {
        return Ok(output.unwrap());
    }
    let _ = Command::new("kill").args(["-9", &id.to_string()]).status();
    let said = match outcome.recv_timeout(Duration::from_secs(5)) {
        Ok(Ok(output)) => [output.stdout, output.stderr].concat(),
        _ => Vec::new(),
    };
    Err(format!(
        "{command:?} did not end within {LIMIT:?}; it said: {}",
        String::from_utf8_lossy(&said)
    ))
}

/// The same for a test's own steps, which fail with it.
pub fn run(command: &mut Command) -> Output {
    ended(command, "").unwrap_or_else(|hung| panic!("{hung}"))
}
