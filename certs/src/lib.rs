//! Approval certificates, Merkle trees and signed checkpoints.
