//! The messages of traffic control.

use rtnetlink::{
    packet_core::{Emitable, Parseable},
    packet_route::{
        RouteNetlinkMessage,
        tc::{TcHeader, TcMessage},
    },
};

use crate::tc::{self, Classifier};

/// The message as the kernel would tell it again.
fn message(message: &RouteNetlinkMessage) -> TcMessage {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    TcMessage::parse(&bytes[..]).unwrap()
}

#[test]
fn a_filter_is_known_again_with_its_target() {
    for (classifier, kind) in [(Classifier::MatchAll, "matchall"), (Classifier::U32, "u32")] {
        let filter = message(&tc::redirect(7, 9, classifier));
        assert_eq!(filter.header.index, 7);
        assert_eq!(tc::kind(&filter), Some(kind));
        assert!(tc::is_ours(&filter.header));
        assert_eq!(tc::target(&filter), Some(9));
    }
}

#[test]
fn filters_of_others_are_not_ours() {
    for priority in [1_u32, 49152, 49151] {
        let header = TcHeader {
            info: priority << 16 | 0x300,
            ..TcHeader::default()
        };
        assert!(!tc::is_ours(&header));
    }
}

#[test]
fn removal_names_only_our_filters() {
    let removal = message(&tc::no_redirect(7));
    let filter = message(&tc::redirect(7, 9, Classifier::U32));
    assert_eq!(removal.header, filter.header);
    // Without a priority the kernel would flush all filters of the interface.
    assert_ne!(removal.header.info >> 16, 0);
}
