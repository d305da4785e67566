//! Certificates as `genCA` and `genSignedCert` make them, with keys of P-256 in place of RSA.

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::{Value, json};
use std::time::{Duration, UNIX_EPOCH};

/// A CA of that name, for that many days.
pub(super) fn authority(name: &str, days: u64, now: u64) -> Result<Value, rcgen::Error> {
    let mut params = params(name, days, now);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(json!({"Cert": certificate.pem(), "Key": key.serialize_pem(), "Name": name}))
}

/// A certificate for these names, of that CA.
pub(super) fn signed(
    name: &str,
    names: &[&str],
    days: u64,
    now: u64,
    (authority, key): (&str, &str),
) -> Result<Value, rcgen::Error> {
    // Of the CA's certificate, only name and key stand in those that it signs.
    let issuer = Issuer::new(named(authority), KeyPair::from_pem(key)?);
    let mut params = params(name, days, now);
    for name in names {
        params.subject_alt_names.push(SanType::DnsName(Ia5String::try_from(*name)?));
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(json!({"Cert": certificate.pem(), "Key": key.serialize_pem()}))
}

fn params(name: &str, days: u64, now: u64) -> CertificateParams {
    let mut params = named(name);
    let now = UNIX_EPOCH + Duration::from_secs(now);
    // Clocks of nodes differ a little.
    params.not_before = (now - CLOCKS).into();
    params.not_after = (now + Duration::from_secs(days * DAY)).into();
    params
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// Seconds of a day.
const DAY: u64 = 24 * 3600;
const CLOCKS: Duration = Duration::from_secs(3600);
