//! Server reflection, in both versions that clients speak, for what this server serves and nothing else. The types of error
//! details are known to it as well, or tools would print them as base64.

use std::collections::HashSet;

use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::service::Routes;
use tonic_reflection::server::Builder;

use crate::pb;

const SETS: [&[u8]; 5] = [
    tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    tonic_types::pb::FILE_DESCRIPTOR_SET,
    tonic_health::pb::FILE_DESCRIPTOR_SET,
    pb::FILE_DESCRIPTOR_SET,
];
const ALWAYS: [&str; 3] =
    ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

/// Adds both reflection services to the routes.
pub(super) fn add(routes: Routes, names: &[&'static str]) -> Routes {
    let valid = "the descriptors were compiled into the program";
    let v1 = builder(names).build_v1().expect(valid);
    let v1alpha = builder(names).build_v1alpha().expect(valid);
    routes.add_service(v1).add_service(v1alpha)
}

/// The paths of all methods that take more than one message.
pub(super) fn streamed() -> HashSet<String> {
    let valid = "the descriptors were compiled into the program";
    let files = SETS.iter().flat_map(|set| FileDescriptorSet::decode(*set).expect(valid).file);
    let mut streamed = HashSet::new();
    for file in files {
        for service in &file.service {
            let methods = service.method.iter().filter(|method| method.client_streaming());
            streamed.extend(methods.map(|method| format!("/{}.{}/{}", file.package(), service.name(), method.name())));
        }
    }
    streamed
}

fn builder(names: &[&'static str]) -> Builder<'static> {
    let mut builder = Builder::configure().include_reflection_service(false);
    for set in SETS {
        builder = builder.register_encoded_file_descriptor_set(set);
    }
    for name in names.iter().copied().chain(ALWAYS) {
        builder = builder.with_service_name(name);
    }
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_that_take_many_messages_are_known() {
        let streamed = streamed();
        assert!(streamed.contains("/tidings.v1.PublisherService/PublishStream"), "{streamed:?}");
        assert!(streamed.contains("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"), "{streamed:?}");
        assert!(!streamed.contains("/tidings.v1.PublisherService/Publish"), "{streamed:?}");
        assert!(!streamed.contains("/tidings.v1.SubscriberService/StreamMessages"), "{streamed:?}");
    }

    #[test]
    fn all_descriptors_fit_together() {
        add(Routes::default(), &["tidings.v1.PublisherService", "tidings.v1.SubscriberService"]);
    }
}
