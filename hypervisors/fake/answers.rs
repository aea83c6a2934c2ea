//! Answers as bytes, whole and broken.

/// What a real one answered to the call of this name.
pub fn recorded(name: &str) -> Vec<u8> {
    let text = match name {
        "vmm.ping" => include_str!("clh/vmm.ping"),
        "vm.info" => include_str!("clh/vm.info"),
        "vm.add-disk" | "vm.add-net" => include_str!("clh/vm.add-disk"),
        "vm.add-net-again" => include_str!("clh/vm.add-net-again"),
        "vm.restore-without-tap" => include_str!("clh/vm.restore-without-tap"),
        "bad-request" => include_str!("clh/bad-request"),
        "vm.add-disk-again" => include_str!("clh/vm.add-disk-again"),
        "vm.remove-device-unknown" => include_str!("clh/vm.remove-device-unknown"),
        "vm.pause-again" => include_str!("clh/vm.pause-again"),
        "vm.resume-again" => include_str!("clh/vm.resume-again"),
        "vm.snapshot-running" => include_str!("clh/vm.snapshot-running"),
        "vm.restore-missing" => include_str!("clh/vm.restore-missing"),
        "unknown-path" => include_str!("clh/unknown-path"),
        _ => include_str!("clh/vm.boot"),
    };
    // Recorded without the carriage returns, which a text file would lose.
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let head = head.trim_end().replace('\n', "\r\n");
    with_length(&format!("{head}\r\n\r\n"), body.trim_end())
}

/// The answer to a call that a test wants refused: of the form of the recorded ones.
pub fn refusal() -> Vec<u8> {
    let body = "[\"Error from API\",\"A test wanted a refusal\",\"Cause of the causes\"]";
    with_length(
        "HTTP/1.1 500 \r\nServer: Cloud Hypervisor API\r\nConnection: keep-alive\r\n\
         Content-Type: application/json\r\nContent-Length: 0\r\n\r\n",
        body,
    )
}

/// An answer that ends within its head.
pub fn half_head(whole: &[u8]) -> Vec<u8> {
    whole[..12].to_vec()
}

/// An answer that ends before the length it tells.
pub fn half_body(whole: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(whole).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let body = if body.is_empty() { "[\"half\"]" } else { body };
    let mut whole = with_length(&format!("{head}\r\nContent-Length: 0\r\n\r\n"), body);
    whole.truncate(whole.len() - body.len() / 2);
    whole
}

/// A whole answer, and in it half a JSON.
pub fn half_json(whole: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(whole).into_owned();
    let (_, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let half = if body.is_empty() {
        "[\"ha"
    } else {
        &body[..body.len() / 2]
    };
    with_length(
        "HTTP/1.1 200 \r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n",
        half,
    )
}

/// The answer of a version that is too old.
pub fn older(whole: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(whole)
        .replace("51.1.0", "48.0.0")
        .into_bytes()
}

/// An answer longer than any.
pub fn endless() -> Vec<u8> {
    let body = format!("\"{}\"", "x".repeat(2 << 20));
    with_length(
        "HTTP/1.1 200 \r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n",
        &body,
    )
}

/// The head with the body's length, where it tells one.
pub fn with_length(head: &str, body: &str) -> Vec<u8> {
    let mut given = false;
    let mut answer = String::new();
    for line in head.trim_end().split("\r\n") {
        if line.to_ascii_lowercase().starts_with("content-length:") {
            if !given {
                answer.push_str(&format!("Content-Length: {}\r\n", body.len()));
            }
            given = true;
        } else {
            answer.push_str(line);
            answer.push_str("\r\n");
        }
    }
    format!("{answer}\r\n{body}").into_bytes()
}
