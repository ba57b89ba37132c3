# docker build -t portcullis:0.1.0 .
#
# One layer with the files that scripts/image-root.ts names, and no distribution around them: no package manager, no setuid file. The base
# can be pinned: --build-arg NODE_IMAGE=node:24-trixie-slim@sha256:...; the same base then gives the same bytes, but for *.compiled, in which
# V8 keeps what it compiled meanwhile.
ARG NODE_IMAGE=node:24-trixie-slim
FROM ${NODE_IMAGE} AS build
# The netfilter tools and what the agent starts besides (scripts/image.ts). A version that Debian has replaced makes the build fail here: take
# the new one, and run the kernel tests with it. `*` is for rebuilds, which are numbered per architecture.
RUN apt-get update \
    && apt-get install -y --no-install-recommends binutils \
        'conntrack=1:1.4.8-2*' 'iproute2=6.15.0-1*' 'ipset=7.22-1*' 'iptables=1.8.11-2*' 'netbase=6.5*' 'nftables=1.1.3-1*' \
        'ulogd2=2.0.8-3*' 'ulogd2-json=2.0.8-3*' \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY tsconfig.json LICENSE ./
COPY scripts/build.ts scripts/bundle.ts scripts/bundled-licenses.ts scripts/image-root.ts scripts/image.ts scripts/keep-compiled.ts scripts/part-script.ts scripts/warm-up.ts scripts/
COPY lab lab
COPY src src
# Also runs the program once, and keeps beside it what V8 compiled: the same Node.js with the flags below takes that.
RUN node scripts/build.ts && node scripts/image-root.ts /image dist

FROM scratch
COPY --from=build /image /
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Portcullis" \
      org.opencontainers.image.description="Kubernetes NetworkPolicy enforcement with stock Linux parts: nftables, or iptables and ipset, and conntrack" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
# Small heaps keep the process small, and a small process starts the netfilter tools faster (docs/performance.md). What
# glibc gets back it gives back to the system at once.
ENV MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=8192 MALLOC_TRIM_THRESHOLD_=65536
ENV PATH=/usr/sbin:/usr/bin
ENTRYPOINT ["node", "--max-old-space-size=192", "--max-semi-space-size=1", "/opt/portcullis/portcullis.mjs"]
CMD ["agent"]
