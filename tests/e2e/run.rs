//! `ctr run`: output, input, terminals, exit codes.

use e2e_tests::harness::Case;
use playground::{Result, ensure, node::Node, program::Program};

/// Output of the large-output case: 100 MB.
const LARGE: &str = "yes 0123456789abcde | head -c 100000000";

/// What `sha256sum` says of nothing.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  -\n";

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("output_and_errors_are_told_apart", output_and_errors),
        Case::new("exit_codes_arrive", exit_codes),
        Case::new("a_terminal_is_one", terminal),
        Case::new("input_is_read_to_its_end", input),
        Case::new("a_hundred_megabytes_arrive_byte_for_byte", large_output),
        Case::new("environment_directory_and_files_are_as_asked", surroundings),
    ]
}

fn output_and_errors(node: &Node) -> Result<()> {
    let ended = node
        .run("out")
        .shell("echo to-out; echo to-err >&2")
        .run()?;
    ensure!(ended.code == 0, "{ended:?}");
    ensure!(
        ended.stdout == "to-out\n",
        "Standard output: {:?}",
        ended.stdout
    );
    ensure!(
        ended.stderr == "to-err\n",
        "Standard error: {:?}",
        ended.stderr
    );
    Ok(())
}

fn exit_codes(node: &Node) -> Result<()> {
    for code in [0, 1, 42, 137, 143] {
        let ended = node.run("code").shell(&format!("exit {code}")).run()?;
        ensure!(
            ended.code == code,
            "exit {code} arrived as {}: {}",
            ended.code,
            ended.stderr
        );
    }
    Ok(())
}

fn terminal(node: &Node) -> Result<()> {
    let mut shell = node.run("tty").terminal().command(&["sh"]).start()?;
    // Sums are printed, so that the echo of the input is not taken for the answer.
    shell.write(b"tty -s && echo sum=$((40+2))\n");
    shell.read_until("sum=42\r")?;
    shell.write(b"exit 7\n");
    let ended = shell.finish()?;
    ensure!(ended.code == 7, "{ended:?}");

    let without = node.run("notty").shell("tty -s || echo none").run()?;
    ensure!(without.stdout == "none\n", "{without:?}");
    Ok(())
}

fn input(node: &Node) -> Result<()> {
    let text: String = (0..100_000).map(|n| format!("{n}\n")).collect();
    let expected = Program::new("sha256sum").input(&*text).succeed()?;
    for (text, expected) in [(text.as_str(), expected.as_str()), ("", EMPTY)] {
        let run = node.run("in");
        let mut running = run.shell("echo up; exec sha256sum").open_input().start()?;
        // An end of input that `ctr` sees before it has a task is lost, with any runtime.
        running.read_until("up\n")?;
        running.write(text.as_bytes());
        let ended = running.finish()?;
        ensure!(
            ended.code == 0 && ended.stdout == format!("up\n{expected}"),
            "{ended:?}"
        );
    }
    Ok(())
}

fn large_output(node: &Node) -> Result<()> {
    let expected = Program::new("sh").args(["-c", LARGE]).run()?;
    let ended = node.run("large").shell(LARGE).run()?;
    ensure!(
        ended.stdout_length == expected.stdout_length
            && ended.stdout_sha256 == expected.stdout_sha256,
        "{} bytes with digest {} came of {} with digest {}",
        ended.stdout_length,
        ended.stdout_sha256,
        expected.stdout_length,
        expected.stdout_sha256
    );
    println!("    100 MB in {:.1} s", ended.elapsed.as_secs_f64());
    Ok(())
}

fn surroundings(node: &Node) -> Result<()> {
    let run = node
        .run("env")
        .flag("--env")
        .flag("COLOUR=blue")
        .flag("--cwd")
        .flag("/tmp");
    let script = "echo $COLOUR $PWD; echo x > /tmp/f && cat /tmp/f; test -c /dev/null && \
        echo null; \
                  id -u; hostname; mount | grep -c '^proc '";
    let ended = run.shell(script).run()?;
    let lines: Vec<&str> = ended.stdout.lines().collect();
    ensure!(ended.code == 0, "{ended:?}");
    ensure!(
        lines.len() == 6 && lines[..4] == ["blue /tmp", "x", "null", "0"],
        "{ended:?}"
    );
    ensure!(lines[5] != "0", "/proc is not mounted: {ended:?}");
    Ok(())
}
