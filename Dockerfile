# The product's binary, darkroom, in a small image that runs as nobody in particular.
# Not built by ./test (that takes a Docker engine); its rules are checked by hadolint.

FROM rust:1.95.0-bookworm AS build
WORKDIR /src
COPY . .
# The caches stay on the building machine, so a change rebuilds only itself; the binary is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --locked --package cli \
    && install -D target/release/darkroom /out/darkroom

# The same Debian as the build stage, for its C library.
FROM debian:12.14-slim
# The root certificates that providers, S3 and Temporal Cloud are verified with.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/darkroom /usr/local/bin/darkroom
# glibc gives each thread an arena of its own, and keeps what was freed in each; what is larger goes back at once.
ENV MALLOC_ARENA_MAX=2 MALLOC_MMAP_THRESHOLD_=524288
USER 65532:65532
WORKDIR /tmp
HEALTHCHECK --interval=60s --timeout=15s --start-period=30s --retries=3 CMD ["darkroom", "check", "configuration", "temporal"]
ENTRYPOINT ["darkroom"]
CMD ["worker"]
