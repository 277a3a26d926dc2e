//! What a contract says of its methods.

use prost::Message as _;
use prost_types::FileDescriptorSet;

/// A method as descriptors have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Such as `/tidings.v1.PublisherService/Publish`.
    pub path: String,
    /// Whether its client sends many messages.
    pub client_streams: bool,
    /// Whether its server does.
    pub server_streams: bool,
}

/// The methods of all services, in the order of the contract. `descriptors` is an encoded `FileDescriptorSet`.
pub fn methods(descriptors: &[u8]) -> Vec<Described> {
    let files = FileDescriptorSet::decode(descriptors).expect("they were compiled into the program").file;
    let mut methods = Vec::new();
    for file in &files {
        for service in &file.service {
            methods.extend(service.method.iter().map(|method| Described {
                path: format!("/{}.{}/{}", file.package(), service.name(), method.name()),
                client_streams: method.client_streaming(),
                server_streams: method.server_streaming(),
            }));
        }
    }
    methods
}
