//! Connects a namespace's interfaces to taps.

use std::{io, net::IpAddr};

use nix::errno::Errno;
use rtnetlink::{
    LinkMessageBuilder, LinkUnspec,
    packet_core::{NLM_F_CREATE, NLM_F_EXCL},
    packet_route::{
        RouteNetlinkMessage,
        link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkMessage},
    },
};

use super::{
    Attachment, Discovered, Link, Namespace, NetworkError, Tap,
    detach::{detach_in, filters},
    discover::discover,
    netlink::Netlink,
    plan,
    tc::{self, Classifier},
};

/// A namespace whose interfaces are connected to taps. Dropping it removes the taps that no VM
/// holds.
#[derive(Debug)]
pub struct Attached {
    pub(super) namespace: Namespace,
    /// Everything that was found in the namespace.
    pub found: Discovered,
    /// What the VM does not get, each as a phrase for the log.
    pub left_out: Vec<String>,
    /// The interfaces, each with its tap.
    pub taps: Vec<(Attachment, Tap)>,
    /// Whether the first tap is that of the NIC which the VM has from its start.
    pub first_was_ready: bool,
}

impl Attached {
    /// The addresses by which the guest is reached from the node, of the first interface, IPv4
    /// first.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        let first = self.taps.first().map(|(attachment, _)| &attachment.link);
        let all = first
            .map(|link| link.addresses.as_slice())
            .unwrap_or_default();
        let mut addresses: Vec<IpAddr> = all.iter().map(|own| own.ip).collect();
        addresses.retain(|ip| match ip {
            IpAddr::V4(ip) => !ip.is_link_local(),
            IpAddr::V6(ip) => !ip.is_unicast_link_local(),
        });
        addresses.sort();
        addresses
    }
}

/// Finds the interfaces of `namespace` and connects each to a tap of its own. The first one is
/// connected to `ready` if that is given: an unconnected tap of this namespace. The caller must
/// have recorded the namespace, so that the filters can be removed after a crash.
///
/// # Errors
/// The kernel refuses, or an interface cannot be used. What was made is removed.
pub async fn attach(namespace: &Namespace, ready: Option<Tap>) -> Result<Attached, NetworkError> {
    let same = namespace.try_clone()?;
    namespace
        .within(async move |netlink: &mut Netlink| {
            let mut found = discover(netlink).await?;
            if let Some(ready) = &ready {
                found.links.retain(|link| link.index != ready.index);
            }
            let plan = plan(&found)?;
            let mut left_out = std::mem::take(&mut found.left_out);
            left_out.extend(plan.left_out);
            let first_was_ready = ready.is_some();
            match connect_all(netlink, &found, plan.attachments, ready).await {
                Ok(taps) => Ok(Attached {
                    namespace: same,
                    found,
                    left_out,
                    taps,
                    first_was_ready,
                }),
                Err(error @ NetworkError::InUse { .. }) => Err(error),
                Err(error) => {
                    // The taps are closed already; these are the filters. The first error is
                    // returned.
                    let _ = detach_in(netlink).await;
                    Err(error)
                }
            }
        })
        .await
}

async fn connect_all(
    netlink: &mut Netlink,
    found: &Discovered,
    attachments: Vec<Attachment>,
    mut ready: Option<Tap>,
) -> Result<Vec<(Attachment, Tap)>, NetworkError> {
    // Before anything is made, so that cleaning up never removes filters of another VM.
    for attachment in &attachments {
        refuse_second_use(netlink, found, &attachment.link).await?;
    }
    let mut classifier = Classifier::MatchAll;
    let mut taps = Vec::with_capacity(attachments.len());
    for attachment in attachments {
        let tap = match ready.take() {
            Some(tap) => tap,
            None => netlink.tap()?,
        };
        let Link {
            index, name, mtu, ..
        } = &attachment.link;
        bring_up(netlink, &tap, *mtu).await?;
        redirect(netlink, name, *index, tap.index, &mut classifier).await?;
        redirect(netlink, &tap.name, tap.index, *index, &mut classifier).await?;
        taps.push((attachment, tap));
    }
    Ok(taps)
}

/// Connects an interface to a new tap instead of its present one.
pub(super) async fn move_to_new_tap(
    namespace: &Namespace,
    link: &Link,
) -> Result<Tap, NetworkError> {
    let Link {
        index, name, mtu, ..
    } = link.clone();
    namespace
        .within(async move |netlink: &mut Netlink| {
            let tap = netlink.tap()?;
            bring_up(netlink, &tap, mtu).await?;
            let freed = netlink.ask(tc::no_redirect(index), 0).await;
            freed.map_err(|error| netlink.failed(format!("Removing a filter of {name}"), error))?;
            let mut classifier = Classifier::MatchAll;
            redirect(netlink, &name, index, tap.index, &mut classifier).await?;
            redirect(netlink, &tap.name, tap.index, index, &mut classifier).await?;
            Ok(tap)
        })
        .await
}

/// A filter of ours whose tap exists belongs to a VM, so the interface is refused. A filter whose
/// tap is gone was left behind by a killed shim, and is removed.
async fn refuse_second_use(
    netlink: &mut Netlink,
    found: &Discovered,
    link: &Link,
) -> Result<(), NetworkError> {
    let ours: Vec<_> = filters(netlink, link.index)
        .await?
        .into_iter()
        .filter(|filter| tc::is_ours(&filter.header))
        .collect();
    let exists = |index| found.links.iter().any(|link| link.index == index);
    if ours.iter().filter_map(tc::target).any(exists) {
        return Err(NetworkError::InUse {
            name: link.name.clone(),
        });
    }
    if !ours.is_empty() {
        let removed = netlink.ask(tc::no_redirect(link.index), 0).await;
        removed.map_err(|error| {
            netlink.failed(format!("Removing an old filter of {}", link.name), error)
        })?;
    }
    Ok(())
}

async fn bring_up(netlink: &mut Netlink, tap: &Tap, mtu: u32) -> Result<(), NetworkError> {
    // Otherwise the tap gets an IPv6 address, and its solicitations reach the guest. A kernel
    // without IPv6 refuses this and does not need it.
    let _ = netlink
        .ask(RouteNetlinkMessage::NewLink(mute(tap.index)), 0)
        .await;
    let up = LinkUnspec::new_with_index(tap.index).mtu(mtu).up().build();
    netlink
        .ask(RouteNetlinkMessage::NewLink(up), 0)
        .await
        .map_err(|error| netlink.failed(format!("Setting up tap {}", tap.name), error))
}

fn mute(index: u32) -> LinkMessage {
    let none = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    LinkMessageBuilder::<LinkUnspec>::default()
        .index(index)
        .append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(
            vec![none],
        )]))
        .build()
}

/// Redirects with `classifier`. If the kernel does not have it, `classifier` becomes the other one.
async fn redirect(
    netlink: &mut Netlink,
    name: &str,
    from: u32,
    to: u32,
    classifier: &mut Classifier,
) -> Result<(), NetworkError> {
    let new = NLM_F_CREATE | NLM_F_EXCL;
    match netlink.ask(tc::ingress(from), new).await {
        Ok(()) => {}
        // A discipline that another program made can be used as well.
        Err(error) if is(&error, &[Errno::EEXIST]) => {}
        Err(error) => {
            return Err(netlink.failed(format!("Making an ingress discipline for {name}"), error));
        }
    }
    let mut done = netlink.ask(tc::redirect(from, to, *classifier), new).await;
    if let Err(error) = &done
        && *classifier == Classifier::MatchAll
        && is(error, &[Errno::ENOENT, Errno::EOPNOTSUPP])
    {
        *classifier = Classifier::U32;
        done = netlink.ask(tc::redirect(from, to, *classifier), new).await;
    }
    done.map_err(|error| netlink.failed(format!("Redirecting {name}"), error))
}

fn is(error: &io::Error, any: &[Errno]) -> bool {
    error
        .raw_os_error()
        .is_some_and(|code| any.contains(&Errno::from_raw(code)))
}
