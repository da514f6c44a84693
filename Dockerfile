# Coffer's images: one static program each and nothing else.
#
#   docker build --target operator -t coffer.dev/operator:0.1.0 .
#
# and the same for webhook, broker and node. The end-to-end tests build their
# images from the last four stages too (e2e/src/images/dockerfile.rs): keep
# those to COPY, LABEL, USER and ENTRYPOINT, one thing a line.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# Linked statically; the explicit target keeps that flag away from build scripts and macros.
RUN RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --release --workspace --exclude e2e --exclude coffer-reference --bins \
        --target "$(rustc --print host-tuple)" \
    && mkdir /out \
    && cp target/*/release/coffer-operator target/*/release/coffer-webhook \
          target/*/release/coffer-broker target/*/release/coffer-node /out/

FROM scratch AS operator
COPY --from=build /out/coffer-operator /coffer-operator
LABEL org.opencontainers.image.title="coffer-operator"
LABEL org.opencontainers.image.description="Turns Coffer's vaults, members and connections into keyrings and envelopes"
LABEL org.opencontainers.image.licenses="Apache-2.0"
USER 65532:65532
ENTRYPOINT ["/coffer-operator"]

FROM scratch AS webhook
COPY --from=build /out/coffer-webhook /coffer-webhook
LABEL org.opencontainers.image.title="coffer-webhook"
LABEL org.opencontainers.image.description="Seals what is written to Coffer and injects pods"
LABEL org.opencontainers.image.licenses="Apache-2.0"
USER 65532:65532
ENTRYPOINT ["/coffer-webhook"]

FROM scratch AS broker
COPY --from=build /out/coffer-broker /coffer-broker
LABEL org.opencontainers.image.title="coffer-broker"
LABEL org.opencontainers.image.description="Releases credentials to pods, and keeps the record"
LABEL org.opencontainers.image.licenses="Apache-2.0"
USER 65532:65532
ENTRYPOINT ["/coffer-broker"]

# Root, because it mounts the pods' files.
FROM scratch AS node
COPY --from=build /out/coffer-node /coffer-node
LABEL org.opencontainers.image.title="coffer-node"
LABEL org.opencontainers.image.description="The CSI driver csi.coffer.dev: files of pods"
LABEL org.opencontainers.image.licenses="Apache-2.0"
USER 0:0
ENTRYPOINT ["/coffer-node"]
