//! Initial packets, which are encrypted with keys that anyone can derive: RFC 9001 §5, RFC 9369.
use aes_gcm::aead::{Aead, Payload};
use aes_gcm::aes::Aes128;
use aes_gcm::aes::cipher::BlockCipherEncrypt;
use aes_gcm::{Aes128Gcm, KeyInit};
use hkdf::Hkdf;
use sha2::Sha256;

use crate::exchange::Side;
use crate::protocol::tls::schedule::{Hash, expand_label};

/// What opens the Initial packets of both sides.
pub(super) struct Keys {
    client: Key,
    server: Key,
}

struct Key {
    cipher: Aes128Gcm,
    iv: [u8; 12],
    mask: Aes128,
}

impl Keys {
    /// Made of the destination that the client's first packet names; `None` if nobody told us how
    /// that version makes them.
    pub(super) fn new(version: u32, destination: &[u8]) -> Option<Box<Self>> {
        let (secret, _) = Hkdf::<Sha256>::extract(Some(salt(version)?), destination);
        let key = |label: &str| {
            let mut of_side = [0; 32];
            expand_label(Hash::Sha256, &secret, label, &mut of_side)?;
            let (mut key, mut iv, mut mask) = ([0; 16], [0; 12], [0; 16]);
            let label = |first, second| if is_second(version) { second } else { first };
            let expand = |label, out: &mut [u8]| expand_label(Hash::Sha256, &of_side, label, out);
            expand(label("quic key", "quicv2 key"), &mut key)?;
            expand(label("quic iv", "quicv2 iv"), &mut iv)?;
            expand(label("quic hp", "quicv2 hp"), &mut mask)?;
            let (cipher, mask) = (Aes128Gcm::new(&key.into()), Aes128::new(&mask.into()));
            Some(Key { cipher, iv, mask })
        };
        Some(Box::new(Self { client: key("client in")?, server: key("server in")? }))
    }

    /// The frames in a packet that `side` sent; its number begins at `number_at`.
    pub(super) fn open(&self, side: Side, packet: &[u8], number_at: usize) -> Option<Vec<u8>> {
        let key = match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        };
        let sample: [u8; 16] = packet.get(number_at + 4..number_at + 20)?.try_into().ok()?;
        let mut mask = sample.into();
        key.mask.encrypt_block(&mut mask);
        let [mask_first, mask_number @ .., _, _, _, _, _, _, _, _, _, _, _] = mask.0;

        let first = packet.first()? ^ (mask_first & 0x0f);
        let number_bytes = usize::from(first & 3) + 1;
        let (head, sealed) = packet.split_at_checked(number_at + number_bytes)?;
        let mut head = head.to_vec();
        *head.first_mut()? = first;
        let mut number: u64 = 0;
        for (byte, mask) in head.get_mut(number_at..)?.iter_mut().zip(mask_number) {
            *byte ^= mask;
            number = number << 8 | u64::from(*byte);
        }
        // The number is sent cut, but Initials are the first packets: there is nothing to add.
        let mut nonce = key.iv;
        for (byte, of_number) in nonce.iter_mut().skip(4).zip(number.to_be_bytes()) {
            *byte ^= of_number;
        }
        key.cipher.decrypt(&nonce.into(), Payload { msg: sealed, aad: &head }).ok()
    }
}

/// The other way round: a packet that [`Keys::open`] opens. The number is one byte.
#[cfg(test)]
pub(super) fn seal(
    version: u32,
    destination: &[u8],
    side: Side,
    head: &[u8],
    frames: &[u8],
) -> Vec<u8> {
    let keys = Keys::new(version, destination).unwrap();
    let key = if side == Side::Client { &keys.client } else { &keys.server };
    let number = *head.last().unwrap();
    let mut nonce = key.iv;
    nonce[11] ^= number;
    let sealed = key.cipher.encrypt(&nonce.into(), Payload { msg: frames, aad: head }).unwrap();
    let sample: [u8; 16] = sealed[3..19].try_into().unwrap();
    let mut mask = sample.into();
    key.mask.encrypt_block(&mut mask);
    let mut packet = [head, &sealed].concat();
    packet[0] ^= mask[0] & 0x0f;
    packet[head.len() - 1] ^= mask[1];
    packet
}

/// What each version adds to the secret.
fn salt(version: u32) -> Option<&'static [u8; 20]> {
    Some(match version {
        1 | 0xff00_0021 | 0xff00_0022 => &SALT_1,
        VERSION_2 => &SALT_2,
        VERSION_2_DRAFT => &SALT_2_DRAFT,
        0xff00_001d..=0xff00_0020 => &SALT_29,
        // Facebook's names for what it ran before there was a standard.
        0xff00_0017..=0xff00_001c | 0xface_b002 => &SALT_23,
        0xff00_0015 | 0xff00_0016 | 0xface_b001 => &SALT_22,
        Q050 => &SALT_Q050,
        T050 => &SALT_T050,
        T051 => &SALT_T051,
        _ => return None,
    })
}

/// Whether this is version 2, which does everything a little differently, or a draft of it.
pub(super) fn is_second(version: u32) -> bool {
    matches!(version, VERSION_2 | VERSION_2_DRAFT)
}

/// Whether Initials of this version can be opened.
pub(super) fn is_known(version: u32) -> bool {
    salt(version).is_some()
}

pub(super) const VERSION_2: u32 = 0x6b33_43cf;
pub(super) const VERSION_2_DRAFT: u32 = 0x709a_50c4;
pub(super) const Q050: u32 = u32::from_be_bytes(*b"Q050");
pub(super) const T050: u32 = u32::from_be_bytes(*b"T050");
pub(super) const T051: u32 = u32::from_be_bytes(*b"T051");

/// RFC 9001 §5.2.
const SALT_1: [u8; 20] = [
    0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad,
    0xcc, 0xbb, 0x7f, 0x0a,
];
/// RFC 9369 §3.3.1.
const SALT_2: [u8; 20] = [
    0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb,
    0xf9, 0xbd, 0x2e, 0xd9,
];
/// draft-ietf-quic-v2-01 to -07.
const SALT_2_DRAFT: [u8; 20] = [
    0xa7, 0x07, 0xc2, 0x03, 0xa5, 0x9b, 0x47, 0x18, 0x4a, 0x1d, 0x62, 0xca, 0x57, 0x04, 0x06, 0xea,
    0x7a, 0xe3, 0xe5, 0xd3,
];
/// draft-ietf-quic-tls-29 to -32.
const SALT_29: [u8; 20] = [
    0xaf, 0xbf, 0xec, 0x28, 0x99, 0x93, 0xd2, 0x4c, 0x9e, 0x97, 0x86, 0xf1, 0x9c, 0x61, 0x11, 0xe0,
    0x43, 0x90, 0xa8, 0x99,
];
/// draft-ietf-quic-tls-23 to -28.
const SALT_23: [u8; 20] = [
    0xc3, 0xee, 0xf7, 0x12, 0xc7, 0x2e, 0xbb, 0x5a, 0x11, 0xa7, 0xd2, 0x43, 0x2b, 0xb4, 0x63, 0x65,
    0xbe, 0xf9, 0xf5, 0x02,
];
/// draft-ietf-quic-tls-21 and -22.
const SALT_22: [u8; 20] = [
    0x7f, 0xbc, 0xdb, 0x0e, 0x7c, 0x66, 0xbb, 0xe9, 0x19, 0x3a, 0x96, 0xcd, 0x21, 0x51, 0x9e, 0xbd,
    0x7a, 0x02, 0x64, 0x4a,
];
/// Google's own versions, as Chromium has them.
const SALT_Q050: [u8; 20] = [
    0x50, 0x45, 0x74, 0xef, 0xd0, 0x66, 0xfe, 0x2f, 0x9d, 0x94, 0x5c, 0xfc, 0xdb, 0xd3, 0xa7, 0xf0,
    0xd3, 0xb5, 0x6b, 0x45,
];
const SALT_T050: [u8; 20] = [
    0x7f, 0xf5, 0x79, 0xe5, 0xac, 0xd0, 0x72, 0x91, 0x55, 0x80, 0x30, 0x4c, 0x43, 0xa2, 0x36, 0x7c,
    0x60, 0x48, 0x83, 0x10,
];
const SALT_T051: [u8; 20] = [
    0x7a, 0x4e, 0xde, 0xf4, 0xe7, 0xcc, 0xee, 0x5f, 0xa4, 0x50, 0x6c, 0x19, 0x12, 0x4f, 0xc8, 0xcc,
    0xda, 0x6e, 0x03, 0x3d,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::unhex;

    fn bytes(digits: &str) -> Vec<u8> {
        unhex(&digits.split_whitespace().collect::<String>()).unwrap()
    }

    /// RFC 9001, appendix A.1.
    #[test]
    fn secrets_as_published() {
        let (secret, _) = Hkdf::<Sha256>::extract(Some(&SALT_1), &bytes("8394c8f03e515708"));
        let expand = |secret: &[u8], label, out: &mut [u8]| {
            expand_label(Hash::Sha256, secret, label, out).unwrap();
        };
        let (mut client, mut server) = ([0; 32], [0; 32]);
        expand(&secret, "client in", &mut client);
        expand(&secret, "server in", &mut server);
        assert_eq!(
            client.to_vec(),
            bytes("c00cf151ca5be075ed0ebfb5c80323c42d6b7db67881289af4008f1f6c357aea")
        );
        assert_eq!(
            server.to_vec(),
            bytes("3c199828fd139efd216c155ad844cc81fb82fa8d7446fa7d78be803acdda951b")
        );
        let mut key = [0; 16];
        expand(&client, "quic key", &mut key);
        assert_eq!(key.to_vec(), bytes("1f369613dd76d5467730efcbe3b1a22d"));
        expand(&client, "quic hp", &mut key);
        assert_eq!(key.to_vec(), bytes("9f50449e04a0e810283a1e9933adedd2"));
        let mut iv = [0; 12];
        expand(&server, "quic iv", &mut iv);
        assert_eq!(iv.to_vec(), bytes("0ac1493ca1905853b0bba03e"));
    }

    /// RFC 9001, appendix A.3, and RFC 9369, appendix A.3: the server's Initial.
    #[test]
    fn opens_published_packets() {
        let cases = [
            (
                1,
                "cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a5816b6394100f37a1c69\
                 797554780bb38cc5a99f5ede4cf73c3ec2493a1839b3dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c\
                 73cc3f3bded74b562bfb19fb84022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c27\
                 6456cbc42158407dd074ee",
            ),
            (
                VERSION_2,
                "dc6b3343cf0008f067a5502a4262b5004075d92faaf16f05d8a4398c47089698baeea26b91eb761d9b89\
                 237bbf87263017915358230035f7fd3945d88965cf17f9af6e16886c61bfc703106fbaf3cb4cfa5238\
                 2dd16a393e42757507698075b2c984c707f0a0812d8cd5a6881eaf21ceda98f4bd23f6fe1a3e2c43ed\
                 d9ce7ca84bed8521e2e140",
            ),
        ];
        for (version, packet) in cases {
            let keys = Keys::new(version, &bytes("8394c8f03e515708")).unwrap();
            let frames = keys.open(Side::Server, &bytes(packet), 18).unwrap();
            let wanted = "02000000000600405a020000560303eefce7f7b37ba1d1632e96677825ddf739\
                          88cfc79825df566dc5430b9a045a1200130100002e00330024001d00209d3c94\
                          0d89690b84d08a60993c144eca684d1081287c834d5311bcf32bb9da1a002b00020304";
            assert_eq!(frames, bytes(wanted), "{version:x}");
            assert!(keys.open(Side::Client, &bytes(packet), 18).is_none());
        }
    }

    #[test]
    fn short_packets_stay_closed() {
        let keys = Keys::new(1, b"12345678").unwrap();
        for length in 0..60 {
            assert_eq!(keys.open(Side::Client, &vec![0xc0; length], 18), None);
        }
    }
}
