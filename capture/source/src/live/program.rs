//! A filter that libpcap compiled, as a socket wants it.

use libc::{
    BPF_ABS, BPF_B, BPF_H, BPF_IND, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_LDX, BPF_MSH, BPF_RET,
    SKF_AD_HATYPE, SKF_AD_IFINDEX, SKF_AD_OFF, SKF_AD_PKTTYPE, SKF_AD_PROTOCOL, sock_filter,
};

/// What the kernel runs on each packet: drops one of the two looks at what the machine tells itself, asks the user's
/// program, if there is one, and cuts what passes to `keep` bytes. `cooked` programs expect a header that the kernel
/// does not have yet; `None` if one asks for a part of it that the kernel doesn't know either.
pub(super) fn for_socket(
    user: &[sock_filter],
    cooked: bool,
    keep: u32,
) -> Option<Vec<sock_filter>> {
    // What is sent over the loopback is received there as well.
    let mut program = vec![
        statement(BPF_LD | BPF_B | BPF_ABS, ancillary(SKF_AD_PKTTYPE)),
        jump_unless(u32::from(libc::PACKET_OUTGOING), 3),
        statement(BPF_LD | BPF_H | BPF_ABS, ancillary(SKF_AD_HATYPE)),
        jump_unless(u32::from(libc::ARPHRD_LOOPBACK), 1),
        statement(BPF_RET | BPF_K, 0),
    ];
    if user.is_empty() {
        program.push(statement(BPF_RET | BPF_K, keep));
        return Some(program);
    }
    for it in user {
        let mut it = *it;
        let code = u32::from(it.code);
        let (class, mode) = (code & 0x07, code & 0xe0);
        if code == BPF_RET | BPF_K && it.k != 0 {
            it.k = keep;
        }
        let looks = class == BPF_LD && (mode == BPF_ABS || mode == BPF_IND)
            || class == BPF_LDX && mode == BPF_MSH;
        if looks && cooked {
            it.k = match it.k {
                // Already something that only the kernel knows.
                k if k.cast_signed() < 0 => k,
                k if k >= HEADER => k - HEADER,
                0 if mode == BPF_ABS => ancillary(SKF_AD_PROTOCOL),
                4 if mode == BPF_ABS => ancillary(SKF_AD_IFINDEX),
                8 if mode == BPF_ABS => ancillary(SKF_AD_HATYPE),
                10 if mode == BPF_ABS => ancillary(SKF_AD_PKTTYPE),
                _ => return None,
            };
        }
        program.push(it);
    }
    Some(program)
}

/// An instruction as libpcap's binding writes it: four numbers.
pub(super) fn instruction(text: &str) -> Option<sock_filter> {
    let mut numbers = text.split(' ');
    let it = sock_filter {
        code: numbers.next()?.parse().ok()?,
        jt: numbers.next()?.parse().ok()?,
        jf: numbers.next()?.parse().ok()?,
        k: numbers.next()?.parse().ok()?,
    };
    numbers.next().is_none().then_some(it)
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: u16::try_from(code).unwrap_or(u16::MAX), jt: 0, jf: 0, k }
}

/// Goes on if the accumulator is `k`, else leaves out so many instructions.
fn jump_unless(k: u32, over: u8) -> sock_filter {
    sock_filter { jf: over, ..statement(BPF_JMP | BPF_JEQ | BPF_K, k) }
}

/// The place where the kernel gives what it knows beside a packet's bytes.
fn ancillary(what: libc::c_int) -> u32 {
    (SKF_AD_OFF + what).cast_unsigned()
}

/// Bytes of a cooked packet's header, version 2.
pub(super) const HEADER: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cooked_header_would_say_is_asked_of_the_kernel() {
        let load = |mode, k| statement(BPF_LD | BPF_H | mode, k);
        let of = |it| Some(for_socket(&[it], true, 100)?.last()?.k);
        assert_eq!(of(load(BPF_ABS, 0)), Some(ancillary(SKF_AD_PROTOCOL)));
        assert_eq!(of(load(BPF_ABS, 10)), Some(ancillary(SKF_AD_PKTTYPE)));
        assert_eq!(of(load(BPF_ABS, 32)), Some(12));
        assert_eq!(of(load(BPF_IND, 20)), Some(0));
        assert_eq!(of(statement(BPF_LDX | BPF_MSH | BPF_B, 20)), Some(0));
        assert_eq!(of(load(BPF_ABS, ancillary(SKF_AD_IFINDEX))), Some(ancillary(SKF_AD_IFINDEX)));
        // The length of the sender's address.
        assert_eq!(of(load(BPF_ABS, 11)), None);
        assert_eq!(of(load(BPF_IND, 0)), None);
        assert_eq!(of(statement(BPF_RET | BPF_K, 262_144)), Some(100));
        assert_eq!(of(statement(BPF_RET | BPF_K, 0)), Some(0));
    }

    #[test]
    fn instructions_are_read_as_they_are_written() {
        let it = instruction("21 0 3 2048").unwrap();
        assert_eq!((it.code, it.jt, it.jf, it.k), (21, 0, 3, 2048));
        for bad in ["", "21 0 3", "21 0 3 2048 1", "a 0 0 0", "21 256 0 0"] {
            assert!(instruction(bad).is_none(), "{bad}");
        }
    }
}
