//! Options of the link between Workers and Hub, of both its ends.

use std::path::PathBuf;

use clap::Args;

/// TLS on the link. All three or none.
#[derive(Debug, Args)]
pub(crate) struct Link {
    /// The CA of the link, in PEM: each side takes the other only with a certificate of it.
    #[arg(long, env = "KUBESHARK_LINK_CA", value_name = "FILE", requires_all = ["link_cert", "link_key"])]
    link_ca: Option<PathBuf>,
    /// The certificate to show, in PEM; a Hub's must be for the name that workers dial.
    #[arg(long, env = "KUBESHARK_LINK_CERT", value_name = "FILE", requires_all = ["link_ca", "link_key"])]
    link_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM.
    #[arg(long, env = "KUBESHARK_LINK_KEY", value_name = "FILE", requires_all = ["link_ca", "link_cert"])]
    link_key: Option<PathBuf>,
}

impl Link {
    pub(crate) fn certificates(&self) -> Option<link::Certificates> {
        Some(link::Certificates {
            ca: self.link_ca.clone()?,
            certificate: self.link_cert.clone()?,
            key: self.link_key.clone()?,
        })
    }
}
