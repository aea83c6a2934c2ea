//! Huge pages for a volume: the guest's kernel keeps none until it is told to.

use std::{fs, path::Path};

use crate::error::{Doing, Error, Result};

/// Where the kernel keeps a pool for each size.
pub const POOLS: &str = "/sys/kernel/mm/hugepages";

/// Adds the pages to the pool that the mount options ask for (`pagesize=` and `size=`, in bytes).
/// Without a size nothing is added: the volume takes what the pool has.
///
/// # Errors
///
/// When the guest has no such pages, or not as much memory in one piece; then the pool is as it was.
pub fn reserve(pools: &Path, options: &[&str]) -> Result<()> {
    let number = |name: &str| {
        let value = options
            .iter()
            .find_map(|option| option.strip_prefix(name))?;
        value.parse::<u64>().ok()
    };
    let (Some(page), Some(size)) = (number("pagesize="), number("size=")) else {
        return Ok(());
    };
    if page < 1024 {
        return Err(Error::Invalid(format!(
            "there are no pages of {page} bytes"
        )));
    }
    let pool = pools.join(format!("hugepages-{}kB/nr_hugepages", page >> 10));
    let before = count(&pool)?;
    let wanted = before.saturating_add(size.div_ceil(page));
    fs::write(&pool, wanted.to_string()).on("write", &pool)?;
    let got = count(&pool)?;
    if got >= wanted {
        return Ok(());
    }
    fs::write(&pool, before.to_string()).on("write", &pool)?;
    Err(Error::State(format!(
        "The guest has memory for {got} of {wanted} pages of {page} bytes"
    )))
}

fn count(pool: &Path) -> Result<u64> {
    let text = fs::read_to_string(pool).on("read", pool)?;
    text.trim()
        .parse()
        .map_err(|_| Error::State(format!("{} holds no number", pool.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_added_to_the_pool_of_their_size() {
        let pools = tempfile::tempdir().unwrap();
        let pool = pools.path().join("hugepages-2048kB");
        fs::create_dir(&pool).unwrap();
        fs::write(pool.join("nr_hugepages"), "3\n").unwrap();
        let reserve = |options: &[&str]| super::reserve(pools.path(), options);
        reserve(&["mode=0777", "pagesize=2097152", "size=4194305"]).unwrap();
        assert_eq!(count(&pool.join("nr_hugepages")).unwrap(), 6);
        reserve(&["pagesize=2097152"]).unwrap();
        assert_eq!(count(&pool.join("nr_hugepages")).unwrap(), 6);
        assert!(reserve(&["pagesize=4096", "size=4096"]).is_err());
        assert!(reserve(&["pagesize=7", "size=4096"]).is_err());
    }
}
