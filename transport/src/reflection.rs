//! Server reflection, in both versions that clients speak, for what this server serves and nothing else. The types of
//! error details are known to it as well, or tools would print them as base64.

use tidings::pb;
use tonic::service::Routes;
use tonic_reflection::server::Builder;

const ALWAYS: [&str; 3] =
    ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

/// Adds both reflection services to the routes.
pub(super) fn add(routes: Routes, names: &[&'static str]) -> Routes {
    let valid = "the descriptors were compiled into the program";
    let v1 = builder(names).build_v1().expect(valid);
    let v1alpha = builder(names).build_v1alpha().expect(valid);
    routes.add_service(v1).add_service(v1alpha)
}

fn builder(names: &[&'static str]) -> Builder<'static> {
    let mut builder = Builder::configure()
        .include_reflection_service(false)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(pb::FILE_DESCRIPTOR_SET);
    for name in names.iter().copied().chain(ALWAYS) {
        builder = builder.with_service_name(name);
    }
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_descriptors_fit_together() {
        add(Routes::default(), &["tidings.v1.PublisherService", "tidings.v1.SubscriberService"]);
    }
}
