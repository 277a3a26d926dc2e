# syntax=docker/dockerfile:1
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
COPY --from=build /image /
ENV PATH=/usr/local/bin
USER 65532:65532
# SIGTERM drains; Docker's default of 10 s would cut just that short.
STOPSIGNAL SIGTERM
EXPOSE 3000 3001
CMD ["tidings"]
