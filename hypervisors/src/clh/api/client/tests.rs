//! The client against a socket that answers what a test says.

use std::os::fd::{AsRawFd, RawFd};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use tempfile::TempDir;
use tokio::{
    io::{AsyncWriteExt, Interest},
    net::UnixListener,
};

use super::*;
use crate::clh::api::calls::{VmAddNet, VmBoot, VmInfo, VmmPing};
use crate::clh::vm_config::NetConfig;

const PING: &str =
    "{\"build_version\":\"v51.1.0\",\"version\":\"51.1.0\",\"pid\":7,\"features\":[\"kvm\"]}";

struct Server {
    _dir: TempDir,
    client: Client,
    listener: UnixListener,
}

fn server() -> Server {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("api");
    Server {
        listener: UnixListener::bind(&socket).unwrap(),
        client: Client::new(socket),
        _dir: dir,
    }
}

impl Server {
    /// Takes one message and what travels with it, sends `answer`, and closes.
    async fn answer(&self, answer: &[u8]) -> (String, usize) {
        let (mut stream, _) = self.listener.accept().await.unwrap();
        let (request, fds) = stream
            .async_io(Interest::READABLE, || message(stream.as_raw_fd()))
            .await
            .unwrap();
        stream.write_all(answer).await.unwrap();
        (request, fds)
    }
}

fn message(socket: RawFd) -> io::Result<(String, usize)> {
    let mut bytes = vec![0; 8192];
    let mut space = nix::cmsg_space!([i32; 4]);
    let mut into = [io::IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket, &mut into, Some(&mut space), flags)?;
    let fds = message.cmsgs()?.map(|control| match control {
        ControlMessageOwned::ScmRights(fds) => fds.len(),
        _ => 0,
    });
    let (length, fds) = (message.bytes, fds.sum());
    Ok((String::from_utf8(bytes[..length].to_vec()).unwrap(), fds))
}

fn http(status: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nServer: Cloud Hypervisor API\r\nConnection: keep-alive\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[tokio::test]
async fn an_answer_is_read() {
    let server = server();
    let answer = http("200 ", PING);
    let (ping, (request, fds)) =
        tokio::join!(server.client.call(&VmmPing, None), server.answer(&answer));
    assert_eq!(ping.unwrap().version, "51.1.0");
    assert!(
        request.starts_with("GET /api/v1/vmm.ping HTTP/1.1\r\n"),
        "{request}"
    );
    assert_eq!(fds, 0);
}

#[tokio::test]
async fn a_call_without_content_has_no_body() {
    let server = server();
    let (booted, (request, _)) = tokio::join!(
        server.client.call(&VmBoot, None),
        server.answer(
            b"HTTP/1.1 204 \r\nServer: Cloud Hypervisor API\r\nConnection: keep-alive\r\n\r\n"
        )
    );
    booted.unwrap();
    assert!(request.ends_with("\r\n\r\n"), "{request}");
}

#[tokio::test]
async fn a_descriptor_travels_in_the_same_message_as_its_whole_request() {
    let server = server();
    let tap = std::fs::File::open("/dev/null").unwrap();
    let config = NetConfig::new("net-eth0", "02:00:00:00:00:01");
    let answer = http("200 ", "{\"id\":\"net-eth0\",\"bdf\":\"0000:00:05.0\"}");
    let call = VmAddNet(&config);
    let (plugged, (request, fds)) = tokio::join!(
        server.client.call(&call, Some(tap.into())),
        server.answer(&answer)
    );
    assert_eq!(plugged.unwrap().unwrap().bdf, "0000:00:05.0");
    assert_eq!(fds, 1);
    assert!(request.ends_with('}'), "{request}");
}

#[tokio::test]
async fn an_interface_of_a_vm_that_is_not_started_is_nowhere() {
    let server = server();
    let tap = std::fs::File::open("/dev/null").unwrap();
    let config = NetConfig::new("nic", "02:00:00:00:00:01");
    let call = VmAddNet(&config);
    let (added, (_, fds)) = tokio::join!(
        server.client.call(&call, Some(tap.into())),
        server.answer(b"HTTP/1.1 204 \r\nServer: Cloud Hypervisor API\r\n\r\n")
    );
    assert!(added.unwrap().is_none());
    assert_eq!(fds, 1);
}

#[tokio::test]
async fn a_refusal_keeps_the_whole_chain() {
    let cases = [
        (
            http(
                "500 ",
                "[\"Error from API\",\"Cannot boot the VM\",\"No kernel\"]",
            ),
            "Error from API: Cannot boot the VM: No kernel",
        ),
        (http("404 ", ""), "status 404 Not Found without a reason"),
        (
            http("429 ", "[\"wait\"]"),
            "wait (status 429 Too Many Requests)",
        ),
        (
            http("400 ", "plain\u{1b}[31m"),
            "plain [31m (status 400 Bad Request)",
        ),
    ];
    for (answer, expected) in cases {
        let server = server();
        let (refused, _) = tokio::join!(server.client.call(&VmBoot, None), server.answer(&answer));
        let Err(ControlError::Refused { request, reason }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!((request, reason.as_str()), ("vm.boot", expected));
    }
}

#[tokio::test]
async fn broken_answers_are_told_apart() {
    let whole = http("200 ", PING);
    let cut = &whole[..whole.len() - 10];
    let long = http("200 ", &format!("\"{}\"", "x".repeat(ANSWER_LIMIT)));
    let cases: [(&[u8], bool); 6] = [
        (b"", false),
        (b"HTTP/1.1 200 OK\r\n", false),
        (cut, false),
        (b"HELLO\r\n\r\n", true),
        (&http("200 ", "{\"version\": \"51"), true),
        (&long, true),
    ];
    for (answer, invalid) in cases {
        let server = server();
        let (answered, _) = tokio::join!(server.client.call(&VmmPing, None), server.answer(answer));
        match answered {
            Err(ControlError::Invalid(_)) if invalid => {}
            Err(ControlError::Closed(_)) if !invalid => {}
            other => panic!("{other:?} for {} bytes", answer.len()),
        }
    }
}

#[tokio::test]
async fn nobody_listening_is_the_end() {
    let server = server();
    drop(server.listener);
    let refused = server.client.call(&VmInfo, None).await;
    assert!(
        matches!(refused, Err(ControlError::Closed(_))),
        "{refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_vmm_is_waited_for_as_long_as_the_call_says() {
    let server = server();
    let late = server.client.call(&VmBoot, None).await;
    let Err(ControlError::Timeout { waited_for, waited }) = late else {
        panic!("{late:?}")
    };
    assert_eq!(waited_for, "Cloud Hypervisor's answer to vm.boot");
    assert_eq!(waited, VmBoot::TIMEOUT);
}
