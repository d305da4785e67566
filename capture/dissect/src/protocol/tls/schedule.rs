//! How keys are made of secrets: RFC 8446 §7.1 (HKDF, which QUIC uses too), RFC 5246 §5.
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha384};

/// The hash that keys are made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol) enum Hash {
    Sha256,
    Sha384,
}

/// Fills `out` with what a secret gives under a label, without a context; `None` if the secret is shorter than the
/// hash, or too much is asked of it.
pub(in crate::protocol) fn expand_label(
    hash: Hash,
    secret: &[u8],
    label: &str,
    out: &mut [u8],
) -> Option<()> {
    let length = u16::try_from(out.len()).ok()?.to_be_bytes();
    let label_length = u8::try_from(label.len() + PREFIX.len()).ok()?;
    let info = [&length[..], &[label_length], PREFIX, label.as_bytes(), &[0]];
    match hash {
        Hash::Sha256 => Hkdf::<Sha256>::from_prk(secret).ok()?.expand_multi_info(&info, out).ok(),
        Hash::Sha384 => Hkdf::<Sha384>::from_prk(secret).ok()?.expand_multi_info(&info, out).ok(),
    }
}

/// Fills `out` with what a secret gives under a label and a seed, in TLS 1.2.
pub(in crate::protocol) fn prf(
    hash: Hash,
    secret: &[u8],
    label: &[u8],
    seed: &[&[u8; 32]],
    out: &mut [u8],
) {
    let seed: Vec<u8> = label.iter().chain(seed.iter().copied().flatten()).copied().collect();
    let mut chain = seed.clone();
    let mut left = out;
    while !left.is_empty() {
        chain = hmac(hash, secret, &[&chain]);
        let block = hmac(hash, secret, &[&chain, &seed]);
        if block.is_empty() {
            return;
        }
        let n = block.len().min(left.len());
        let (part, rest) = left.split_at_mut(n);
        part.iter_mut().zip(block).for_each(|(to, from)| *to = from);
        left = rest;
    }
}

fn hmac(hash: Hash, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    fn of<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        // A key of any length is one.
        let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else { return Vec::new() };
        parts.iter().for_each(|it| mac.update(it));
        mac.finalize().into_bytes().to_vec()
    }
    match hash {
        Hash::Sha256 => of::<Hmac<Sha256>>(key, parts),
        Hash::Sha384 => of::<Hmac<Sha384>>(key, parts),
    }
}

const PREFIX: &[u8] = b"tls13 ";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::unhex;

    /// The vector for TLS 1.2's P_SHA256 that the IETF's TLS list published ("Test vectors for
    /// TLS 1.2 PRF", 2009).
    #[test]
    fn prf_as_published() {
        let secret = hex("9bbe436ba940f017b17652849a71db35");
        let label_and_seed =
            [b"test label".to_vec(), hex("a0ba9f936cda311827a6f796ffd5198c")].concat();
        let mut out = vec![0; 100];
        prf(Hash::Sha256, &secret, &label_and_seed, &[], &mut out);
        assert_eq!(
            out,
            hex(
                "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e\
                 14baf9af0fa022f7077def17abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5\
                 a72e5a5110fff70187347b66"
            )
        );
    }

    fn hex(digits: &str) -> Vec<u8> {
        unhex(&digits.split_whitespace().collect::<String>()).unwrap()
    }
}
