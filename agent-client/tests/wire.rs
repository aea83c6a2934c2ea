//! The numbers on the wire, written out by hand: a stock agent must understand them for ever.
#![allow(clippy::unwrap_used)]

use agent_client::{agent, csi, health, oci, types};
use protobuf::{Message, MessageField};

/// A length-delimited field.
fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = varint(u64::from(number << 3 | 2));
    bytes.extend(varint(content.len() as u64));
    bytes.extend(content);
    bytes
}

/// A varint field.
fn number(number: u32, value: u64) -> Vec<u8> {
    let mut bytes = varint(u64::from(number << 3));
    bytes.extend(varint(value));
    bytes
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn assert_wire(message: &(impl Message + std::fmt::Debug), fields: &[Vec<u8>]) {
    assert_eq!(
        message.write_to_bytes().unwrap(),
        fields.concat(),
        "{message:?}"
    );
}

#[test]
fn a_signal_is_these_bytes() {
    let mut request = agent::SignalProcessRequest::new();
    request.container_id = "c".into();
    request.exec_id = "e".into();
    request.signal = 15;
    let bytes = request.write_to_bytes().unwrap();
    assert_eq!(bytes, [0x0a, 1, b'c', 0x12, 1, b'e', 0x18, 15]);
}

#[test]
fn a_container() {
    let mut request = agent::CreateContainerRequest::new();
    request.container_id = "c".into();
    request.exec_id = "e".into();
    request.string_user = MessageField::some(agent::StringUser {
        uid: "1".into(),
        gid: "2".into(),
        additionalGids: vec!["3".into()],
        ..Default::default()
    });
    request.devices = vec![agent::Device {
        id: "02/00".into(),
        type_: "blk".into(),
        vm_path: "/dev/vda".into(),
        container_path: "/dev/x".into(),
        options: vec!["o".into()],
        ..Default::default()
    }];
    request.storages = vec![agent::Storage {
        driver: "blk".into(),
        driver_options: vec!["d".into()],
        source: "02/00".into(),
        fstype: "erofs".into(),
        options: vec!["ro".into()],
        mount_point: "/m".into(),
        fs_group: MessageField::some(agent::FSGroup {
            group_id: 7,
            group_change_policy: types::FSGroupChangePolicy::OnRootMismatch.into(),
            ..Default::default()
        }),
        shared: true,
        ..Default::default()
    }];
    request.OCI = MessageField::some(oci::Spec::new());
    request.sandbox_pidns = true;
    request.shared_mounts = vec![agent::SharedMount {
        name: "n".into(),
        src_ctr: "a".into(),
        src_path: "b".into(),
        dst_ctr: "c".into(),
        dst_path: "d".into(),
        ..Default::default()
    }];
    (request.stdin_port, request.stdout_port, request.stderr_port) = (100, 200, 300);
    assert_wire(
        &request,
        &[
            field(1, b"c"),
            field(2, b"e"),
            field(
                3,
                &[field(1, b"1"), field(2, b"2"), field(3, b"3")].concat(),
            ),
            field(
                4,
                &[
                    field(1, b"02/00"),
                    field(2, b"blk"),
                    field(3, b"/dev/vda"),
                    field(4, b"/dev/x"),
                    field(5, b"o"),
                ]
                .concat(),
            ),
            field(
                5,
                &[
                    field(1, b"blk"),
                    field(2, b"d"),
                    field(3, b"02/00"),
                    field(4, b"erofs"),
                    field(5, b"ro"),
                    field(6, b"/m"),
                    field(7, &[number(2, 7), number(3, 1)].concat()),
                    number(8, 1),
                ]
                .concat(),
            ),
            field(6, b""),
            number(7, 1),
            field(
                8,
                &[
                    field(1, b"n"),
                    field(2, b"a"),
                    field(3, b"b"),
                    field(4, b"c"),
                    field(5, b"d"),
                ]
                .concat(),
            ),
            number(9, 100),
            number(10, 200),
            number(11, 300),
        ],
    );
}

#[test]
fn a_sandbox() {
    let mut request = agent::CreateSandboxRequest::new();
    request.hostname = "h".into();
    request.dns = vec!["nameserver 1.1.1.1".into()];
    request.storages = vec![agent::Storage::new()];
    request.sandbox_pidns = true;
    request.sandbox_id = "s".into();
    request.guest_hook_path = "/hooks".into();
    request.kernel_modules = vec![agent::KernelModule {
        name: "loop".into(),
        parameters: vec!["max_loop=8".into()],
        ..Default::default()
    }];
    assert_wire(
        &request,
        &[
            field(1, b"h"),
            field(2, b"nameserver 1.1.1.1"),
            field(3, b""),
            number(4, 1),
            field(5, b"s"),
            field(6, b"/hooks"),
            field(7, &[field(1, b"loop"), field(2, b"max_loop=8")].concat()),
        ],
    );
}

#[test]
fn what_makes_a_clone_unique() {
    let mut request = agent::ReseedRandomDevRequest::new();
    request.data = vec![1, 2, 3];
    assert_wire(&request, &[field(2, &[1, 2, 3])]);

    let mut request = agent::SetGuestDateTimeRequest::new();
    (request.Sec, request.Usec) = (1_700_000_000, 999_999);
    assert_wire(&request, &[number(1, 1_700_000_000), number(2, 999_999)]);

    let mut request = agent::OnlineCPUMemRequest::new();
    (request.wait, request.nb_cpus, request.cpu_only) = (true, 2, true);
    assert_wire(&request, &[number(1, 1), number(2, 2), number(3, 1)]);
}

#[test]
fn streams_and_waits() {
    let mut request = agent::WriteStreamRequest::new();
    (request.container_id, request.exec_id) = ("c".into(), "e".into());
    request.data = vec![0xff];
    assert_wire(
        &request,
        &[field(1, b"c"), field(2, b"e"), field(3, &[0xff])],
    );

    let mut request = agent::ReadStreamRequest::new();
    (request.container_id, request.exec_id, request.len) = ("c".into(), "e".into(), 32768);
    assert_wire(
        &request,
        &[field(1, b"c"), field(2, b"e"), number(3, 32768)],
    );

    let mut request = agent::TtyWinResizeRequest::new();
    (request.row, request.column) = (24, 80);
    assert_wire(&request, &[number(3, 24), number(4, 80)]);

    let reply = agent::WaitProcessResponse::parse_from_bytes(&number(1, 137)).unwrap();
    assert_eq!(reply.status, 137);
    let reply = agent::ReadStreamResponse::parse_from_bytes(&field(1, b"out")).unwrap();
    assert_eq!(reply.data, b"out");
}

#[test]
fn a_copied_file() {
    let request = agent::CopyFileRequest {
        path: "/p".into(),
        file_size: 1 << 33,
        file_mode: 0o100_644,
        dir_mode: 0o755,
        uid: 1000,
        gid: 1001,
        offset: 1 << 20,
        data: vec![1],
        ..Default::default()
    };
    assert_wire(
        &request,
        &[
            field(1, b"/p"),
            number(2, 1 << 33),
            number(3, 0o100_644),
            number(4, 0o755),
            number(5, 1000),
            number(6, 1001),
            number(7, 1 << 20),
            field(8, &[1]),
        ],
    );
}

#[test]
fn an_interface_and_a_route() {
    let interface = types::Interface {
        device: "eth0".into(),
        name: "eth0".into(),
        IPAddresses: vec![types::IPAddress {
            family: types::IPFamily::v6.into(),
            address: "::1".into(),
            mask: "64".into(),
            ..Default::default()
        }],
        mtu: 1500,
        hwAddr: "aa".into(),
        devicePath: "02/00".into(),
        type_: "virtual".into(),
        raw_flags: 128,
        ..Default::default()
    };
    let address = [number(1, 1), field(2, b"::1"), field(3, b"64")].concat();
    assert_wire(
        &interface,
        &[
            field(1, b"eth0"),
            field(2, b"eth0"),
            field(3, &address),
            number(4, 1500),
            field(5, b"aa"),
            field(6, b"02/00"),
            field(7, b"virtual"),
            number(8, 128),
        ],
    );
    let route = types::Route {
        dest: "d".into(),
        gateway: "g".into(),
        device: "v".into(),
        source: "s".into(),
        scope: 253,
        family: types::IPFamily::v6.into(),
        flags: 4,
        mtu: 9000,
        ..Default::default()
    };
    let fields = [
        field(1, b"d"),
        field(2, b"g"),
        field(3, b"v"),
        field(4, b"s"),
        number(5, 253),
        number(6, 1),
        number(7, 4),
        number(8, 9000),
    ];
    assert_wire(&route, &fields);
    let mut routes = agent::UpdateRoutesRequest::new();
    routes.routes.mut_or_insert_default().Routes = vec![route];
    assert_wire(&routes, &[field(1, &field(1, &fields.concat()))]);
}

#[test]
fn a_process() {
    let process = oci::Process {
        Terminal: true,
        ConsoleSize: MessageField::some(oci::Box {
            Height: 24,
            Width: 80,
            ..Default::default()
        }),
        User: MessageField::some(oci::User {
            UID: 1,
            GID: 2,
            AdditionalGids: vec![3, 4],
            Username: "u".into(),
            ..Default::default()
        }),
        Args: vec!["sh".into()],
        Env: vec!["A=b".into()],
        Cwd: "/".into(),
        Capabilities: MessageField::some(oci::LinuxCapabilities::new()),
        Rlimits: vec![oci::POSIXRlimit {
            Type: "RLIMIT_NOFILE".into(),
            Hard: 2,
            Soft: 1,
            ..Default::default()
        }],
        NoNewPrivileges: true,
        ApparmorProfile: "a".into(),
        OOMScoreAdj: 100,
        SelinuxLabel: "s".into(),
        ..Default::default()
    };
    assert_wire(
        &process,
        &[
            number(1, 1),
            field(2, &[number(1, 24), number(2, 80)].concat()),
            field(
                3,
                &[
                    number(1, 1),
                    number(2, 2),
                    field(3, &[3, 4]),
                    field(4, b"u"),
                ]
                .concat(),
            ),
            field(4, b"sh"),
            field(5, b"A=b"),
            field(6, b"/"),
            field(7, b""),
            field(
                8,
                &[field(1, b"RLIMIT_NOFILE"), number(2, 2), number(3, 1)].concat(),
            ),
            number(9, 1),
            field(10, b"a"),
            number(11, 100),
            field(12, b"s"),
        ],
    );
}

#[test]
fn answers() {
    let health = health::HealthCheckResponse::parse_from_bytes(&number(1, 1)).unwrap();
    assert_eq!(
        health.status.enum_value(),
        Ok(health::health_check_response::ServingStatus::SERVING)
    );
    let usage = [number(1, 10), number(2, 30), number(3, 20), number(4, 1)].concat();
    let volume = csi::VolumeStatsResponse::parse_from_bytes(&field(1, &usage)).unwrap();
    let usage = &volume.usage[0];
    assert_eq!((usage.available, usage.total, usage.used), (10, 30, 20));

    let details = [
        number(1, 1 << 27),
        field(2, &[field(1, b"1"), number(5, 1)].concat()),
    ];
    let details = agent::GuestDetailsResponse::parse_from_bytes(&details.concat()).unwrap();
    assert_eq!(details.mem_block_size_bytes, 1 << 27);
    assert!(details.agent_details.supports_seccomp);
}
