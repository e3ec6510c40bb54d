//! What can go wrong with the engine, with a class that says what to do about it.

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeClass {
    /// The engine is away, slow or at fault: the effect may have happened; look, then try again.
    Transient,
    /// Somebody else got there first: look again.
    Conflict,
    /// The object is gone.
    NotFound,
    /// The same call will never work: the spec or the machine must change.
    Terminal,
}

/// An error of the engine. Never carries environment values.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine cannot be reached.
    #[error(
        "Docker cannot be reached at {address}: is it running, and may this user open its socket?"
    )]
    Unreachable {
        /// Where we tried.
        address: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The engine did not answer in time.
    #[error("Docker did not answer '{call}' within {seconds} s")]
    Timeout {
        /// Which call.
        call: &'static str,
        /// The deadline.
        seconds: u64,
    },
    /// A name or an address is taken, or the object is busy.
    #[error("Docker refused '{call}': {message}")]
    Conflict {
        /// Which call.
        call: &'static str,
        /// The engine's words.
        message: String,
    },
    /// No such object.
    #[error("Docker knows no such object in '{call}': {message}")]
    NotFound {
        /// Which call.
        call: &'static str,
        /// The engine's words.
        message: String,
    },
    /// The engine refuses for good.
    #[error("Docker refused '{call}': {message}")]
    Refused {
        /// Which call.
        call: &'static str,
        /// The engine's words.
        message: String,
    },
    /// The engine failed.
    #[error("Docker failed at '{call}': {message}")]
    Engine {
        /// Which call.
        call: &'static str,
        /// The engine's words.
        message: String,
    },
    /// No registry gives the image.
    #[error(
        "image '{image}' is not on this machine and no registry gives it: build it ('docker build -t {image} .', or 'build:' in the manifest), load it, log in, or correct the name. The registry says: {message}"
    )]
    ImageNotFound {
        /// The image as the spec names it.
        image: String,
        /// The registry's words.
        message: String,
    },
    /// The registry cannot be heard now.
    #[error(
        "image '{image}' is not on this machine and its registry cannot be reached: check the network and the name, or build it here ('docker build -t {image} .'). Docker says: {message}"
    )]
    RegistryUnreachable {
        /// The image as the spec names it.
        image: String,
        /// The engine's words.
        message: String,
    },
    /// A host path that the operator did not open.
    #[error("{message}")]
    HostPathDenied {
        /// Which path, why, and the flag that opens it.
        message: String,
    },
}

impl RuntimeError {
    /// What to do about it.
    pub fn class(&self) -> RuntimeClass {
        match self {
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Engine { .. }
            | Self::RegistryUnreachable { .. } => RuntimeClass::Transient,
            Self::Conflict { .. } => RuntimeClass::Conflict,
            Self::NotFound { .. } | Self::ImageNotFound { .. } => RuntimeClass::NotFound,
            Self::Refused { .. } | Self::HostPathDenied { .. } => RuntimeClass::Terminal,
        }
    }
}
