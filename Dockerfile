# One image for all three binaries, built in one go: they share almost all of their code.

FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin tidings --bin tidings-publisher --bin tidings-subscriber \
 && install -D -t /image/usr/local/bin \
        target/release/tidings target/release/tidings-publisher target/release/tidings-subscriber \
 # The libraries they were linked with, and the loader, at the paths where they look for them.
 && ldd /image/usr/local/bin/* | grep -o '/lib[^ ]*' | sort -u | xargs -I{} cp --parents --dereference {} /image

# Nothing but our binaries and the four files of glibc that they need: no shell, no package manager, nothing to patch
# but what is in use. Rust's static target (musl) would need not even those, but its allocator is slow under load.
FROM scratch
# The commit it was built from: `docker build --build-arg REVISION=$(git rev-parse HEAD) .`
ARG REVISION=unknown
LABEL org.opencontainers.image.title="tidings" \
      org.opencontainers.image.description="Typed publish/subscribe over Redis: publisher, subscriber, and both in one process" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /image /
# The loopback of a container can't be reached from outside, so the services listen on all its addresses. They refuse to
# until they are told TIDINGS_ALLOW_ANONYMOUS=true: who runs the image decides who gets at the ports.
ENV PATH=/usr/local/bin TIDINGS_PUBLISHER_LISTEN=0.0.0.0:3000 TIDINGS_SUBSCRIBER_LISTEN=0.0.0.0:3001
USER 65532:65532
# SIGTERM drains; Docker's default of 10 s would cut just that short.
STOPSIGNAL SIGTERM
EXPOSE 3000 3001
CMD ["tidings"]
