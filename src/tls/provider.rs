//! Which implementation does the cryptography.
//!
//! Sealing records is most of what a busy uplink costs. ring has an AES-GCM for VAES and AVX2 that takes half the time of
//! aws-lc-rs' there; aws-lc-rs has one for AVX-512 that wins where it exists, and it alone has the post-quantum hybrid key
//! exchange X25519MLKEM768. rustls takes cipher suites and key exchange from different providers, so each comes from where
//! it is best. Without the feature `aws-lc` everything comes from ring.

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, ring};

/// The provider of every TLS connection of the process.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(choose()));
    Arc::clone(&PROVIDER)
}

/// The same without hybrid post-quantum key exchange, whose hello some middleboxes cannot take.
pub fn provider_without_post_quantum() -> Arc<CryptoProvider> {
    static CLASSICAL: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let mut provider = choose();
        provider.kx_groups.retain(|group| !format!("{:?}", group.name()).contains("MLKEM"));
        Arc::new(provider)
    });
    Arc::clone(&CLASSICAL)
}

fn choose() -> CryptoProvider {
    let mut provider = base();
    // AES-128 before AES-256: a tenth less work, and no practical difference in strength.
    provider.cipher_suites.sort_by_key(|suite| match suite.suite() {
        name if format!("{name:?}").contains("AES_128") => 0,
        name if format!("{name:?}").contains("AES_256") => 1,
        _ => 2,
    });
    provider
}

#[cfg(feature = "aws-lc")]
fn base() -> CryptoProvider {
    let aws = rustls::crypto::aws_lc_rs::default_provider();
    if aws_lc_seals_faster() {
        return aws;
    }
    CryptoProvider { kx_groups: aws.kx_groups, ..ring::default_provider() }
}

#[cfg(not(feature = "aws-lc"))]
fn base() -> CryptoProvider {
    ring::default_provider()
}

#[cfg(all(feature = "aws-lc", target_arch = "x86_64"))]
fn aws_lc_seals_faster() -> bool {
    std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("vaes")
}

#[cfg(all(feature = "aws-lc", not(target_arch = "x86_64")))]
fn aws_lc_seals_faster() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aes_128_is_offered_first() {
        let first = provider().cipher_suites[0].suite();
        assert_eq!(first, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    }

    #[test]
    fn without_post_quantum_only_classical_groups_are_left() {
        let groups = &provider_without_post_quantum().kx_groups;
        assert!(!groups.is_empty() && groups.iter().all(|group| group.name() != rustls::NamedGroup::X25519MLKEM768));
    }

    #[cfg(feature = "aws-lc")]
    #[test]
    fn the_post_quantum_hybrid_is_offered_first() {
        assert_eq!(provider().kx_groups[0].name(), rustls::NamedGroup::X25519MLKEM768);
    }
}
