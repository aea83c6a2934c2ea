//! Traffic control messages that redirect frames from one interface to another.

use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    tc::{
        TcAction, TcActionAttribute, TcActionGeneric, TcActionMirror, TcActionMirrorOption,
        TcActionOption, TcActionType, TcAttribute, TcFilterMatchAll, TcFilterMatchAllOption,
        TcFilterU32, TcFilterU32Option, TcHandle, TcHeader, TcMessage, TcMirror,
        TcMirrorActionType, TcOption, TcU32Key, TcU32Selector, TcU32SelectorFlags,
    },
};

/// Priority of our filters, by which they are recognised. It is after those that the kernel
/// chooses, which start at 49152 and go down, so filters of other programs see a packet before it
/// is redirected.
const PRIORITY: u16 = 50_000;
/// All protocols (`ETH_P_ALL`, packet(7)), in network byte order.
const ALL_PROTOCOLS: u16 = 3_u16.to_be();
/// The queueing discipline for incoming packets, as we make it.
pub(super) const INGRESS: &str = "ingress";
/// The same for both directions; another program may have made it.
pub(super) const CLSACT: &str = "clsact";

/// Ways to match every packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Classifier {
    /// Matches everything; kernels since 4.8 may have it.
    MatchAll,
    /// Compares no bits of the packet; all kernels with traffic control have it.
    U32,
}

/// Makes the queueing discipline to which filters for incoming packets of `link` belong.
pub(super) fn ingress(link: u32) -> RouteNetlinkMessage {
    RouteNetlinkMessage::NewQueueDiscipline(discipline(link))
}

/// Removes that discipline, with all its filters.
pub(super) fn no_ingress(link: u32) -> RouteNetlinkMessage {
    RouteNetlinkMessage::DelQueueDiscipline(discipline(link))
}

fn discipline(link: u32) -> TcMessage {
    let mut message = TcMessage::with_index(link.cast_signed());
    message.header.parent = TcHandle::INGRESS;
    message.header.handle = TcHandle {
        major: u16::MAX,
        minor: 0,
    };
    message
        .attributes
        .push(TcAttribute::Kind(INGRESS.to_owned()));
    message
}

/// Makes a filter: packets that arrive at `from` are sent out at `to`.
pub(super) fn redirect(from: u32, to: u32, classifier: Classifier) -> RouteNetlinkMessage {
    let mut message = filter(from);
    let (kind, options) = match classifier {
        Classifier::MatchAll => {
            let act = TcFilterMatchAllOption::Action(vec![redirection(to)]);
            (TcFilterMatchAll::KIND, vec![TcOption::MatchAll(act)])
        }
        Classifier::U32 => {
            let act = TcFilterU32Option::Action(vec![redirection(to)]);
            let all = TcFilterU32Option::Selector(everything());
            (
                TcFilterU32::KIND,
                vec![TcOption::U32(all), TcOption::U32(act)],
            )
        }
    };
    message.attributes.push(TcAttribute::Kind(kind.to_owned()));
    message.attributes.push(TcAttribute::Options(options));
    RouteNetlinkMessage::NewTrafficFilter(message)
}

/// Removes our filters from `link`.
pub(super) fn no_redirect(link: u32) -> RouteNetlinkMessage {
    RouteNetlinkMessage::DelTrafficFilter(filter(link))
}

fn filter(link: u32) -> TcMessage {
    let mut message = TcMessage::with_index(link.cast_signed());
    message.header.parent = TcHandle {
        major: u16::MAX,
        minor: TcHandle::MIN_INGRESS,
    };
    message.header.info = TcHandle {
        major: PRIORITY,
        minor: ALL_PROTOCOLS,
    }
    .into();
    message
}

/// A selector with one key that compares no bit.
fn everything() -> TcU32Selector {
    let mut selector = TcU32Selector::default();
    selector.flags = TcU32SelectorFlags::Terminal;
    selector.nkeys = 1;
    selector.keys = vec![TcU32Key::default()];
    selector
}

fn redirection(to: u32) -> TcAction {
    let mut generic = TcActionGeneric::default();
    generic.action = TcActionType::Stolen;
    let mut mirror = TcMirror::default();
    mirror.generic = generic;
    mirror.eaction = TcMirrorActionType::EgressRedir;
    mirror.ifindex = to;
    let mut action = TcAction::default();
    action.attributes = vec![
        TcActionAttribute::Kind(TcActionMirror::KIND.to_owned()),
        TcActionAttribute::Options(vec![TcActionOption::Mirror(TcActionMirrorOption::Parms(
            mirror,
        ))]),
    ];
    action
}

/// Whether a filter was made by [`redirect`].
pub(super) fn is_ours(header: &TcHeader) -> bool {
    TcHandle::from(header.info).major == PRIORITY
}

/// The interface to which a filter redirects packets.
pub(super) fn target(filter: &TcMessage) -> Option<u32> {
    let options = filter
        .attributes
        .iter()
        .filter_map(|attribute| match attribute {
            TcAttribute::Options(options) => Some(options),
            _ => None,
        });
    let actions = options.flatten().filter_map(|option| match option {
        TcOption::MatchAll(TcFilterMatchAllOption::Action(actions))
        | TcOption::U32(TcFilterU32Option::Action(actions)) => Some(actions),
        _ => None,
    });
    let attributes = actions.flatten().flat_map(|action| &action.attributes);
    let options = attributes.filter_map(|attribute| match attribute {
        TcActionAttribute::Options(options) => Some(options),
        _ => None,
    });
    options.flatten().find_map(|option| match option {
        TcActionOption::Mirror(TcActionMirrorOption::Parms(mirror)) => Some(mirror.ifindex),
        _ => None,
    })
}

/// Kind of a queueing discipline or filter.
pub(super) fn kind(message: &TcMessage) -> Option<&str> {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            TcAttribute::Kind(kind) => Some(kind.as_str()),
            _ => None,
        })
}
