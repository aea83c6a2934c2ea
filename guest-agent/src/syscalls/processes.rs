//! Processes and their signals, with numbers that `nix` does not know.

use nix::errno::Errno;

/// Sends `signal` to one process. `nix` does not know the real-time signals.
///
/// # Errors
///
/// Those of kill(2); `ESRCH` for a number that is not positive, which kill(2) would take for a
/// group of processes.
pub fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    if pid <= 0 {
        return Err(Errno::ESRCH);
    }
    // SAFETY: kill takes two numbers and touches no memory of this process.
    Errno::result(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Collects one child that has ended, if there is one. Returns its pid, and its exit code or 128
/// plus the signal that ended it.
///
/// `nix` fails on a real-time signal, when the child has been collected already.
pub fn collect_child() -> Option<(i32, i32)> {
    loop {
        let mut status = 0;
        // SAFETY: the pointer is to a local variable that outlives the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) };
        if pid < 0 && Errno::last() == Errno::EINTR {
            continue;
        }
        if pid <= 0 {
            return None;
        }
        if libc::WIFEXITED(status) {
            return Some((pid, libc::WEXITSTATUS(status)));
        }
        if libc::WIFSIGNALED(status) {
            return Some((pid, 128 + libc::WTERMSIG(status)));
        }
    }
}

/// Makes the kernel reap this process's children when they end, inherited ones too.
pub fn ignore_sigchld() {
    // SAFETY: ignoring a signal runs no code of ours.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// Resets SIGPIPE to its default. Rust programs ignore it, and an ignored signal stays ignored in
/// the program that is executed next.
pub fn default_sigpipe() {
    // SAFETY: the default disposition runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}
