//! `cidr_match(ip, '10.0.0.0/8')`: whether an address lies in a network.
use std::net::IpAddr;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, BooleanArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct CidrMatch {
    signature: Signature,
    documentation: Documentation,
}

impl CidrMatch {
    pub(super) fn new() -> Self {
        Self {
            signature: Signature::any(2, Volatility::Immutable),
            documentation: super::documentation(
                "Whether the address lies in the network. An IPv4 address written as IPv6 \
                 (`::ffff:10.0.0.1`) counts as IPv4.",
                "cidr_match(client_ip, '10.0.0.0/8')",
                &[("ip", "an address"), ("network", "a network, such as 10.0.0.0/8 or fd00::/8")],
            ),
        }
    }
}

impl ScalarUDFImpl for CidrMatch {
    fn name(&self) -> &str {
        "cidr_match"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        if types.iter().all(|it| it.is_string() || it.is_null()) {
            return Ok(DataType::Boolean);
        }
        plan_err!(
            "cidr_match() takes an address and a network, as in cidr_match(client_ip, '10.0.0.0/8')"
        )
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let [ips, networks] = args.args.as_slice() else { return plan_err!("two arguments") };
        let ips = super::column(ips, rows, &DataType::Utf8View)?;
        let ips = ips.as_string_view();
        let inside: BooleanArray = if let ColumnarValue::Scalar(network) = networks {
            let network = match network.try_as_str().flatten() {
                Some(it) => Some(Network::parse(it)?),
                None => None,
            };
            ips.iter().map(|ip| Some(network?.contains(ip?.parse().ok()?))).collect()
        } else {
            let networks = super::column(networks, rows, &DataType::Utf8View)?;
            let networks = networks.as_string_view();
            let pairs = ips.iter().zip(networks.iter());
            let inside: Result<Vec<Option<bool>>> = pairs
                .map(|(ip, network)| {
                    let (Some(ip), Some(network)) = (ip, network) else { return Ok(None) };
                    let network = Network::parse(network)?;
                    Ok(ip.parse().ok().map(|it| network.contains(it)))
                })
                .collect();
            inside?.into()
        };
        debug_assert_eq!(inside.len(), rows);
        Ok(ColumnarValue::Array(Arc::new(inside)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

#[derive(Clone, Copy, Debug)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// Reads `10.0.0.0/8`; an address alone is the network of that one address.
    fn parse(text: &str) -> Result<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let Ok(address) = address.trim().parse::<IpAddr>() else {
            return exec_err!("'{text}' is no network; write it as 10.0.0.0/8");
        };
        let widest = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(it) => it.trim().parse().ok().filter(|it| *it <= widest),
            None => Some(widest),
        };
        match bits {
            Some(bits) => Ok(Self { address, bits }),
            None => exec_err!("'{text}' is no network: its length is 0 to {widest}"),
        }
    }

    fn contains(self, ip: IpAddr) -> bool {
        match (self.address, ip.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - self.bits).unwrap_or(0);
                network.to_bits() & mask == ip.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - self.bits).unwrap_or(0);
                network.to_bits() & mask == ip.to_bits() & mask
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ip: &str, network: &str, inside: bool) {
        let network = Network::parse(network).unwrap();
        assert_eq!(network.contains(ip.parse().unwrap()), inside, "{ip} in {network:?}");
    }

    #[test]
    fn an_address_lies_in_its_networks_and_in_no_others() {
        check("10.1.2.3", "10.0.0.0/8", true);
        check("11.1.2.3", "10.0.0.0/8", false);
        check("10.1.2.3", "0.0.0.0/0", true);
        check("10.1.2.3", "10.1.2.3", true);
        check("10.1.2.4", "10.1.2.3/32", false);
        check("fd00::1", "fd00::/8", true);
        check("::1", "::/0", true);
        check("::ffff:10.0.0.1", "10.0.0.0/8", true);
        check("10.0.0.1", "::/0", false);
        assert!(Network::parse("10.0.0.0/33").is_err());
        assert!(Network::parse("ten/8").is_err());
    }
}
