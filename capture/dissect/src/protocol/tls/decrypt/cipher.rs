//! How records are sealed: RFC 8446 §5.2, RFC 5246 §6.2.3, RFC 5288 (GCM), RFC 6655 (CCM), RFC 7366
//! (encrypt-then-MAC), RFC 7905 (ChaCha20-Poly1305).
use aes_gcm::aead::consts::{U8, U12, U16};
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::aes::cipher::array::Array;
use aes_gcm::aes::{Aes128, Aes256};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use cbc::Decryptor;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use ccm::Ccm;
use chacha20poly1305::ChaCha20Poly1305;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha384};

use super::super::names;
use crate::protocol::tls::schedule::{Hash, expand_label, prf};

/// A cipher suite, as far as records are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Suite {
    cipher: Cipher,
    /// Of the key schedule.
    pub(super) hash: Hash,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cipher {
    Aes128Gcm,
    Aes256Gcm,
    Aes128Ccm,
    Aes256Ccm,
    Aes128Ccm8,
    Aes256Ccm8,
    ChaCha20Poly1305,
    /// The length of the key, and what authenticates.
    Cbc(usize, MacHash),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MacHash {
    Sha1,
    Sha256,
    Sha384,
}

/// What stands behind `WITH_` in a suite's IANA name, or behind `TLS_` since TLS 1.3.
const CIPHERS: [(&str, Cipher, Hash); 18] = [
    ("AES_128_GCM_SHA256", Cipher::Aes128Gcm, Hash::Sha256),
    ("AES_256_GCM_SHA384", Cipher::Aes256Gcm, Hash::Sha384),
    ("CHACHA20_POLY1305_SHA256", Cipher::ChaCha20Poly1305, Hash::Sha256),
    ("AES_128_CCM_SHA256", Cipher::Aes128Ccm, Hash::Sha256),
    ("AES_128_CCM_8_SHA256", Cipher::Aes128Ccm8, Hash::Sha256),
    ("AES_128_CCM", Cipher::Aes128Ccm, Hash::Sha256),
    ("AES_256_CCM", Cipher::Aes256Ccm, Hash::Sha256),
    ("AES_128_CCM_8", Cipher::Aes128Ccm8, Hash::Sha256),
    ("AES_256_CCM_8", Cipher::Aes256Ccm8, Hash::Sha256),
    ("AES_128_CCM_SHA384", Cipher::Aes128Ccm, Hash::Sha384),
    ("AES_256_CCM_SHA384", Cipher::Aes256Ccm, Hash::Sha384),
    ("AES_128_CBC_SHA", Cipher::Cbc(16, MacHash::Sha1), Hash::Sha256),
    ("AES_256_CBC_SHA", Cipher::Cbc(32, MacHash::Sha1), Hash::Sha256),
    ("AES_128_CBC_SHA256", Cipher::Cbc(16, MacHash::Sha256), Hash::Sha256),
    ("AES_256_CBC_SHA256", Cipher::Cbc(32, MacHash::Sha256), Hash::Sha256),
    ("AES_128_CBC_SHA384", Cipher::Cbc(16, MacHash::Sha384), Hash::Sha384),
    ("AES_256_CBC_SHA384", Cipher::Cbc(32, MacHash::Sha384), Hash::Sha384),
    ("AES_128_GCM_SHA384", Cipher::Aes128Gcm, Hash::Sha384),
];

impl Suite {
    /// The suite with this number; `None` if its records can't be opened here.
    pub(super) fn of(number: u16) -> Option<Self> {
        let name = names::cipher(number);
        let name =
            name.split_once("_WITH_").map_or_else(|| name.strip_prefix("TLS_"), |it| Some(it.1));
        let (_, cipher, hash) = CIPHERS.iter().find(|it| Some(it.0) == name)?;
        Some(Self { cipher: *cipher, hash: *hash })
    }

    fn key_bytes(self) -> usize {
        match self.cipher {
            Cipher::Aes128Gcm | Cipher::Aes128Ccm | Cipher::Aes128Ccm8 => 16,
            Cipher::Aes256Gcm | Cipher::Aes256Ccm | Cipher::Aes256Ccm8 => 32,
            Cipher::ChaCha20Poly1305 => 32,
            Cipher::Cbc(bytes, _) => bytes,
        }
    }

    fn tag_bytes(self) -> usize {
        match self.cipher {
            Cipher::Aes128Ccm8 | Cipher::Aes256Ccm8 => 8,
            Cipher::Cbc(..) => 0,
            _ => 16,
        }
    }

    fn aead(self, key: &[u8]) -> Option<Box<dyn Aead>> {
        fn new<A: KeyInit + Aead + 'static>(key: &[u8]) -> Option<Box<dyn Aead>> {
            Some(Box::new(A::new_from_slice(key).ok()?))
        }
        match self.cipher {
            Cipher::Aes128Gcm => new::<Aes128Gcm>(key),
            Cipher::Aes256Gcm => new::<Aes256Gcm>(key),
            Cipher::Aes128Ccm => new::<Ccm<Aes128, U16, U12>>(key),
            Cipher::Aes256Ccm => new::<Ccm<Aes256, U16, U12>>(key),
            Cipher::Aes128Ccm8 => new::<Ccm<Aes128, U8, U12>>(key),
            Cipher::Aes256Ccm8 => new::<Ccm<Aes256, U8, U12>>(key),
            Cipher::ChaCha20Poly1305 => new::<ChaCha20Poly1305>(key),
            Cipher::Cbc(..) => None,
        }
    }
}

/// Authenticated encryption with a nonce of twelve bytes.
trait Aead: Send {
    fn open(&self, nonce: &[u8; 12], associated: &[u8], text: &mut Vec<u8>) -> bool;
}

impl<A: AeadInOut<NonceSize = U12> + Send> Aead for A {
    fn open(&self, nonce: &[u8; 12], associated: &[u8], text: &mut Vec<u8>) -> bool {
        self.decrypt_in_place(&(*nonce).into(), associated, text).is_ok()
    }
}

/// What opens the records of one side, from one change of keys to the next.
pub(super) struct Opener {
    suite: Suite,
    how: How,
}

enum How {
    /// TLS 1.3. The secret is what the next keys are made of.
    Sealed { aead: Box<dyn Aead>, iv: [u8; 12], secret: Box<[u8]> },
    /// TLS 1.2 with authenticated encryption.
    Authenticated { aead: Box<dyn Aead>, iv: Vec<u8> },
    /// TLS 1.2 with cipher block chaining.
    Chained { key: Vec<u8>, mac: Vec<u8>, encrypts_first: bool },
}

/// A record, with its head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) head: [u8; 5],
    pub(super) body: &'a [u8],
}

impl Opener {
    /// Of TLS 1.3 (RFC 8446 §7.3).
    pub(super) fn sealed(suite: Suite, secret: &[u8]) -> Option<Self> {
        let mut key = [0; 32];
        let key = key.get_mut(..suite.key_bytes())?;
        let mut iv = [0; 12];
        expand_label(suite.hash, secret, "key", key)?;
        expand_label(suite.hash, secret, "iv", &mut iv)?;
        let how = How::Sealed { aead: suite.aead(key)?, iv, secret: secret.into() };
        Some(Self { suite, how })
    }

    /// What follows when the keys are updated (RFC 8446 §7.2).
    pub(super) fn updated(&self) -> Option<Self> {
        let How::Sealed { secret, .. } = &self.how else { return None };
        let mut next = vec![0; secret.len()];
        expand_label(self.suite.hash, secret, "traffic upd", &mut next)?;
        Self::sealed(self.suite, &next)
    }

    /// Of TLS 1.2 (RFC 5246 §6.3): the client's and the server's. `encrypts_first` says that what
    /// authenticates a record is made of it encrypted.
    pub(super) fn classic(
        suite: Suite,
        master: &[u8],
        [client, server]: [&[u8; 32]; 2],
        encrypts_first: bool,
    ) -> Option<[Self; 2]> {
        let mac_bytes = match suite.cipher {
            Cipher::Cbc(_, MacHash::Sha1) => 20,
            Cipher::Cbc(_, MacHash::Sha256) => 32,
            Cipher::Cbc(_, MacHash::Sha384) => 48,
            _ => 0,
        };
        let iv_bytes = match suite.cipher {
            Cipher::Cbc(..) => 0,
            Cipher::ChaCha20Poly1305 => 12,
            _ => 4,
        };
        let key_bytes = suite.key_bytes();
        let mut block = vec![0; 2 * (mac_bytes + key_bytes + iv_bytes)];
        prf(suite.hash, master, b"key expansion", &[server, client], &mut block);
        let mut rest = block.as_slice();
        let mut take = |n| {
            let (taken, left) = rest.split_at_checked(n)?;
            rest = left;
            Some(taken)
        };
        let macs = [take(mac_bytes)?, take(mac_bytes)?];
        let keys = [take(key_bytes)?, take(key_bytes)?];
        let ivs = [take(iv_bytes)?, take(iv_bytes)?];
        let opener = |[mac, key, iv]: [&[u8]; 3]| {
            let how = match suite.aead(key) {
                Some(aead) => How::Authenticated { aead, iv: iv.into() },
                None => How::Chained { key: key.into(), mac: mac.into(), encrypts_first },
            };
            Self { suite, how }
        };
        let [[client_mac, server_mac], [client_key, server_key], [client_iv, server_iv]] =
            [macs, keys, ivs];
        Some([
            opener([client_mac, client_key, client_iv]),
            opener([server_mac, server_key, server_iv]),
        ])
    }

    /// By how many bytes a record is longer than what it says, its head included; `None` if that differs.
    pub(super) fn overhead(&self) -> Option<u64> {
        let tag = self.suite.tag_bytes() as u64;
        match &self.how {
            How::Sealed { .. } => Some(5 + 1 + tag),
            How::Authenticated { iv, .. } => Some(5 + tag + if iv.len() == 12 { 0 } else { 8 }),
            How::Chained { .. } => None,
        }
    }

    /// What the record with this number says, and of which kind it is; `None` if it is not that one.
    pub(super) fn open(&self, number: u64, it: Record<'_>) -> Option<(u8, Vec<u8>)> {
        let [kind, major, minor, ..] = it.head;
        // What authenticates a record says also which one it is.
        let associated = |length: usize| {
            let [high, low] = u16::try_from(length).ok()?.to_be_bytes();
            let mut all = [0; 13];
            let parts = number.to_be_bytes().into_iter().chain([kind, major, minor, high, low]);
            all.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
            Some(all)
        };
        match &self.how {
            How::Sealed { aead, iv, .. } => {
                let mut text = it.body.to_vec();
                if !aead.open(&counted(iv, number), &it.head, &mut text) {
                    return None;
                }
                // Zeros may follow, to hide its length.
                let end = text.iter().rposition(|it| *it != 0)?;
                let kind = *text.get(end)?;
                text.truncate(end);
                Some((kind, text))
            }
            How::Authenticated { aead, iv } => {
                let (nonce, sealed) = match <&[u8; 12]>::try_from(iv.as_slice()) {
                    Ok(iv) => (counted(iv, number), it.body),
                    Err(_) => {
                        let (explicit, sealed) = it.body.split_at_checked(8)?;
                        let mut nonce = [0; 12];
                        let both = iv.iter().chain(explicit);
                        nonce.iter_mut().zip(both).for_each(|(to, from)| *to = *from);
                        (nonce, sealed)
                    }
                };
                let length = sealed.len().checked_sub(self.suite.tag_bytes())?;
                let mut text = sealed.to_vec();
                aead.open(&nonce, &associated(length)?, &mut text).then_some((kind, text))
            }
            How::Chained { key, mac, encrypts_first } => {
                let Cipher::Cbc(_, hash) = self.suite.cipher else { return None };
                let text = if *encrypts_first {
                    let (sealed, tag) =
                        it.body.split_at_checked(it.body.len().checked_sub(mac.len())?)?;
                    let is_it =
                        authenticates(hash, mac, &[&associated(sealed.len())?, sealed], tag);
                    is_it.then(|| unchain(key, sealed))??
                } else {
                    let mut text = unchain(key, it.body)?;
                    let (said, tag) = text.split_at_checked(text.len().checked_sub(mac.len())?)?;
                    if !authenticates(hash, mac, &[&associated(said.len())?, said], tag) {
                        return None;
                    }
                    let said = said.len();
                    text.truncate(said);
                    text
                };
                Some((kind, text))
            }
        }
    }
}

/// The nonce of a record: what was agreed on, with its number.
fn counted(iv: &[u8; 12], number: u64) -> [u8; 12] {
    let mut nonce = *iv;
    let number = number.to_be_bytes();
    nonce.iter_mut().skip(4).zip(number).for_each(|(to, from)| *to ^= from);
    nonce
}

/// Without cipher and padding. The first block says where the chain begins (RFC 5246 §6.2.3.2).
fn unchain(key: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (iv, sealed) = sealed.split_at_checked(16)?;
    let mut text = sealed.to_vec();
    let (blocks, rest) = Array::<u8, U16>::slice_as_chunks_mut(&mut text);
    if !rest.is_empty() || blocks.is_empty() {
        return None;
    }
    match key.len() {
        16 => Decryptor::<Aes128>::new_from_slices(key, iv).ok()?.decrypt_blocks(blocks),
        _ => Decryptor::<Aes256>::new_from_slices(key, iv).ok()?.decrypt_blocks(blocks),
    }
    let padding = *text.last()?;
    let end = text.len().checked_sub(usize::from(padding) + 1)?;
    let is_padding = text.get(end..)?.iter().all(|it| *it == padding);
    text.truncate(end);
    is_padding.then_some(text)
}

fn authenticates(hash: MacHash, key: &[u8], parts: &[&[u8]], tag: &[u8]) -> bool {
    fn check<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]], tag: &[u8]) -> bool {
        let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else { return false };
        parts.iter().for_each(|it| mac.update(it));
        mac.verify_slice(tag).is_ok()
    }
    match hash {
        MacHash::Sha1 => check::<Hmac<Sha1>>(key, parts, tag),
        MacHash::Sha256 => check::<Hmac<Sha256>>(key, parts, tag),
        MacHash::Sha384 => check::<Hmac<Sha384>>(key, parts, tag),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_known_by_their_names() {
        let known = |number, cipher, hash| {
            assert_eq!(Suite::of(number), Some(Suite { cipher, hash }), "{number:04x}");
        };
        known(0x1301, Cipher::Aes128Gcm, Hash::Sha256);
        known(0x1302, Cipher::Aes256Gcm, Hash::Sha384);
        known(0x1303, Cipher::ChaCha20Poly1305, Hash::Sha256);
        known(0x1305, Cipher::Aes128Ccm8, Hash::Sha256);
        known(0xc02f, Cipher::Aes128Gcm, Hash::Sha256);
        known(0xc030, Cipher::Aes256Gcm, Hash::Sha384);
        known(0xcca9, Cipher::ChaCha20Poly1305, Hash::Sha256);
        known(0xc0ac, Cipher::Aes128Ccm, Hash::Sha256);
        known(0xc0af, Cipher::Aes256Ccm8, Hash::Sha256);
        known(0xc014, Cipher::Cbc(32, MacHash::Sha1), Hash::Sha256);
        known(0xc027, Cipher::Cbc(16, MacHash::Sha256), Hash::Sha256);
        known(0xc024, Cipher::Cbc(32, MacHash::Sha384), Hash::Sha384);
        // RC4, Camellia, none at all.
        for number in [0x0005, 0x0041, 0x0000, 0x002c, 0xfafa] {
            assert_eq!(Suite::of(number), None, "{number:04x}");
        }
    }
}
