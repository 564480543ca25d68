//! L2: the Kubernetes cluster that the pod lies in: how its API is reached, and what is taken from it.
//!
//! Only with the feature `kubernetes`, and only when a flag asks for it: by default nothing here needs the API at all.

pub mod client;
pub mod events;
pub mod notices;
mod pace;
mod secret_dir;
pub mod secrets;
pub mod status;
