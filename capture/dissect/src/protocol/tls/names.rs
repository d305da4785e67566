//! The numbers of TLS by the names that IANA gives them.
use std::borrow::Cow;

/// A version, with the protocol's name, such as `TLS 1.3`.
pub(in crate::protocol) fn version(code: u16) -> Cow<'static, str> {
    match code {
        0x0002 => "SSL 2.0".into(),
        0x0300 => "SSL 3.0".into(),
        0x0301 => "TLS 1.0".into(),
        0x0302 => "TLS 1.1".into(),
        0x0303 => "TLS 1.2".into(),
        0x0304 => "TLS 1.3".into(),
        0xfeff => "DTLS 1.0".into(),
        0xfefd => "DTLS 1.2".into(),
        0xfefc => "DTLS 1.3".into(),
        0x0100 => "DTLS 1.0 (OpenSSL)".into(),
        0x7f00..=0x7fff => format!("TLS 1.3 draft {}", code & 0xff).into(),
        _ => unknown(code),
    }
}

/// A cipher suite, such as `TLS_AES_128_GCM_SHA256`.
pub(in crate::protocol) fn cipher(code: u16) -> Cow<'static, str> {
    let run = CIPHERS.partition_point(|(first, _)| *first <= code).checked_sub(1);
    let name = run.and_then(|at| CIPHERS.get(at)).and_then(|(first, names)| {
        names.split_ascii_whitespace().nth(usize::from(code.checked_sub(*first)?))
    });
    match name {
        Some(name) => format!("TLS_{name}").into(),
        None => unknown(code),
    }
}

/// What a client of SSL 2.0 calls its ciphers, where they are not those of later versions.
pub(in crate::protocol) fn ssl2_cipher(code: u32) -> Cow<'static, str> {
    match u16::try_from(code) {
        Ok(code) => cipher(code),
        Err(_) => match SSL2_CIPHERS.iter().find(|it| it.0 == code) {
            Some((_, name)) => Cow::Borrowed(*name),
            None => format!("0x{code:06x}").into(),
        },
    }
}

/// An extension, such as `server_name`.
pub(in crate::protocol) fn extension(code: u16) -> Cow<'static, str> {
    named(EXTENSIONS, code)
}

/// A curve or other group for the exchange of keys, such as `x25519`.
pub(in crate::protocol) fn group(code: u16) -> Cow<'static, str> {
    named(GROUPS, code)
}

/// A way to sign, such as `ecdsa_secp256r1_sha256`.
pub(in crate::protocol) fn signature(code: u16) -> Cow<'static, str> {
    named(SIGNATURES, code)
}

/// An alert, such as `handshake_failure`.
pub(in crate::protocol) fn alert(code: u8) -> Cow<'static, str> {
    match ALERTS.iter().find(|it| it.0 == code) {
        Some((_, name)) => Cow::Borrowed(*name),
        None => code.to_string().into(),
    }
}

/// Values without a meaning, which keep peers used to what they don't know (RFC 8701).
pub(in crate::protocol) fn is_grease(code: u16) -> bool {
    let [high, low] = code.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

fn named(names: &[(u16, &'static str)], code: u16) -> Cow<'static, str> {
    match names.binary_search_by_key(&code, |it| it.0).ok().and_then(|at| names.get(at)) {
        Some((_, name)) => Cow::Borrowed(*name),
        None => unknown(code),
    }
}

fn unknown(code: u16) -> Cow<'static, str> {
    if is_grease(code) { "GREASE".into() } else { format!("0x{code:04x}").into() }
}

const SSL2_CIPHERS: &[(u32, &str)] = &[
    (0x01_0080, "SSL2_RC4_128_WITH_MD5"),
    (0x02_0080, "SSL2_RC4_128_EXPORT40_WITH_MD5"),
    (0x03_0080, "SSL2_RC2_128_CBC_WITH_MD5"),
    (0x04_0080, "SSL2_RC2_128_CBC_EXPORT40_WITH_MD5"),
    (0x05_0080, "SSL2_IDEA_128_CBC_WITH_MD5"),
    (0x06_0040, "SSL2_DES_64_CBC_WITH_MD5"),
    (0x07_00c0, "SSL2_DES_192_EDE3_CBC_WITH_MD5"),
    (0x08_0080, "SSL2_RC4_64_WITH_MD5"),
];

const EXTENSIONS: &[(u16, &str)] = &[
    (0, "server_name"),
    (1, "max_fragment_length"),
    (2, "client_certificate_url"),
    (3, "trusted_ca_keys"),
    (4, "truncated_hmac"),
    (5, "status_request"),
    (6, "user_mapping"),
    (7, "client_authz"),
    (8, "server_authz"),
    (9, "cert_type"),
    (10, "supported_groups"),
    (11, "ec_point_formats"),
    (12, "srp"),
    (13, "signature_algorithms"),
    (14, "use_srtp"),
    (15, "heartbeat"),
    (16, "application_layer_protocol_negotiation"),
    (17, "status_request_v2"),
    (18, "signed_certificate_timestamp"),
    (19, "client_certificate_type"),
    (20, "server_certificate_type"),
    (21, "padding"),
    (22, "encrypt_then_mac"),
    (23, "extended_master_secret"),
    (24, "token_binding"),
    (25, "cached_info"),
    (26, "tls_lts"),
    (27, "compress_certificate"),
    (28, "record_size_limit"),
    (29, "pwd_protect"),
    (30, "pwd_clear"),
    (31, "password_salt"),
    (32, "ticket_pinning"),
    (33, "tls_cert_with_extern_psk"),
    (34, "delegated_credential"),
    (35, "session_ticket"),
    (36, "TLMSP"),
    (37, "TLMSP_proxying"),
    (38, "TLMSP_delegate"),
    (39, "supported_ekt_ciphers"),
    (41, "pre_shared_key"),
    (42, "early_data"),
    (43, "supported_versions"),
    (44, "cookie"),
    (45, "psk_key_exchange_modes"),
    (47, "certificate_authorities"),
    (48, "oid_filters"),
    (49, "post_handshake_auth"),
    (50, "signature_algorithms_cert"),
    (51, "key_share"),
    (52, "transparency_info"),
    (53, "connection_id_deprecated"),
    (54, "connection_id"),
    (55, "external_id_hash"),
    (56, "external_session_id"),
    (57, "quic_transport_parameters"),
    (58, "ticket_request"),
    (59, "dnssec_chain"),
    (60, "sequence_number_encryption_algorithms"),
    (61, "rrc"),
    (62, "tls_flags"),
    (0x3374, "next_protocol_negotiation"),
    (0x4469, "application_settings"),
    (0x44cd, "application_settings_new"),
    (0x754f, "channel_id_old"),
    (0x7550, "channel_id"),
    (0xfd00, "ech_outer_extensions"),
    (0xfe0d, "encrypted_client_hello"),
    (0xff01, "renegotiation_info"),
    (0xffa5, "quic_transport_parameters_draft"),
    (0xffce, "encrypted_server_name"),
];

const GROUPS: &[(u16, &str)] = &[
    (1, "sect163k1"),
    (2, "sect163r1"),
    (3, "sect163r2"),
    (4, "sect193r1"),
    (5, "sect193r2"),
    (6, "sect233k1"),
    (7, "sect233r1"),
    (8, "sect239k1"),
    (9, "sect283k1"),
    (10, "sect283r1"),
    (11, "sect409k1"),
    (12, "sect409r1"),
    (13, "sect571k1"),
    (14, "sect571r1"),
    (15, "secp160k1"),
    (16, "secp160r1"),
    (17, "secp160r2"),
    (18, "secp192k1"),
    (19, "secp192r1"),
    (20, "secp224k1"),
    (21, "secp224r1"),
    (22, "secp256k1"),
    (23, "secp256r1"),
    (24, "secp384r1"),
    (25, "secp521r1"),
    (26, "brainpoolP256r1"),
    (27, "brainpoolP384r1"),
    (28, "brainpoolP512r1"),
    (29, "x25519"),
    (30, "x448"),
    (31, "brainpoolP256r1tls13"),
    (32, "brainpoolP384r1tls13"),
    (33, "brainpoolP512r1tls13"),
    (34, "GC256A"),
    (35, "GC256B"),
    (36, "GC256C"),
    (37, "GC256D"),
    (38, "GC512A"),
    (39, "GC512B"),
    (40, "GC512C"),
    (41, "curveSM2"),
    (0x0100, "ffdhe2048"),
    (0x0101, "ffdhe3072"),
    (0x0102, "ffdhe4096"),
    (0x0103, "ffdhe6144"),
    (0x0104, "ffdhe8192"),
    (0x0200, "MLKEM512"),
    (0x0201, "MLKEM768"),
    (0x0202, "MLKEM1024"),
    (0x11eb, "SecP256r1MLKEM768"),
    (0x11ec, "X25519MLKEM768"),
    (0x11ed, "SecP384r1MLKEM1024"),
    (0x11ee, "curveSM2MLKEM768"),
    (0x6399, "X25519Kyber768Draft00"),
    (0x639a, "SecP256r1Kyber768Draft00"),
    (0xff01, "arbitrary_explicit_prime_curves"),
    (0xff02, "arbitrary_explicit_char2_curves"),
];

const SIGNATURES: &[(u16, &str)] = &[
    (0x0101, "rsa_pkcs1_md5"),
    (0x0201, "rsa_pkcs1_sha1"),
    (0x0202, "dsa_sha1"),
    (0x0203, "ecdsa_sha1"),
    (0x0301, "rsa_pkcs1_sha224"),
    (0x0302, "dsa_sha224"),
    (0x0303, "ecdsa_sha224"),
    (0x0401, "rsa_pkcs1_sha256"),
    (0x0402, "dsa_sha256"),
    (0x0403, "ecdsa_secp256r1_sha256"),
    (0x0420, "rsa_pkcs1_sha256_legacy"),
    (0x0501, "rsa_pkcs1_sha384"),
    (0x0502, "dsa_sha384"),
    (0x0503, "ecdsa_secp384r1_sha384"),
    (0x0520, "rsa_pkcs1_sha384_legacy"),
    (0x0601, "rsa_pkcs1_sha512"),
    (0x0602, "dsa_sha512"),
    (0x0603, "ecdsa_secp521r1_sha512"),
    (0x0620, "rsa_pkcs1_sha512_legacy"),
    (0x0704, "eccsi_sha256"),
    (0x0708, "sm2sig_sm3"),
    (0x0804, "rsa_pss_rsae_sha256"),
    (0x0805, "rsa_pss_rsae_sha384"),
    (0x0806, "rsa_pss_rsae_sha512"),
    (0x0807, "ed25519"),
    (0x0808, "ed448"),
    (0x0809, "rsa_pss_pss_sha256"),
    (0x080a, "rsa_pss_pss_sha384"),
    (0x080b, "rsa_pss_pss_sha512"),
    (0x081a, "ecdsa_brainpoolP256r1tls13_sha256"),
    (0x081b, "ecdsa_brainpoolP384r1tls13_sha384"),
    (0x081c, "ecdsa_brainpoolP512r1tls13_sha512"),
    (0x0904, "mldsa44"),
    (0x0905, "mldsa65"),
    (0x0906, "mldsa87"),
];

const ALERTS: &[(u8, &str)] = &[
    (0, "close_notify"),
    (10, "unexpected_message"),
    (20, "bad_record_mac"),
    (21, "decryption_failed"),
    (22, "record_overflow"),
    (30, "decompression_failure"),
    (40, "handshake_failure"),
    (41, "no_certificate"),
    (42, "bad_certificate"),
    (43, "unsupported_certificate"),
    (44, "certificate_revoked"),
    (45, "certificate_expired"),
    (46, "certificate_unknown"),
    (47, "illegal_parameter"),
    (48, "unknown_ca"),
    (49, "access_denied"),
    (50, "decode_error"),
    (51, "decrypt_error"),
    (52, "too_many_cids_requested"),
    (60, "export_restriction"),
    (70, "protocol_version"),
    (71, "insufficient_security"),
    (80, "internal_error"),
    (86, "inappropriate_fallback"),
    (90, "user_canceled"),
    (100, "no_renegotiation"),
    (109, "missing_extension"),
    (110, "unsupported_extension"),
    (111, "certificate_unobtainable"),
    (112, "unrecognized_name"),
    (113, "bad_certificate_status_response"),
    (114, "bad_certificate_hash_value"),
    (115, "unknown_psk_identity"),
    (116, "certificate_required"),
    (117, "general_error"),
    (120, "no_application_protocol"),
    (121, "ech_required"),
];

/// Cipher suites: runs of names, `TLS_` left out, each run with the number of its first.
const CIPHERS: &[(u16, &str)] = &[
    (
        0x0000,
        "NULL_WITH_NULL_NULL RSA_WITH_NULL_MD5 RSA_WITH_NULL_SHA RSA_EXPORT_WITH_RC4_40_MD5 \
         RSA_WITH_RC4_128_MD5 RSA_WITH_RC4_128_SHA RSA_EXPORT_WITH_RC2_CBC_40_MD5 \
         RSA_WITH_IDEA_CBC_SHA RSA_EXPORT_WITH_DES40_CBC_SHA RSA_WITH_DES_CBC_SHA \
         RSA_WITH_3DES_EDE_CBC_SHA DH_DSS_EXPORT_WITH_DES40_CBC_SHA DH_DSS_WITH_DES_CBC_SHA \
         DH_DSS_WITH_3DES_EDE_CBC_SHA DH_RSA_EXPORT_WITH_DES40_CBC_SHA DH_RSA_WITH_DES_CBC_SHA \
         DH_RSA_WITH_3DES_EDE_CBC_SHA DHE_DSS_EXPORT_WITH_DES40_CBC_SHA \
         DHE_DSS_WITH_DES_CBC_SHA DHE_DSS_WITH_3DES_EDE_CBC_SHA \
         DHE_RSA_EXPORT_WITH_DES40_CBC_SHA DHE_RSA_WITH_DES_CBC_SHA \
         DHE_RSA_WITH_3DES_EDE_CBC_SHA DH_anon_EXPORT_WITH_RC4_40_MD5 DH_anon_WITH_RC4_128_MD5 \
         DH_anon_EXPORT_WITH_DES40_CBC_SHA DH_anon_WITH_DES_CBC_SHA \
         DH_anon_WITH_3DES_EDE_CBC_SHA",
    ),
    (
        0x001e,
        "KRB5_WITH_DES_CBC_SHA KRB5_WITH_3DES_EDE_CBC_SHA KRB5_WITH_RC4_128_SHA \
         KRB5_WITH_IDEA_CBC_SHA KRB5_WITH_DES_CBC_MD5 KRB5_WITH_3DES_EDE_CBC_MD5 \
         KRB5_WITH_RC4_128_MD5 KRB5_WITH_IDEA_CBC_MD5 KRB5_EXPORT_WITH_DES_CBC_40_SHA \
         KRB5_EXPORT_WITH_RC2_CBC_40_SHA KRB5_EXPORT_WITH_RC4_40_SHA \
         KRB5_EXPORT_WITH_DES_CBC_40_MD5 KRB5_EXPORT_WITH_RC2_CBC_40_MD5 \
         KRB5_EXPORT_WITH_RC4_40_MD5 PSK_WITH_NULL_SHA DHE_PSK_WITH_NULL_SHA \
         RSA_PSK_WITH_NULL_SHA RSA_WITH_AES_128_CBC_SHA DH_DSS_WITH_AES_128_CBC_SHA \
         DH_RSA_WITH_AES_128_CBC_SHA DHE_DSS_WITH_AES_128_CBC_SHA DHE_RSA_WITH_AES_128_CBC_SHA \
         DH_anon_WITH_AES_128_CBC_SHA RSA_WITH_AES_256_CBC_SHA DH_DSS_WITH_AES_256_CBC_SHA \
         DH_RSA_WITH_AES_256_CBC_SHA DHE_DSS_WITH_AES_256_CBC_SHA DHE_RSA_WITH_AES_256_CBC_SHA \
         DH_anon_WITH_AES_256_CBC_SHA RSA_WITH_NULL_SHA256 RSA_WITH_AES_128_CBC_SHA256 \
         RSA_WITH_AES_256_CBC_SHA256 DH_DSS_WITH_AES_128_CBC_SHA256 \
         DH_RSA_WITH_AES_128_CBC_SHA256 DHE_DSS_WITH_AES_128_CBC_SHA256 \
         RSA_WITH_CAMELLIA_128_CBC_SHA DH_DSS_WITH_CAMELLIA_128_CBC_SHA \
         DH_RSA_WITH_CAMELLIA_128_CBC_SHA DHE_DSS_WITH_CAMELLIA_128_CBC_SHA \
         DHE_RSA_WITH_CAMELLIA_128_CBC_SHA DH_anon_WITH_CAMELLIA_128_CBC_SHA",
    ),
    (
        0x0060,
        "RSA_EXPORT1024_WITH_RC4_56_MD5 RSA_EXPORT1024_WITH_RC2_CBC_56_MD5 \
         RSA_EXPORT1024_WITH_DES_CBC_SHA DHE_DSS_EXPORT1024_WITH_DES_CBC_SHA \
         RSA_EXPORT1024_WITH_RC4_56_SHA DHE_DSS_EXPORT1024_WITH_RC4_56_SHA \
         DHE_DSS_WITH_RC4_128_SHA DHE_RSA_WITH_AES_128_CBC_SHA256 \
         DH_DSS_WITH_AES_256_CBC_SHA256 DH_RSA_WITH_AES_256_CBC_SHA256 \
         DHE_DSS_WITH_AES_256_CBC_SHA256 DHE_RSA_WITH_AES_256_CBC_SHA256 \
         DH_anon_WITH_AES_128_CBC_SHA256 DH_anon_WITH_AES_256_CBC_SHA256",
    ),
    (
        0x0080,
        "GOSTR341094_WITH_28147_CNT_IMIT GOSTR341001_WITH_28147_CNT_IMIT \
         GOSTR341094_WITH_NULL_GOSTR3411 GOSTR341001_WITH_NULL_GOSTR3411 \
         RSA_WITH_CAMELLIA_256_CBC_SHA DH_DSS_WITH_CAMELLIA_256_CBC_SHA \
         DH_RSA_WITH_CAMELLIA_256_CBC_SHA DHE_DSS_WITH_CAMELLIA_256_CBC_SHA \
         DHE_RSA_WITH_CAMELLIA_256_CBC_SHA DH_anon_WITH_CAMELLIA_256_CBC_SHA \
         PSK_WITH_RC4_128_SHA PSK_WITH_3DES_EDE_CBC_SHA PSK_WITH_AES_128_CBC_SHA \
         PSK_WITH_AES_256_CBC_SHA DHE_PSK_WITH_RC4_128_SHA DHE_PSK_WITH_3DES_EDE_CBC_SHA \
         DHE_PSK_WITH_AES_128_CBC_SHA DHE_PSK_WITH_AES_256_CBC_SHA RSA_PSK_WITH_RC4_128_SHA \
         RSA_PSK_WITH_3DES_EDE_CBC_SHA RSA_PSK_WITH_AES_128_CBC_SHA \
         RSA_PSK_WITH_AES_256_CBC_SHA RSA_WITH_SEED_CBC_SHA DH_DSS_WITH_SEED_CBC_SHA \
         DH_RSA_WITH_SEED_CBC_SHA DHE_DSS_WITH_SEED_CBC_SHA DHE_RSA_WITH_SEED_CBC_SHA \
         DH_anon_WITH_SEED_CBC_SHA RSA_WITH_AES_128_GCM_SHA256 RSA_WITH_AES_256_GCM_SHA384 \
         DHE_RSA_WITH_AES_128_GCM_SHA256 DHE_RSA_WITH_AES_256_GCM_SHA384 \
         DH_RSA_WITH_AES_128_GCM_SHA256 DH_RSA_WITH_AES_256_GCM_SHA384 \
         DHE_DSS_WITH_AES_128_GCM_SHA256 DHE_DSS_WITH_AES_256_GCM_SHA384 \
         DH_DSS_WITH_AES_128_GCM_SHA256 DH_DSS_WITH_AES_256_GCM_SHA384 \
         DH_anon_WITH_AES_128_GCM_SHA256 DH_anon_WITH_AES_256_GCM_SHA384 \
         PSK_WITH_AES_128_GCM_SHA256 PSK_WITH_AES_256_GCM_SHA384 \
         DHE_PSK_WITH_AES_128_GCM_SHA256 DHE_PSK_WITH_AES_256_GCM_SHA384 \
         RSA_PSK_WITH_AES_128_GCM_SHA256 RSA_PSK_WITH_AES_256_GCM_SHA384 \
         PSK_WITH_AES_128_CBC_SHA256 PSK_WITH_AES_256_CBC_SHA384 PSK_WITH_NULL_SHA256 \
         PSK_WITH_NULL_SHA384 DHE_PSK_WITH_AES_128_CBC_SHA256 DHE_PSK_WITH_AES_256_CBC_SHA384 \
         DHE_PSK_WITH_NULL_SHA256 DHE_PSK_WITH_NULL_SHA384 RSA_PSK_WITH_AES_128_CBC_SHA256 \
         RSA_PSK_WITH_AES_256_CBC_SHA384 RSA_PSK_WITH_NULL_SHA256 RSA_PSK_WITH_NULL_SHA384 \
         RSA_WITH_CAMELLIA_128_CBC_SHA256 DH_DSS_WITH_CAMELLIA_128_CBC_SHA256 \
         DH_RSA_WITH_CAMELLIA_128_CBC_SHA256 DHE_DSS_WITH_CAMELLIA_128_CBC_SHA256 \
         DHE_RSA_WITH_CAMELLIA_128_CBC_SHA256 DH_anon_WITH_CAMELLIA_128_CBC_SHA256 \
         RSA_WITH_CAMELLIA_256_CBC_SHA256 DH_DSS_WITH_CAMELLIA_256_CBC_SHA256 \
         DH_RSA_WITH_CAMELLIA_256_CBC_SHA256 DHE_DSS_WITH_CAMELLIA_256_CBC_SHA256 \
         DHE_RSA_WITH_CAMELLIA_256_CBC_SHA256 DH_anon_WITH_CAMELLIA_256_CBC_SHA256 SM4_GCM_SM3 \
         SM4_CCM_SM3",
    ),
    (0x00ff, "EMPTY_RENEGOTIATION_INFO_SCSV"),
    (
        0x1301,
        "AES_128_GCM_SHA256 AES_256_GCM_SHA384 CHACHA20_POLY1305_SHA256 AES_128_CCM_SHA256 \
         AES_128_CCM_8_SHA256 AEGIS_256_SHA512 AEGIS_128L_SHA256",
    ),
    (0x5600, "FALLBACK_SCSV"),
    (
        0xc001,
        "ECDH_ECDSA_WITH_NULL_SHA ECDH_ECDSA_WITH_RC4_128_SHA ECDH_ECDSA_WITH_3DES_EDE_CBC_SHA \
         ECDH_ECDSA_WITH_AES_128_CBC_SHA ECDH_ECDSA_WITH_AES_256_CBC_SHA \
         ECDHE_ECDSA_WITH_NULL_SHA ECDHE_ECDSA_WITH_RC4_128_SHA \
         ECDHE_ECDSA_WITH_3DES_EDE_CBC_SHA ECDHE_ECDSA_WITH_AES_128_CBC_SHA \
         ECDHE_ECDSA_WITH_AES_256_CBC_SHA ECDH_RSA_WITH_NULL_SHA ECDH_RSA_WITH_RC4_128_SHA \
         ECDH_RSA_WITH_3DES_EDE_CBC_SHA ECDH_RSA_WITH_AES_128_CBC_SHA \
         ECDH_RSA_WITH_AES_256_CBC_SHA ECDHE_RSA_WITH_NULL_SHA ECDHE_RSA_WITH_RC4_128_SHA \
         ECDHE_RSA_WITH_3DES_EDE_CBC_SHA ECDHE_RSA_WITH_AES_128_CBC_SHA \
         ECDHE_RSA_WITH_AES_256_CBC_SHA ECDH_anon_WITH_NULL_SHA ECDH_anon_WITH_RC4_128_SHA \
         ECDH_anon_WITH_3DES_EDE_CBC_SHA ECDH_anon_WITH_AES_128_CBC_SHA \
         ECDH_anon_WITH_AES_256_CBC_SHA SRP_SHA_WITH_3DES_EDE_CBC_SHA \
         SRP_SHA_RSA_WITH_3DES_EDE_CBC_SHA SRP_SHA_DSS_WITH_3DES_EDE_CBC_SHA \
         SRP_SHA_WITH_AES_128_CBC_SHA SRP_SHA_RSA_WITH_AES_128_CBC_SHA \
         SRP_SHA_DSS_WITH_AES_128_CBC_SHA SRP_SHA_WITH_AES_256_CBC_SHA \
         SRP_SHA_RSA_WITH_AES_256_CBC_SHA SRP_SHA_DSS_WITH_AES_256_CBC_SHA \
         ECDHE_ECDSA_WITH_AES_128_CBC_SHA256 ECDHE_ECDSA_WITH_AES_256_CBC_SHA384 \
         ECDH_ECDSA_WITH_AES_128_CBC_SHA256 ECDH_ECDSA_WITH_AES_256_CBC_SHA384 \
         ECDHE_RSA_WITH_AES_128_CBC_SHA256 ECDHE_RSA_WITH_AES_256_CBC_SHA384 \
         ECDH_RSA_WITH_AES_128_CBC_SHA256 ECDH_RSA_WITH_AES_256_CBC_SHA384 \
         ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 \
         ECDH_ECDSA_WITH_AES_128_GCM_SHA256 ECDH_ECDSA_WITH_AES_256_GCM_SHA384 \
         ECDHE_RSA_WITH_AES_128_GCM_SHA256 ECDHE_RSA_WITH_AES_256_GCM_SHA384 \
         ECDH_RSA_WITH_AES_128_GCM_SHA256 ECDH_RSA_WITH_AES_256_GCM_SHA384 \
         ECDHE_PSK_WITH_RC4_128_SHA ECDHE_PSK_WITH_3DES_EDE_CBC_SHA \
         ECDHE_PSK_WITH_AES_128_CBC_SHA ECDHE_PSK_WITH_AES_256_CBC_SHA \
         ECDHE_PSK_WITH_AES_128_CBC_SHA256 ECDHE_PSK_WITH_AES_256_CBC_SHA384 \
         ECDHE_PSK_WITH_NULL_SHA ECDHE_PSK_WITH_NULL_SHA256 ECDHE_PSK_WITH_NULL_SHA384 \
         RSA_WITH_ARIA_128_CBC_SHA256 RSA_WITH_ARIA_256_CBC_SHA384 \
         DH_DSS_WITH_ARIA_128_CBC_SHA256 DH_DSS_WITH_ARIA_256_CBC_SHA384 \
         DH_RSA_WITH_ARIA_128_CBC_SHA256 DH_RSA_WITH_ARIA_256_CBC_SHA384 \
         DHE_DSS_WITH_ARIA_128_CBC_SHA256 DHE_DSS_WITH_ARIA_256_CBC_SHA384 \
         DHE_RSA_WITH_ARIA_128_CBC_SHA256 DHE_RSA_WITH_ARIA_256_CBC_SHA384 \
         DH_anon_WITH_ARIA_128_CBC_SHA256 DH_anon_WITH_ARIA_256_CBC_SHA384 \
         ECDHE_ECDSA_WITH_ARIA_128_CBC_SHA256 ECDHE_ECDSA_WITH_ARIA_256_CBC_SHA384 \
         ECDH_ECDSA_WITH_ARIA_128_CBC_SHA256 ECDH_ECDSA_WITH_ARIA_256_CBC_SHA384 \
         ECDHE_RSA_WITH_ARIA_128_CBC_SHA256 ECDHE_RSA_WITH_ARIA_256_CBC_SHA384 \
         ECDH_RSA_WITH_ARIA_128_CBC_SHA256 ECDH_RSA_WITH_ARIA_256_CBC_SHA384 \
         RSA_WITH_ARIA_128_GCM_SHA256 RSA_WITH_ARIA_256_GCM_SHA384 \
         DHE_RSA_WITH_ARIA_128_GCM_SHA256 DHE_RSA_WITH_ARIA_256_GCM_SHA384 \
         DH_RSA_WITH_ARIA_128_GCM_SHA256 DH_RSA_WITH_ARIA_256_GCM_SHA384 \
         DHE_DSS_WITH_ARIA_128_GCM_SHA256 DHE_DSS_WITH_ARIA_256_GCM_SHA384 \
         DH_DSS_WITH_ARIA_128_GCM_SHA256 DH_DSS_WITH_ARIA_256_GCM_SHA384 \
         DH_anon_WITH_ARIA_128_GCM_SHA256 DH_anon_WITH_ARIA_256_GCM_SHA384 \
         ECDHE_ECDSA_WITH_ARIA_128_GCM_SHA256 ECDHE_ECDSA_WITH_ARIA_256_GCM_SHA384 \
         ECDH_ECDSA_WITH_ARIA_128_GCM_SHA256 ECDH_ECDSA_WITH_ARIA_256_GCM_SHA384 \
         ECDHE_RSA_WITH_ARIA_128_GCM_SHA256 ECDHE_RSA_WITH_ARIA_256_GCM_SHA384 \
         ECDH_RSA_WITH_ARIA_128_GCM_SHA256 ECDH_RSA_WITH_ARIA_256_GCM_SHA384 \
         PSK_WITH_ARIA_128_CBC_SHA256 PSK_WITH_ARIA_256_CBC_SHA384 \
         DHE_PSK_WITH_ARIA_128_CBC_SHA256 DHE_PSK_WITH_ARIA_256_CBC_SHA384 \
         RSA_PSK_WITH_ARIA_128_CBC_SHA256 RSA_PSK_WITH_ARIA_256_CBC_SHA384 \
         PSK_WITH_ARIA_128_GCM_SHA256 PSK_WITH_ARIA_256_GCM_SHA384 \
         DHE_PSK_WITH_ARIA_128_GCM_SHA256 DHE_PSK_WITH_ARIA_256_GCM_SHA384 \
         RSA_PSK_WITH_ARIA_128_GCM_SHA256 RSA_PSK_WITH_ARIA_256_GCM_SHA384 \
         ECDHE_PSK_WITH_ARIA_128_CBC_SHA256 ECDHE_PSK_WITH_ARIA_256_CBC_SHA384 \
         ECDHE_ECDSA_WITH_CAMELLIA_128_CBC_SHA256 ECDHE_ECDSA_WITH_CAMELLIA_256_CBC_SHA384 \
         ECDH_ECDSA_WITH_CAMELLIA_128_CBC_SHA256 ECDH_ECDSA_WITH_CAMELLIA_256_CBC_SHA384 \
         ECDHE_RSA_WITH_CAMELLIA_128_CBC_SHA256 ECDHE_RSA_WITH_CAMELLIA_256_CBC_SHA384 \
         ECDH_RSA_WITH_CAMELLIA_128_CBC_SHA256 ECDH_RSA_WITH_CAMELLIA_256_CBC_SHA384 \
         RSA_WITH_CAMELLIA_128_GCM_SHA256 RSA_WITH_CAMELLIA_256_GCM_SHA384 \
         DHE_RSA_WITH_CAMELLIA_128_GCM_SHA256 DHE_RSA_WITH_CAMELLIA_256_GCM_SHA384 \
         DH_RSA_WITH_CAMELLIA_128_GCM_SHA256 DH_RSA_WITH_CAMELLIA_256_GCM_SHA384 \
         DHE_DSS_WITH_CAMELLIA_128_GCM_SHA256 DHE_DSS_WITH_CAMELLIA_256_GCM_SHA384 \
         DH_DSS_WITH_CAMELLIA_128_GCM_SHA256 DH_DSS_WITH_CAMELLIA_256_GCM_SHA384 \
         DH_anon_WITH_CAMELLIA_128_GCM_SHA256 DH_anon_WITH_CAMELLIA_256_GCM_SHA384 \
         ECDHE_ECDSA_WITH_CAMELLIA_128_GCM_SHA256 ECDHE_ECDSA_WITH_CAMELLIA_256_GCM_SHA384 \
         ECDH_ECDSA_WITH_CAMELLIA_128_GCM_SHA256 ECDH_ECDSA_WITH_CAMELLIA_256_GCM_SHA384 \
         ECDHE_RSA_WITH_CAMELLIA_128_GCM_SHA256 ECDHE_RSA_WITH_CAMELLIA_256_GCM_SHA384 \
         ECDH_RSA_WITH_CAMELLIA_128_GCM_SHA256 ECDH_RSA_WITH_CAMELLIA_256_GCM_SHA384 \
         PSK_WITH_CAMELLIA_128_GCM_SHA256 PSK_WITH_CAMELLIA_256_GCM_SHA384 \
         DHE_PSK_WITH_CAMELLIA_128_GCM_SHA256 DHE_PSK_WITH_CAMELLIA_256_GCM_SHA384 \
         RSA_PSK_WITH_CAMELLIA_128_GCM_SHA256 RSA_PSK_WITH_CAMELLIA_256_GCM_SHA384 \
         PSK_WITH_CAMELLIA_128_CBC_SHA256 PSK_WITH_CAMELLIA_256_CBC_SHA384 \
         DHE_PSK_WITH_CAMELLIA_128_CBC_SHA256 DHE_PSK_WITH_CAMELLIA_256_CBC_SHA384 \
         RSA_PSK_WITH_CAMELLIA_128_CBC_SHA256 RSA_PSK_WITH_CAMELLIA_256_CBC_SHA384 \
         ECDHE_PSK_WITH_CAMELLIA_128_CBC_SHA256 ECDHE_PSK_WITH_CAMELLIA_256_CBC_SHA384 \
         RSA_WITH_AES_128_CCM RSA_WITH_AES_256_CCM DHE_RSA_WITH_AES_128_CCM \
         DHE_RSA_WITH_AES_256_CCM RSA_WITH_AES_128_CCM_8 RSA_WITH_AES_256_CCM_8 \
         DHE_RSA_WITH_AES_128_CCM_8 DHE_RSA_WITH_AES_256_CCM_8 PSK_WITH_AES_128_CCM \
         PSK_WITH_AES_256_CCM DHE_PSK_WITH_AES_128_CCM DHE_PSK_WITH_AES_256_CCM \
         PSK_WITH_AES_128_CCM_8 PSK_WITH_AES_256_CCM_8 PSK_DHE_WITH_AES_128_CCM_8 \
         PSK_DHE_WITH_AES_256_CCM_8 ECDHE_ECDSA_WITH_AES_128_CCM ECDHE_ECDSA_WITH_AES_256_CCM \
         ECDHE_ECDSA_WITH_AES_128_CCM_8 ECDHE_ECDSA_WITH_AES_256_CCM_8 \
         ECCPWD_WITH_AES_128_GCM_SHA256 ECCPWD_WITH_AES_256_GCM_SHA384 \
         ECCPWD_WITH_AES_128_CCM_SHA256 ECCPWD_WITH_AES_256_CCM_SHA384 SHA256_SHA256 \
         SHA384_SHA384",
    ),
    (
        0xc100,
        "GOSTR341112_256_WITH_KUZNYECHIK_CTR_OMAC GOSTR341112_256_WITH_MAGMA_CTR_OMAC \
         GOSTR341112_256_WITH_28147_CNT_IMIT GOSTR341112_256_WITH_KUZNYECHIK_MGM_L \
         GOSTR341112_256_WITH_MAGMA_MGM_L GOSTR341112_256_WITH_KUZNYECHIK_MGM_S \
         GOSTR341112_256_WITH_MAGMA_MGM_S",
    ),
    (
        0xcc13,
        "ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 \
         DHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    ),
    (
        0xcca8,
        "ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 \
         DHE_RSA_WITH_CHACHA20_POLY1305_SHA256 PSK_WITH_CHACHA20_POLY1305_SHA256 \
         ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256 DHE_PSK_WITH_CHACHA20_POLY1305_SHA256 \
         RSA_PSK_WITH_CHACHA20_POLY1305_SHA256",
    ),
    (
        0xd001,
        "ECDHE_PSK_WITH_AES_128_GCM_SHA256 ECDHE_PSK_WITH_AES_256_GCM_SHA384 \
         ECDHE_PSK_WITH_AES_128_CCM_8_SHA256",
    ),
    (0xd005, "ECDHE_PSK_WITH_AES_128_CCM_SHA256"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cipher_suites() {
        for (code, name) in [
            (0x0000, "TLS_NULL_WITH_NULL_NULL"),
            (0x002f, "TLS_RSA_WITH_AES_128_CBC_SHA"),
            (0x009e, "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256"),
            (0x00ff, "TLS_EMPTY_RENEGOTIATION_INFO_SCSV"),
            (0x1301, "TLS_AES_128_GCM_SHA256"),
            (0x1305, "TLS_AES_128_CCM_8_SHA256"),
            (0x5600, "TLS_FALLBACK_SCSV"),
            (0xc02f, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
            (0xcca8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
            (0x5a5a, "GREASE"),
            (0x00fe, "0x00fe"),
            (0xffff, "0xffff"),
        ] {
            assert_eq!(cipher(code), name);
        }
    }

    #[test]
    fn tables_are_in_order() {
        for table in [EXTENSIONS, GROUPS, SIGNATURES, CIPHERS] {
            assert!(table.is_sorted_by_key(|it| it.0));
        }
    }
}
