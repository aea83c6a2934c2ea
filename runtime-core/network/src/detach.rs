//! Removes the filters that [`attach`](super::attach) has put on the CNI's interfaces.

use std::path::Path;

use rtnetlink::packet_route::tc::TcMessage;

use super::{Namespace, NamespaceId, NetworkError, netlink::Netlink, tc};

/// Removes our filters in the namespace `id` at `path`, and the queueing disciplines that are then
/// empty. Does nothing if the namespace is gone or another one is at `path`. Returns the number of
/// interfaces that were freed.
///
/// # Errors
/// The kernel refuses or does not answer; some filters may be left.
pub async fn detach(path: &Path, id: NamespaceId) -> Result<usize, NetworkError> {
    match open(path, id) {
        Some(namespace) => namespace.within(detach_in).await,
        None => Ok(0),
    }
}

/// As [`detach`], for a caller without a tokio runtime. Blocks.
///
/// # Errors
/// As [`detach`].
pub fn detach_blocking(path: &Path, id: NamespaceId) -> Result<usize, NetworkError> {
    match open(path, id) {
        Some(namespace) => namespace.within_blocking(detach_in),
        None => Ok(0),
    }
}

/// The namespace, if it still exists at that path.
fn open(path: &Path, id: NamespaceId) -> Option<Namespace> {
    Namespace::open(path)
        .ok()
        .filter(|namespace| namespace.id() == id)
}

/// Removes our filters in the namespace that `netlink` is connected to.
pub(super) async fn detach_in(netlink: &mut Netlink) -> Result<usize, NetworkError> {
    let disciplines = netlink.handle().qdisc().get().execute();
    let disciplines = netlink.list("queueing disciplines", disciplines).await?;
    let mut freed = 0;
    for discipline in disciplines {
        let kind = tc::kind(&discipline);
        if kind == Some(tc::INGRESS) || kind == Some(tc::CLSACT) {
            let index = discipline.header.index.cast_unsigned();
            freed += usize::from(free(netlink, index, kind == Some(tc::INGRESS)).await?);
        }
    }
    Ok(freed)
}

/// Frees one interface; returns whether it had filters of ours. `own_kind`: its discipline is of
/// the kind that we make.
async fn free(netlink: &mut Netlink, link: u32, own_kind: bool) -> Result<bool, NetworkError> {
    let found = filters(netlink, link).await?;
    let (ours, others): (Vec<_>, Vec<_>) =
        found.iter().partition(|filter| tc::is_ours(&filter.header));
    if ours.is_empty() {
        return Ok(false);
    }
    let remove = if own_kind && others.is_empty() {
        tc::no_ingress(link)
    } else {
        tc::no_redirect(link)
    };
    match netlink.ask(remove, 0).await {
        Ok(()) => Ok(true),
        // The CNI removes its interface at the same time.
        Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => Ok(true),
        Err(error) => {
            Err(netlink.failed(format!("Removing the filters of interface {link}"), error))
        }
    }
}

/// The filters for packets that arrive at `link`; none if it has no discipline for them.
pub(super) async fn filters(netlink: &Netlink, link: u32) -> Result<Vec<TcMessage>, NetworkError> {
    let list = netlink
        .handle()
        .traffic_filter(link.cast_signed())
        .get()
        .ingress()
        .execute();
    netlink.list("filters", list).await
}
