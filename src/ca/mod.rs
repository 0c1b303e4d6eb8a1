//! The certificate authority: who may have a certificate, and what stands in it.
