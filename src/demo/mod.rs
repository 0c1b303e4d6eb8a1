//! The main job on one machine: an identity provider, a CA, three guarded services and a tour.
