//! Policies of other systems: what they become, what is said of it, and that nothing becomes wider.

mod golden;
mod istio_property;
mod istio_reference;
