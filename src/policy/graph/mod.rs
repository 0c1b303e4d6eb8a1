//! Who may call whom, as a picture: Mermaid, DOT or SVG.

mod build;
mod ends;
mod layout;
mod manifest;
mod model;
mod svg;
mod text;

pub use manifest::{RealWorkload, workloads};
pub use model::Graph;
