use std::os::fd::AsRawFd;

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader as Lines},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
};

use super::*;
use crate::qemu::qmp::command::{Cont, GetFd, QueryStatus, Stop};

const GREETING: &str = concat!(
    r#"{"QMP":{"version":{"qemu":{"micro":0,"minor":2,"major":7},"package":""},"#,
    r#""capabilities":[]}}"#
);
const SOON: Duration = Duration::from_secs(5);

/// The other end of a connection: says what a test tells it to.
struct Peer {
    read: Lines<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl Peer {
    async fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.read.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap()
    }

    async fn say(&mut self, text: &str) {
        self.write.write_all(text.as_bytes()).await.unwrap();
    }

    async fn answer(&mut self, command: &Value, value: Value) {
        let reply = json!({ "return": value, "id": command["id"] });
        self.say(&format!("{reply}\n")).await;
    }
}

fn pair() -> (UnixStream, Peer) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (read, write) = theirs.into_split();
    (
        ours,
        Peer {
            read: Lines::new(read),
            write,
        },
    )
}

async fn connected() -> (Client, Peer) {
    let (ours, mut peer) = pair();
    let negotiation = async {
        peer.say(&format!("{GREETING}\r\n")).await;
        let command = peer.hear().await;
        assert_eq!(command, json!({ "execute": "qmp_capabilities", "id": 0 }));
        peer.answer(&command, json!({})).await;
    };
    let (connected, ()) = tokio::join!(Client::connect(ours, SOON), negotiation);
    (connected.unwrap().0, peer)
}

#[tokio::test]
async fn answers_find_their_commands_in_any_order() {
    let (client, mut peer) = connected().await;
    let script = async {
        let (first, second) = (peer.hear().await, peer.hear().await);
        peer.say("{\"event\":\"RTC_CHANGE\",\"data\":{}}\n{\"event\":\"NEWS\"}\n")
            .await;
        peer.answer(&second, json!({})).await;
        peer.answer(&first, json!({ "status": "running", "running": true }))
            .await;
    };
    let (status, stopped, ()) = tokio::join!(
        client.execute(&QueryStatus {}),
        client.execute(&Stop {}),
        script
    );
    assert!(status.unwrap().running);
    stopped.unwrap();
}

#[tokio::test]
async fn a_refusal_carries_the_words() {
    let (client, mut peer) = connected().await;
    let script = async {
        let id = peer.hear().await["id"].clone();
        let error = json!({ "class": "GenericError", "desc": "Not now" });
        peer.say(&format!("{}\n", json!({ "error": error, "id": id })))
            .await;
    };
    let (result, ()) = tokio::join!(client.execute(&Cont {}), script);
    let refused = ControlError::Refused {
        request: "cont",
        reason: String::from("Not now"),
    };
    assert_eq!(result.unwrap_err(), refused);
}

#[tokio::test]
async fn an_event_is_caught_between_other_things() {
    let (client, mut peer) = connected().await;
    let caught = client.wait_for(|event| event.text("device") == Some("disk-a"));
    let forgotten = client.wait_for(|event| event.name == "DEVICE_DELETED");
    drop(forgotten);
    let events: String = [
        json!({ "path": "/x" }),
        json!({ "device": "disk-a" }),
        json!(null),
    ]
    .map(|data| format!("{}\n", json!({ "event": "DEVICE_DELETED", "data": data })))
    .concat();
    for byte in events.chars() {
        peer.say(&byte.to_string()).await;
    }
    let event = client.event(caught, "the event", SOON).await.unwrap();
    assert_eq!(event.name, "DEVICE_DELETED");
}

#[tokio::test]
async fn a_connection_closed_in_a_call_ends_every_wait_at_once() {
    let (client, mut peer) = connected().await;
    let event = client.wait_for(|_| true);
    let script = async move {
        peer.hear().await;
        peer.say("{\"return\": {\"sta").await;
    };
    let (result, ()) = tokio::join!(client.execute(&QueryStatus {}), script);
    assert_eq!(result.unwrap_err(), closed());
    for event in [event, client.wait_for(|_| true)] {
        let error = client.event(event, "it", SOON).await.unwrap_err();
        assert_eq!(error, closed());
    }
    assert_eq!(client.execute(&Stop {}).await.unwrap_err(), closed());
}

#[tokio::test]
async fn what_is_not_the_protocol_ends_the_connection() {
    let half = "{\"return\": {\"sta\n";
    let giant = format!("{{\"event\": \"{}\n", "x".repeat(LINE_LIMIT));
    let nameless = "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n";
    for (text, words) in [
        (half, "EOF while parsing"),
        (giant.as_str(), "a line of more than"),
        (nameless, "a reply without a number: no"),
        (&format!("{GREETING}\n"), "a second greeting"),
    ] {
        let (client, mut peer) = connected().await;
        let script = async {
            peer.hear().await;
            // The giant line is not taken to its end.
            let _ = peer.write.write_all(text.as_bytes()).await;
        };
        let (result, ()) = tokio::join!(client.execute(&Stop {}), script);
        let Err(ControlError::Invalid(what)) = result else {
            panic!("{text:.40}")
        };
        assert!(what.contains(words), "{what}");
    }
}

#[tokio::test]
async fn an_answer_of_another_shape_is_invalid() {
    let (client, mut peer) = connected().await;
    let script = async {
        let command = peer.hear().await;
        peer.answer(&command, json!({ "status": 7 })).await;
    };
    let (result, ()) = tokio::join!(client.execute(&QueryStatus {}), script);
    assert!(matches!(result, Err(ControlError::Invalid(_))));
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_is_a_timeout_and_is_not_mistaken_for_the_next() {
    let (client, mut peer) = connected().await;
    let late = client.execute(&QueryStatus {}).await.unwrap_err();
    let waited = Duration::from_secs(10);
    let waited_for = String::from("QEMU's answer to query-status");
    assert_eq!(late, ControlError::Timeout { waited_for, waited });
    let script = async {
        let (first, second) = (peer.hear().await, peer.hear().await);
        peer.answer(&first, json!({ "status": "paused", "running": false }))
            .await;
        peer.answer(&second, json!({ "status": "running", "running": true }))
            .await;
    };
    let (status, ()) = tokio::join!(client.execute(&QueryStatus {}), script);
    assert!(status.unwrap().running);
    assert!(client.shared.lock().pending.is_empty());
}

#[tokio::test(start_paused = true)]
async fn silence_instead_of_a_greeting_is_a_timeout() {
    let (ours, _peer) = pair();
    let silence = Client::connect(ours, SOON).await.unwrap_err();
    let expected = ControlError::Timeout {
        waited_for: String::from("QEMU's greeting"),
        waited: SOON,
    };
    assert_eq!(silence, expected);
}

#[tokio::test]
async fn a_descriptor_travels_with_its_command() {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    let (client, peer) = connected().await;
    let file = std::fs::File::open("/dev/zero").unwrap();
    let script = async {
        let stream = peer.write.as_ref();
        stream.readable().await.unwrap();
        let (mut text, mut space) = ([0; 1000], nix::cmsg_space!([i32; 4]));
        let mut parts = [std::io::IoSliceMut::new(&mut text)];
        let fd = stream.as_raw_fd();
        let message = recvmsg::<()>(fd, &mut parts, Some(&mut space), MsgFlags::empty()).unwrap();
        let rights: Vec<_> = message
            .cmsgs()
            .unwrap()
            .map(|message| match message {
                ControlMessageOwned::ScmRights(fds) => fds,
                _ => Vec::new(),
            })
            .collect();
        let link = std::fs::read_link(format!("/proc/self/fd/{}", rights[0][0])).unwrap();
        (rights.len(), rights[0].len(), link)
    };
    let sent = client.execute_with(&GetFd { name: "state" }, file.into());
    let got = tokio::select! { got = script => got, _ = sent => panic!("answered") };
    assert_eq!(got, (1, 1, "/dev/zero".into()));
}
