//! A port whose host comes and goes, on a pseudo-terminal: like a virtio port it reports a hang-up
//! while the other end is closed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    fs::{File, OpenOptions},
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    time::{Duration, Instant},
};

use agent_client::serial::Port;
use nix::{
    fcntl::OFlag,
    pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt},
    sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr},
    time::{ClockId, clock_gettime},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

const SOON: Duration = Duration::from_secs(5);

fn pty() -> (OwnedFd, impl Fn() -> File) {
    let master: PtyMaster = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK)
        .expect("no pseudo-terminals here");
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname_r(&master).unwrap();
    let open = move || {
        let slave = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlag::O_NOCTTY.bits())
            .open(&name)
            .unwrap();
        let mut raw = tcgetattr(&slave).unwrap();
        cfmakeraw(&mut raw);
        tcsetattr(&slave, SetArg::TCSANOW, &raw).unwrap();
        slave
    };
    (master.into(), open)
}

fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)
        .unwrap()
        .into()
}

#[tokio::test]
async fn a_port_waits_for_its_host_without_spinning() {
    let (device, connect) = pty();
    let mut port = Port::new(device).unwrap();
    let mut data = [0; 5];
    for round in 0..3 {
        let mut host = connect();
        std::io::Write::write_all(&mut host, b"hello").unwrap();
        timeout(SOON, port.read_exact(&mut data))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&data, b"hello");
        timeout(SOON, port.write_all(b"world"))
            .await
            .unwrap()
            .unwrap();
        std::io::Read::read_exact(&mut host, &mut data).unwrap();
        assert_eq!(&data, b"world");
        drop(host);

        let (started, cpu) = (Instant::now(), cpu_time());
        let absent = timeout(Duration::from_millis(300), port.read(&mut data)).await;
        assert!(absent.is_err(), "round {round}: {absent:?}");
        assert!(started.elapsed() >= Duration::from_millis(300));
        let spent = cpu_time() - cpu;
        assert!(
            spent < Duration::from_millis(100),
            "round {round}: spun for {spent:?}"
        );
    }
}

#[tokio::test]
async fn what_is_no_device_is_refused() {
    let file = tempfile::tempfile().unwrap();
    assert!(Port::new(file.into()).is_err());
}
