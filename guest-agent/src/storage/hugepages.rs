//! Huge pages for a volume. The guest's kernel reserves none by itself.

use std::{fs, path::Path};

use crate::error::{Doing, Error, Result};

/// Where the kernel has a pool for each page size.
pub const POOLS: &str = "/sys/kernel/mm/hugepages";

/// Adds pages to the pool of their size, as the mount options `pagesize=` and `size=` ask, both in
/// bytes. Without a size nothing is added, and the volume uses the pool as it is. `pools` is
/// [`POOLS`] outside of tests.
///
/// # Errors
///
/// When the guest has no pages of that size, or too little contiguous memory. The pool is then
/// unchanged.
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
        return Err(Error::Invalid(format!("pages cannot have {page} bytes")));
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
        .map_err(|_| Error::State(format!("{} does not contain a number", pool.display())))
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
