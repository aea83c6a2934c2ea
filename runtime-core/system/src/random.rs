//! Random bytes from the kernel (getrandom(2)).

use std::io;

use rustix::{
    io::retry_on_intr,
    rand::{GetRandomFlags, getrandom},
};

/// Fills `bytes`. Blocks until the kernel's generator has its first seed, soon after the machine's
/// start.
///
/// # Errors
/// This process may not call getrandom(2).
pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        // More than 256 bytes may come in parts.
        let rest = &mut bytes[filled..];
        filled += retry_on_intr(|| getrandom(&mut *rest, GetRandomFlags::empty()))?;
    }
    Ok(())
}

/// An array of `N` random bytes.
///
/// # Errors
/// As [`fill`].
pub fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_is_left_out_and_none_comes_again() {
        let draws: Vec<[u8; 512]> = (0..64).map(|_| bytes().unwrap()).collect();
        // A byte that is never written is 0 in all of them.
        for place in 0..512 {
            assert!(draws.iter().any(|draw| draw[place] != 0), "{place}");
        }
        for (number, draw) in draws.iter().enumerate() {
            assert!(draws[number + 1..].iter().all(|other| other != draw));
        }
        fill(&mut []).unwrap();
    }
}
