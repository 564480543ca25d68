//! SOAP as ONVIF speaks it (SOAP 1.2 part 1 and 2; ONVIF Core, Services framework and Error handling): envelopes that are read
//! strictly, faults that are made by this program.
//!
//! - [`text`]: octets to characters; UTF-8 and UTF-16.
//! - [`envelope`]: which operation a message is, what stands in its header, and where.
//! - [`fault`]: the answers to what cannot be done.

pub mod envelope;
pub mod fault;
mod names;
pub mod text;

/// SOAP 1.2, which ONVIF prescribes.
pub const SOAP_12: &str = "http://www.w3.org/2003/05/soap-envelope";
/// SOAP 1.1, which old remotes still send.
pub const SOAP_11: &str = "http://schemas.xmlsoap.org/soap/envelope/";

/// Version of an envelope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// 1.1.
    Soap11,
    /// 1.2.
    #[default]
    Soap12,
}

/// Why a message is not understood. The reason is a sentence for the one who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not XML, or XML that SOAP forbids.
    #[error("{0}")]
    WellFormed(&'static str),
    /// XML, but not one operation in one envelope.
    #[error("{0}")]
    Arguments(&'static str),
    /// An envelope of another version.
    #[error("the envelope is neither of SOAP 1.2 nor of SOAP 1.1")]
    Version,
}
